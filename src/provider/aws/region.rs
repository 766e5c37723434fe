//! A run's region, as its steps name it: `us-east-1`, or `prod@us-east-1` where the plan names a profile.

use crate::{
    location::{CloudAccount, Location},
    text::shell_word,
};

/// Where it is, as far as the key tells.
pub fn location(key: &str) -> Location {
    let profile = key.rsplit_once('@').map(|(profile, _)| profile.to_owned());
    Location::aws(name(key)).of(&CloudAccount::Aws { id: None, profile }, None)
}

/// The region alone.
pub fn name(key: &str) -> &str {
    key.rsplit_once('@').map_or(key, |(_, region)| region)
}

/// The beginning of a command for the reader: `aws --profile prod --region us-east-1`.
pub fn cli(key: &str) -> String {
    match key.rsplit_once('@') {
        Some((profile, region)) => format!("aws --profile {} --region {region}", shell_word(profile)),
        None => format!("aws --region {key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_for_the_reader_names_the_profile() {
        assert_eq!(cli("us-east-1"), "aws --region us-east-1");
        assert_eq!(cli("prod@us-east-1"), "aws --profile prod --region us-east-1");
        assert_eq!(cli("ana@work's@eu-west-1"), r"aws --profile 'ana@work'\''s' --region eu-west-1");
        assert_eq!((name("us-east-1"), name("prod@us-east-1")), ("us-east-1", "us-east-1"));
    }
}
