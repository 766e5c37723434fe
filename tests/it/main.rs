//! One test binary: modules by subject.

mod cloudinit;
