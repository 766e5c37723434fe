//! A machine of the sandbox: it obeys the document that it was given, answers SSH as sshd would with the document's settings
//! and keys, and prints the report that the document's script prints.
//!
//! The modules in the order in which data passes through them: [`document`] reads what the machine was given, [`config`] and
//! [`keys`] say what sshd's settings and key files mean, [`channel`] what the metadata service brings, [`state`] is the machine
//! itself, [`report`] tells of it, and [`ssh`] lets connections in. All but the last are pure: the time is an argument, and the
//! world around the machine is [`around::Around`].
//!
//! Scripts are not interpreted: the machine does what this version's scripts do (`templates/`), and does nothing with others.

pub mod around;
pub mod channel;
pub mod config;
pub mod document;
pub mod hostkey;
pub mod keys;
mod permit;
pub mod report;
pub mod speak;
pub mod ssh;
pub mod state;

pub use around::{Answer, Around, Host, Hosts, Speech};
pub use ssh::Daemon;
pub use state::Machine;
