//! The catalogue of vendors: whose tunnels come from where, how they log in, and what their forms ask for.
//!
//! One file a vendor, `vendors/ID.yaml`. Addresses that are in doubt are not in it: such a region stands there by its name.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::LazyLock,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::FormField;

/// When the sources were read last.
pub const READ: &str = "2026-11-29";

/// A vendor, as its file says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KnownVendor {
    /// The file's name.
    #[serde(skip_deserializing)]
    pub id: String,
    pub name: String,
    #[serde(default)]
    pub tunnel: TunnelOffer,
    pub documentation: Option<String>,
    /// Where the vendor shows its addresses, if that is another page than the documentation.
    pub addresses_shown: Option<String>,
    pub user: Option<VendorUser>,
    pub key: Option<VendorKey>,
    /// That the vendor may sign with SHA-1 (`ssh-rsa`), which sshd refuses.
    pub sha1_signatures: Option<Sha1Signatures>,
    #[serde(default)]
    pub host_key: HostKeyHabit,
    /// The fields of the vendor's form, in its order; empty where they are not known.
    #[serde(default)]
    pub form: Vec<FormField>,
    /// Sentences for the person who sets the tunnel up.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Where the addresses are from, and of which day that is; a region may have others.
    pub source: Option<String>,
    pub as_of: Option<String>,
    #[serde(default)]
    pub regions: BTreeMap<String, Region>,
}

/// Whether the vendor connects to databases through an SSH tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelOffer {
    #[default]
    Offered,
    NotKnown,
    /// Its documentation knows none.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VendorUser {
    pub name: String,
    pub fixed: Fixed,
}

/// Whether the vendor logs in by this name only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fixed {
    /// The form asks for a name; this one is the vendor's example.
    No,
    /// The form does not ask for it, as far as is known.
    Probably,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VendorKey {
    pub made_by: KeyMaker,
    #[serde(default)]
    pub shown: KeyShown,
    /// How many public keys the vendor has at a time.
    #[serde(default = "one")]
    pub number: usize,
    /// What a pair must be that the customer makes.
    pub pair: Option<KeyPair>,
}

fn one() -> usize {
    1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyMaker {
    Vendor,
    /// The private half is pasted into the vendor's form.
    Customer,
    NotKnown,
}

/// When the vendor shows its public key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyShown {
    /// While the form is open, or without one: it can be in the plan from the start.
    BeforeSaving,
    /// Once the form is saved, which asks for the bastion's address.
    AfterSaving,
    #[default]
    NotKnown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPair {
    Ed25519,
    /// `BEGIN RSA PRIVATE KEY`, PKCS #1.
    RsaPem,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sha1Signatures {
    /// What is known of it: a sentence without its full stop.
    pub why: String,
    /// Another key of the vendor's, which signs otherwise.
    pub instead: Option<String>,
}

/// What the vendor does with the bastion's host key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeyHabit {
    /// Another one stops the tunnel until it is approved at the vendor.
    Pinned,
    /// Checked if it is entered.
    Optional,
    NotChecked,
    #[default]
    NotKnown,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub name: String,
    /// Where the vendor's form is.
    pub form: Option<String>,
    pub source: Option<String>,
    pub as_of: Option<String>,
    /// How sure the addresses are; `None` where they are not sure enough to be here.
    pub confidence: Option<Confidence>,
    #[serde(default)]
    pub addresses: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The vendor's own list of the last fifteen months, or copies of it that agree.
    Certain,
    /// The vendor's own list, older or undated; or what many of its users say.
    Likely,
}

impl KnownVendor {
    /// The page on which the vendor shows its addresses.
    pub fn shows_addresses_at(&self) -> Option<&str> {
        self.addresses_shown.as_deref().or(self.documentation.as_deref())
    }

    /// Where a region's addresses are from, and of which day.
    pub fn source_of<'a>(&'a self, region: &'a Region) -> (&'a str, &'a str) {
        let source = region.source.as_deref().or(self.source.as_deref());
        let as_of = region.as_of.as_deref().or(self.as_of.as_deref());
        (source.unwrap_or_default(), as_of.unwrap_or("undated"))
    }

    /// The words that a plan may have: the vendor's, and those of its regions with addresses.
    pub fn ids(&self) -> impl Iterator<Item = String> + '_ {
        let regions = self.regions.iter().filter(|(_, region)| !region.addresses.is_empty());
        let own = (self.tunnel != TunnelOffer::None).then(|| self.id.clone());
        own.into_iter().chain(regions.map(|(region, _)| format!("{}/{region}", self.id)))
    }
}

/// Every address and range that a text names, be it JSON, a page or a plain list.
pub fn addresses_in(text: &str) -> BTreeSet<IpNet> {
    let words = text.split(|c: char| !(c.is_ascii_hexdigit() || ".:/".contains(c)));
    let plain = |word: &str| word.parse::<IpNet>().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from));
    let net = |word: &str| {
        let bare = word.trim_matches(['.', ':', '/']);
        let socket = || bare.parse::<SocketAddr>().ok().map(|socket| IpNet::from(socket.ip()));
        plain(word).or_else(|| plain(bare)).or_else(socket)
    };
    // A bare `::` or a time of day is none.
    words.filter(|word| word.len() > 6).filter_map(net).map(|net| net.trunc()).collect()
}

/// Every vendor, in the order of their ids.
pub fn catalogue() -> &'static [KnownVendor] {
    // The texts are embedded and a test reads them: they cannot fail here.
    static CATALOGUE: LazyLock<Vec<KnownVendor>> =
        LazyLock::new(|| FILES.iter().filter_map(|(id, text)| parse(id, text).ok()).collect());
    &CATALOGUE
}

fn parse(id: &str, text: &str) -> Result<KnownVendor, serde_yaml::Error> {
    let vendor: KnownVendor = serde_yaml::from_str(text)?;
    Ok(KnownVendor { id: id.to_owned(), ..vendor })
}

macro_rules! files {
    ($($id:literal)*) => { [$(($id, include_str!(concat!("vendors/", $id, ".yaml")))),*] };
}

const FILES: [(&str, &str); 41] = files! {
    "airbyte-cloud"
    "appsmith"
    "cdata-connect-ai"
    "census"
    "clickpipes"
    "coalesce-catalog"
    "customer-io"
    "dbt"
    "deepnote"
    "elementary"
    "estuary"
    "fivetran"
    "google-datastream"
    "hevo"
    "hex"
    "hightouch"
    "integrate-io"
    "keboola"
    "lightdash"
    "looker"
    "materialize"
    "matillion"
    "metabase"
    "mode"
    "monte-carlo"
    "omni"
    "polytomic"
    "posthog"
    "preset"
    "retool"
    "rivery"
    "rudderstack"
    "secoda"
    "segment"
    "select-star"
    "sigma"
    "skyvia"
    "soda"
    "stitch"
    "sylvan"
    "thoughtspot"
};

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::plan::{FormContent, FormValue, UserName, is_wide};

    /// The names of all files, whether or not they are embedded.
    fn files() -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/vendors");
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|name| name.strip_suffix(".yaml").unwrap().to_owned()).collect()
    }

    #[test]
    fn every_file_is_a_vendor() {
        let ids: Vec<_> =
            FILES.iter().map(|(id, text)| parse(id, text).unwrap_or_else(|e| panic!("{id}: {e}")).id).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), files());
    }

    #[test]
    fn every_entry_can_be_used_and_traced() {
        let link = |link: &Option<String>| {
            link.as_ref().is_none_or(|link| link.starts_with("https://") && !link.contains(' '))
        };
        let day = |day: &str| day == "undated" || day.starts_with("20") && day.len() <= READ.len() && day <= READ;
        for vendor in catalogue() {
            let id = &vendor.id;
            let plain = |id: &str| id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            assert!(plain(id) && vendor.regions.keys().all(|region| plain(region)), "{id}");
            assert!(link(&vendor.documentation) && link(&vendor.addresses_shown), "{id}");
            assert!(vendor.user.as_ref().is_none_or(|user| UserName::new(&user.name).is_some()), "{id}");
            assert!(vendor.tunnel == TunnelOffer::Offered || vendor.form.is_empty(), "{id}");
            let asks_for_a_key =
                vendor.form.iter().any(|field| field.content == FormContent::Value(FormValue::PrivateKey));
            let makes_it = vendor.key.is_some_and(|key| key.made_by == KeyMaker::Customer);
            assert!(!asks_for_a_key || makes_it, "{id}: a private key is asked for that the vendor makes");
            for (name, region) in &vendor.regions {
                let (source, as_of) = vendor.source_of(region);
                assert_eq!(region.confidence.is_some(), !region.addresses.is_empty(), "{id}/{name}");
                assert!(
                    region.addresses.is_empty() || !source.is_empty() && day(as_of),
                    "{id}/{name}: {source} {as_of}"
                );
                assert!(link(&region.form), "{id}/{name}");
                let unique: BTreeSet<_> = region.addresses.iter().collect();
                assert_eq!(unique.len(), region.addresses.len(), "{id}/{name}: an address twice");
                for net in &region.addresses {
                    assert_eq!(*net, net.trunc(), "{id}/{name}: {net} has host bits");
                    assert!(!is_wide(net), "{id}/{name}: {net} is wide");
                }
            }
        }
    }

    #[test]
    fn addresses_are_found_in_any_text() {
        let text = r#"{"prefixes": [{"ip": "198.51.100.7/32"}, {"ip": "203.0.113.0/29"}], "at": "12:30:45", "v": "1.2.3"} 192.0.2.1, 2001:db8::/64. IP:192.0.2.2 and
            192.0.2.3:22, https://192.0.2.4/"#;
        let found: Vec<_> = addresses_in(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "192.0.2.1/32",
                "192.0.2.2/32",
                "192.0.2.3/32",
                "192.0.2.4/32",
                "198.51.100.7/32",
                "203.0.113.0/29",
                "2001:db8::/64"
            ]
        );
    }
}
