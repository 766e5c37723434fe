//! Where something of gangplank's is: whose account, in which cloud, in which region, and whether in a sandbox. Plain data.
//!
//! Two locations are equal where account and region are. What is only shown (a profile, a subscription's name and tenant, a sandbox's
//! folder) is not compared: a saved changeset fits as long as it is the same account, however that is reached.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// Serialised into the fields `location` (`aws us-east-1`), `region`, `account`, and `sandbox` where it is in one: flatten it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "Fields", from = "Fields")]
pub struct Location {
    pub account: CloudAccount,
    /// `None` where it is a whole subscription.
    pub region: Option<String>,
    pub sandbox: Option<SandboxName>,
}

/// Whose it is.
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
#[serde(tag = "cloud", rename_all = "lowercase")]
pub enum CloudAccount {
    Aws {
        /// `None` where AWS has not told it.
        id: Option<AccountId>,
        /// The profile that names the credentials, where one was named.
        profile: Option<String>,
    },
    Azure {
        #[serde(rename = "id")]
        subscription: String,
        /// `None` where Azure has not told it.
        name: Option<String>,
        tenant: Option<String>,
    },
}

/// The sandbox's folder as it was given; none where it is only in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxName {
    pub folder: Option<String>,
}

/// The number of an AWS account: twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloudKind {
    Aws,
    Azure,
}

/// What a price depends on: a cloud's region, or a cloud alone where the price is the same everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceRegion {
    pub cloud: CloudKind,
    pub region: Option<String>,
}

impl Location {
    /// A region of an AWS account that is not known yet.
    pub fn aws(region: impl Into<String>) -> Self {
        let account = CloudAccount::Aws { id: None, profile: None };
        Self { account, region: Some(region.into()), sandbox: None }
    }

    pub fn azure(subscription: impl Into<String>, region: impl Into<String>) -> Self {
        Self { region: Some(region.into()), ..Self::subscription(subscription) }
    }

    /// A whole subscription of Azure.
    pub fn subscription(id: impl Into<String>) -> Self {
        let account = CloudAccount::Azure { subscription: id.into(), name: None, tenant: None };
        Self { account, region: None, sandbox: None }
    }

    /// The same place, of which more is known.
    #[must_use]
    pub fn of(self, account: &CloudAccount, sandbox: Option<&SandboxName>) -> Self {
        Self { account: account.clone(), sandbox: sandbox.cloned(), ..self }
    }

    pub fn cloud(&self) -> CloudKind {
        self.account.cloud()
    }

    pub fn price_region(&self) -> PriceRegion {
        PriceRegion { cloud: self.cloud(), region: self.region.clone() }
    }

    /// Without an account: `aws us-east-1`; a whole subscription by its id.
    pub fn without_account(&self) -> String {
        match (&self.account, &self.region) {
            (_, Some(region)) => format!("{} {region}", self.cloud()),
            (CloudAccount::Aws { .. }, None) => self.cloud().to_string(),
            (CloudAccount::Azure { subscription, .. }, None) => format!("{} {subscription}", self.cloud()),
        }
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        (&self.account, &self.region, self.sandbox.is_some())
            == (&other.account, &other.region, other.sandbox.is_some())
    }
}

impl Eq for Location {}

/// For people: `aws 111122223333 us-east-1 (profile data)`, `azure Data Platform (SUBSCRIPTION) westeurope`,
/// `sandbox ./box aws us-east-1`. A subscription's name is Azure's text: what shows it makes it harmless.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(sandbox) = &self.sandbox {
            return write!(f, "{sandbox} {}", self.without_account());
        }
        let region = self.region.as_ref().map(|region| format!(" {region}")).unwrap_or_default();
        match &self.account {
            CloudAccount::Aws { id, profile } => {
                f.write_str("aws")?;
                if let Some(id) = id {
                    write!(f, " {id}")?;
                }
                f.write_str(&region)?;
                match (id, profile) {
                    (Some(_), None) => Ok(()),
                    (Some(_), Some(profile)) => write!(f, " (profile {profile})"),
                    (None, None) => f.write_str(" (account unknown)"),
                    (None, Some(profile)) => write!(f, " (account unknown, profile {profile})"),
                }
            }
            CloudAccount::Azure { subscription, name: Some(name), .. } => {
                write!(f, "azure {name} ({subscription}){region}")
            }
            CloudAccount::Azure { subscription, name: None, .. } => write!(f, "azure {subscription}{region}"),
        }
    }
}

/// As a location without a region.
impl fmt::Display for CloudAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Location { account: self.clone(), region: None, sandbox: None };
        write!(f, "{whole}")
    }
}

impl CloudAccount {
    pub fn is_subscription(&self, id: &str) -> bool {
        matches!(self, Self::Azure { subscription, .. } if subscription.eq_ignore_ascii_case(id))
    }

    pub fn cloud(&self) -> CloudKind {
        match self {
            Self::Aws { .. } => CloudKind::Aws,
            Self::Azure { .. } => CloudKind::Azure,
        }
    }
}

impl PartialEq for CloudAccount {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Aws { id, .. }, Self::Aws { id: of_other, .. }) => id == of_other,
            (Self::Azure { subscription, .. }, Self::Azure { subscription: of_other, .. }) => {
                subscription.eq_ignore_ascii_case(of_other)
            }
            (Self::Aws { .. }, Self::Azure { .. }) | (Self::Azure { .. }, Self::Aws { .. }) => false,
        }
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.folder.as_deref() {
            // A folder of that name needs not be called by it twice.
            None | Some("sandbox") => f.write_str("sandbox"),
            Some(folder) => write!(f, "sandbox {folder}"),
        }
    }
}

impl AccountId {
    /// `None` where the text is not twelve digits.
    pub fn new(text: &str) -> Option<Self> {
        (text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AccountId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("{text:?} is not an AWS account: twelve digits"))
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.0
    }
}

/// An account that `reap --account` allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountGuard {
    Aws(AccountId),
    /// A subscription's id.
    Azure(String),
}

impl AccountGuard {
    /// Twelve digits are an account of AWS, a UUID is a subscription of Azure; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(id) = AccountId::new(text) {
            return Some(Self::Aws(id));
        }
        let parts: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        let hexadecimal = parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
        (lengths == [8, 4, 4, 4, 12] && hexadecimal).then(|| Self::Azure(text.to_lowercase()))
    }

    pub fn aws(&self) -> Option<&AccountId> {
        match self {
            Self::Aws(id) => Some(id),
            Self::Azure(_) => None,
        }
    }

    pub fn azure(&self) -> Option<&str> {
        match self {
            Self::Aws(_) => None,
            Self::Azure(id) => Some(id),
        }
    }
}

impl fmt::Display for CloudKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
        })
    }
}

impl PriceRegion {
    pub fn new(cloud: CloudKind, region: impl Into<String>) -> Self {
        Self { cloud, region: Some(region.into()) }
    }

    /// `aws us-east-1`, or a cloud alone: as the price table writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let (cloud, region) = text.split_once(' ').map_or((text, None), |(cloud, region)| (cloud, Some(region)));
        let cloud = match cloud {
            "aws" => CloudKind::Aws,
            "azure" => CloudKind::Azure,
            _ => return None,
        };
        Some(Self { cloud, region: region.map(str::to_owned) })
    }
}

impl fmt::Display for PriceRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.region {
            Some(region) => write!(f, "{} {region}", self.cloud),
            None => write!(f, "{}", self.cloud),
        }
    }
}

impl Serialize for PriceRegion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What programs read.
#[derive(Serialize, Deserialize)]
struct Fields {
    /// For people and for programs of before: it follows from the rest, and is not read.
    location: String,
    region: Option<String>,
    account: CloudAccount,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sandbox: Option<SandboxName>,
}

impl From<Location> for Fields {
    fn from(of: Location) -> Self {
        Self { location: of.without_account(), region: of.region, account: of.account, sandbox: of.sandbox }
    }
}

impl From<Fields> for Location {
    fn from(fields: Fields) -> Self {
        Self { account: fields.account, region: fields.region, sandbox: fields.sandbox }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";

    fn aws(id: Option<&str>, profile: Option<&str>) -> Location {
        let account = CloudAccount::Aws { id: id.and_then(AccountId::new), profile: profile.map(str::to_owned) };
        Location::aws("us-east-1").of(&account, None)
    }

    fn azure(name: Option<&str>) -> Location {
        let account =
            CloudAccount::Azure { subscription: SUBSCRIPTION.to_owned(), name: name.map(str::to_owned), tenant: None };
        Location::azure(SUBSCRIPTION, "westeurope").of(&account, None)
    }

    fn within(folder: Option<&str>, location: Location) -> Location {
        Location { sandbox: Some(SandboxName { folder: folder.map(str::to_owned) }), ..location }
    }

    #[test]
    fn people_read_whose_account_it_is() {
        let id = Some("111122223333");
        for (location, words) in [
            (aws(id, Some("data")), "aws 111122223333 us-east-1 (profile data)"),
            (aws(id, None), "aws 111122223333 us-east-1"),
            (aws(None, None), "aws us-east-1 (account unknown)"),
            (aws(None, Some("data")), "aws us-east-1 (account unknown, profile data)"),
            (azure(Some("Data Platform")), "azure Data Platform (00000000-0000-0000-0000-000000000000) westeurope"),
            (azure(None), "azure 00000000-0000-0000-0000-000000000000 westeurope"),
            (Location::subscription(SUBSCRIPTION), "azure 00000000-0000-0000-0000-000000000000"),
            (within(Some("./box"), aws(id, None)), "sandbox ./box aws us-east-1"),
            (within(Some("./box"), azure(Some("Data Platform"))), "sandbox ./box azure westeurope"),
            (within(None, aws(id, None)), "sandbox aws us-east-1"),
        ] {
            assert_eq!(location.to_string(), words);
        }
    }

    #[test]
    fn programs_read_the_same_location_as_ever_and_the_account_beside_it() {
        assert_eq!(
            json!(aws(Some("111122223333"), Some("data"))),
            json!({"location": "aws us-east-1", "region": "us-east-1",
                   "account": {"cloud": "aws", "id": "111122223333", "profile": "data"}})
        );
        assert_eq!(
            json!(within(Some("./box"), azure(Some("Data Platform")))),
            json!({"location": "azure westeurope", "region": "westeurope", "sandbox": {"folder": "./box"},
                   "account": {"cloud": "azure", "id": SUBSCRIPTION, "name": "Data Platform", "tenant": null}})
        );
        assert_eq!(json!(Location::subscription(SUBSCRIPTION))["location"], format!("azure {SUBSCRIPTION}"));
    }

    #[test]
    fn what_is_only_shown_makes_no_other_place() {
        assert_eq!(aws(Some("111122223333"), Some("data")), aws(Some("111122223333"), None));
        assert_eq!(azure(Some("Data Platform")), azure(None));
        assert_ne!(aws(Some("111122223333"), None), aws(Some("444455556666"), None));
        assert_ne!(aws(Some("111122223333"), None), aws(None, None));
        assert_ne!(aws(Some("111122223333"), None), within(None, aws(Some("111122223333"), None)));
        assert_ne!(Location::aws("us-east-1"), Location::aws("us-east-2"));
    }

    #[test]
    fn a_location_comes_back_from_a_file() {
        for location in [aws(Some("111122223333"), Some("data")), aws(None, None), within(None, azure(Some("a")))] {
            let back: Location = serde_json::from_value(json!(location)).expect("as it was written");
            assert_eq!(back, location);
            assert_eq!(back.to_string(), location.to_string());
        }
        let odd = json!({"location": "", "region": null, "account": {"cloud": "aws", "id": "12", "profile": null}});
        assert!(serde_json::from_value::<Location>(odd).is_err());
    }

    #[test]
    fn a_guard_is_an_account_or_a_subscription_by_its_form() {
        assert_eq!(AccountGuard::parse("111122223333"), AccountId::new("111122223333").map(AccountGuard::Aws));
        let upper = AccountGuard::parse("0000000A-0000-0000-0000-000000000000");
        assert_eq!(upper, Some(AccountGuard::Azure("0000000a-0000-0000-0000-000000000000".to_owned())));
        for odd in ["", "1111-2222-3333", "Data Platform", "0000000g-0000-0000-0000-000000000000", "----"] {
            assert_eq!(AccountGuard::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn an_account_is_twelve_digits() {
        assert!(AccountId::new("011122223333").is_some());
        for odd in ["", "11122223333", "1111222233334", "1111-2222-3333", "11112222333a", "١١١١٢٢٢٢٣٣٣٣"] {
            assert!(AccountId::new(odd).is_none(), "{odd}");
        }
    }
}
