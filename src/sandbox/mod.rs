//! An embedded cloud: the EC2 and Azure Resource Manager calls that gangplank makes, answered by worlds in memory, and machines
//! that obey the document they were given. It is our own work, and only as true as what it is compared with: moto and recorded
//! traffic for the calls, a real sshd for the machines.
//!
//! A world is plain data: it is asked with the time as an argument, it can be kept in a file, and it does nothing by itself.

pub mod arm;
pub mod call;
pub mod clock;
pub mod cloud;
pub mod company;
pub mod ec2;
pub mod http;
pub mod listen;
pub mod machine;
pub mod store;
pub mod vm;
