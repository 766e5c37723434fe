//! The boot report: what the machine says about itself, one line of JSON on its serial console (`templates/report.py`).
//!
//! [`read`] finds the last line that the machine itself wrote. Somebody else can bring text onto a console too: a user name
//! tried against sshd that a logger prints, say. Such text cannot pass for a report, since each carries a checksum that
//! begins with the seal, a digest of the machine's cloud-init document, which strangers do not know. That does not protect
//! from root on the machine, nor from anybody who may read the document or the instance's tags and write to the console;
//! and an older line of the same machine stays valid, which is why a report tells its time and its boot.

mod form;
mod reader;

pub use form::*;
pub use reader::{NoReport, Reading, Reason, Rejected, read};
