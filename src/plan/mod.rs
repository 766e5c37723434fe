//! Plan files: text → typed, checked [`Plan`]s that remember where each field stood.
//!
//! [`load`] is the only I/O. [`read()`] turns one text into a plan or into every problem that it has; [`check_deadline`] and
//! [`check_together`] judge what one text alone cannot say.

mod aws;
mod azure;
pub mod catalogue;
mod check;
mod fields;
mod host;
mod key;
pub mod model;
mod net;
mod read;
mod report;
mod schema;
mod secrets;
mod source;
mod tags;
pub mod time;
mod tree;
mod tunnel;
mod vendor;

pub use catalogue::catalogue;
pub use check::{check_deadline, check_together, two_for_one};
pub use key::parse_key;
pub use model::*;
pub(crate) use net::{TooWide, grouped, is_wide, size};
pub use read::read;
pub use schema::{CloudKind, schema, starter};
pub use source::{BrokenFile, Loaded, load, load_each};
pub use tags::LONGEST_TAG_VALUE;
