//! The ownership tags: the same as on AWS.
//!
//! Azure allows 50 tags a resource, keys of 512 characters without `<>%&\?/`, which differ in more than case, and values of 256
//! ("Use tags to organize your Azure resources and management hierarchy").

pub use crate::provider::tags::{
    BASTION, BOOT, EXPIRES, EXTENDED, HOST_KEY, KEYS, LIFETIME, NAME, TagChange, Tags, common, document, is_ours, owns,
    resource_name,
};

/// How the description of a rule begins that is this bastion's: rules carry no tags.
pub fn mark(bastion: &str) -> String {
    format!("gangplank:{bastion}")
}

/// Whether a rule's description is one of this bastion's; another bastion's name may begin with ours.
pub fn is_marked(description: &str, bastion: &str) -> bool {
    description.strip_prefix(&mark(bastion)).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}
