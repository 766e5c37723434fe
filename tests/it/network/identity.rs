//! Which files are identities, and what is said about those that are not.
