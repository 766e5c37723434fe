//! The places that a run is about: in its question, in a comment, and in its JSON.

use crate::{changeset::Changeset, location::Location, style::clean};

/// Where the changesets that change something change it, each place once.
pub fn changed<A>(sets: &[Changeset<A>]) -> Vec<&Location> {
    distinct(sets.iter().filter(|set| !set.is_empty()).map(|set| &set.location))
}

/// Each place once, in the order in which they come.
pub fn distinct<'a>(locations: impl Iterator<Item = &'a Location>) -> Vec<&'a Location> {
    let mut all: Vec<&Location> = Vec::new();
    for location in locations {
        if !all.contains(&location) {
            all.push(location);
        }
    }
    all
}

/// `Apply this to aws 111122223333 us-east-1?`, or a list of the places and the question.
pub fn question(act: &str, preposition: &str, places: &[&Location]) -> String {
    let place = |location: &&Location| clean(&location.to_string()).into_owned();
    match places {
        [] => format!("\n{act}?"),
        [one] => format!("\n{act} {preposition} {}?", place(one)),
        several => {
            let lines: String = several.iter().map(|one| format!("  {}\n", place(one))).collect();
            format!("\nThe places are:\n{lines}{act} {preposition} all of them?")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::{AccountId, CloudAccount};

    #[test]
    fn a_question_names_the_account_or_each_of_several() {
        let account = CloudAccount::Aws { id: AccountId::new("111122223333"), profile: Some("data".to_owned()) };
        let aws = Location::aws("us-east-1").of(&account, None);
        let named = CloudAccount::Azure {
            subscription: "00000000-0000-0000-0000-000000000000".to_owned(),
            name: Some("Data\u{1b}[31m".to_owned()),
            tenant: None,
        };
        let azure = Location::azure("00000000-0000-0000-0000-000000000000", "westeurope").of(&named, None);
        assert_eq!(
            question("Apply this", "to", &distinct([&aws, &aws].into_iter())),
            "\nApply this to aws 111122223333 us-east-1 (profile data)?"
        );
        assert_eq!(
            question("Destroy this", "in", &distinct([&aws, &azure, &aws].into_iter())),
            "\nThe places are:\n  aws 111122223333 us-east-1 (profile data)\n  azure Data\\u{1b}[31m \
             (00000000-0000-0000-0000-000000000000) westeurope\nDestroy this in all of them?"
        );
    }
}
