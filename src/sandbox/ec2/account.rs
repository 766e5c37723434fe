//! What EC2 tells of the account itself.

use super::{form::Form, model::Region, refusal::Outcome, world::Context, xml::Xml};

impl Region {
    /// "DescribeAccountAttributes" in the Amazon EC2 API Reference: the attributes that it describes.
    pub(super) fn describe_account_attributes(&self, context: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        let named = form.texts("AttributeName")?;
        form.done()?;
        let addresses = context.quotas.addresses.to_string();
        let attributes = [
            ("default-vpc", "none".to_owned()),
            ("max-elastic-ips", addresses.clone()),
            // "The returned value does not reflect your actual vCPU limit".
            ("max-instances", "20".to_owned()),
            ("supported-platforms", "VPC".to_owned()),
            ("vpc-max-elastic-ips", addresses),
            ("vpc-max-security-groups-per-interface", context.quotas.groups_per_interface.to_string()),
        ];
        let is_asked = |name: &str| named.is_empty() || named.iter().any(|asked| asked == name);
        let mut xml = Xml::default();
        xml.items("accountAttributeSet", attributes.iter().filter(|(name, _)| is_asked(name)), |xml, (name, value)| {
            xml.leaf("attributeName", name);
            xml.items("attributeValueSet", [value], |xml, value| xml.leaf("attributeValue", value));
        });
        Ok(xml)
    }
}
