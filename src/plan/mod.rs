//! Plan files: text → typed, checked [`Plan`]s that remember where each field stood.
//!
//! [`load`] is the only I/O. [`read`] turns one text into a plan or into every problem that it has; [`check_deadline`] and
//! [`check_together`] judge what one text alone cannot say.

mod aws;
mod azure;
mod check;
mod fields;
mod host;
mod key;
pub mod model;
mod net;
mod read;
mod report;
mod source;
mod tags;
mod time;
mod tree;
mod tunnel;
mod vendor;

pub use check::{check_deadline, check_together};
pub use model::*;
pub use read::read;
pub use source::load;
pub use vendor::catalogue;

/// TEMP
pub fn schema() -> &'static str {
    "{}"
}
pub enum StarterFor {
    Aws,
    Azure,
}
pub fn starter(_: StarterFor) -> &'static str {
    ""
}
