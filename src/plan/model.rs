//! A plan that has passed every check: the types cannot hold a wrong one.

use std::{borrow::Cow, collections::BTreeMap, fmt, net::IpAddr, ops::Range, sync::Arc};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::catalogue::KnownVendor;
use crate::{
    diagnostic::{Diagnostic, Place, Source},
    location::AccountId,
    text::shell_word,
};

/// One bastion, as its file describes it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: Name,
    pub deadline: Option<Deadline>,
    /// The user's own tags; never a key that a cloud or gangplank reserves.
    pub tags: BTreeMap<String, String>,
    pub ssh: Ssh,
    pub key_updates: KeyUpdates,
    /// At least one.
    pub tunnels: Vec<Tunnel>,
    pub operators: Vec<Operator>,
    pub cloud: Cloud,
    pub origin: Origin,
}

impl Plan {
    /// Whether the running machine takes changed keys, from its metadata.
    pub fn keys_are_live(&self) -> bool {
        self.key_updates == KeyUpdates::Live
    }

    /// Whether the running machine asks its metadata: for its keys, or for its deadline.
    pub fn asks_metadata(&self) -> bool {
        self.keys_are_live() || self.deadline.is_some()
    }

    /// Who may enter with which keys: tunnels, then operators, in the order of the plan.
    pub fn accounts(&self) -> impl Iterator<Item = (&UserName, &[PublicKey])> {
        let tunnels = self.tunnels.iter().map(|tunnel| (&tunnel.user, tunnel.keys.as_slice()));
        tunnels.chain(self.operators.iter().map(|operator| (&operator.name, operator.keys.as_slice())))
    }

    /// The prefix lists among the sources; two users may name the same one.
    pub fn prefix_lists(&self) -> &[PrefixListRef] {
        match &self.cloud {
            Cloud::Aws(aws) => &aws.prefix_lists,
            Cloud::Azure(_) => &[],
        }
    }

    /// Those that a tunnel or an operator names.
    pub fn prefix_lists_of(&self, user: &UserName) -> impl Iterator<Item = &PrefixListRef> {
        self.prefix_lists().iter().filter(move |list| list.user == *user)
    }

    /// Whether sshd accepts SHA-1 signatures of this user's RSA keys, by the plan's word.
    pub fn accepts_sha1(&self, user: &UserName) -> bool {
        self.tunnels.iter().any(|tunnel| tunnel.user == *user && tunnel.legacy_rsa_sha1 == Some(true))
    }

    /// Every source that the plan itself writes.
    pub fn sources(&self) -> impl Iterator<Item = IpNet> {
        let tunnels = self.tunnels.iter().flat_map(|tunnel| tunnel.sources().map(|(net, _)| net));
        tunnels.chain(self.operators.iter().flat_map(|operator| operator.allow_from.iter().copied()))
    }
}

/// What a changed key means for the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyUpdates {
    /// It takes the key while it runs.
    #[default]
    Live,
    /// A new machine takes its place: the keys are part of what it is made from.
    Replace,
}

impl KeyUpdates {
    pub const ALL: [(&'static str, KeyUpdates); 2] = [("live", KeyUpdates::Live), ("replace", KeyUpdates::Replace)];
}

/// Where a plan came from: its file, and where each field stands in it.
#[derive(Clone, Debug)]
pub struct Origin {
    pub source: Arc<Source>,
    /// Dotted field path (`aws.subnet`, `tunnels[0].keys[1]`) → the bytes to point at: its value, or its key where the value is
    /// a block of lines.
    pub fields: BTreeMap<String, Range<usize>>,
}

impl Origin {
    /// The place of a field; of its nearest parent where the field itself is not written; of the file's start otherwise.
    pub fn place(&self, field: &str) -> Place {
        let mut path = field;
        loop {
            if let Some(span) = self.fields.get(path) {
                return Place { source: Arc::clone(&self.source), span: span.clone() };
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = &path[..cut],
                None => return Place { source: Arc::clone(&self.source), span: 0..0 },
            }
        }
    }

    /// The plan's path as an argument of a command that a reader may type.
    pub fn argument(&self) -> Cow<'_, str> {
        shell_word(&self.source.path)
    }

    /// A problem with one field, found after the file was read (a subnet that the cloud does not know, say).
    pub fn problem(&self, field: &str, summary: impl Into<String>, label: impl Into<String>) -> Diagnostic {
        Diagnostic::new(summary).at(self.place(field), label)
    }
}

/// A bastion's identity within an account and region: 3 to 32 of `[a-z0-9-]`, beginning with a letter, not ending in `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// `None` where the text is not a name.
    pub fn new(text: &str) -> Option<Self> {
        let ok = (3..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-');
        ok.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// When a bastion ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// So long after its creation; whole seconds, more than zero.
    Lifetime(SignedDuration),
    Expires(Timestamp),
}

/// The daemon's settings. Defaults are those that Secoda's documentation recommends for concurrency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    pub port: u16,
    /// `MaxSessions`: session channels on one connection.
    pub max_sessions: u32,
    pub max_startups: MaxStartups,
    /// `LimitNOFILE` of the daemon and `nofile` of the tunnel users.
    pub open_files: u32,
}

/// `MaxStartups start:rate:full` of sshd_config(5): from `start` unauthenticated connections on, `rate` percent of new ones
/// are refused, all of them at `full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxStartups {
    pub start: u32,
    pub rate: u32,
    pub full: u32,
}

impl fmt::Display for MaxStartups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.start, self.rate, self.full)
    }
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            port: 22,
            max_sessions: 50,
            max_startups: MaxStartups { start: 50, rate: 30, full: 200 },
            open_files: 65535,
        }
    }
}

/// One vendor's way in: an unprivileged user that may open its targets and nothing else.
#[derive(Clone, Debug)]
pub struct Tunnel {
    pub user: UserName,
    pub vendor: Option<Vendor>,
    /// Addresses beside the vendor's.
    pub allow_from: Vec<IpNet>,
    /// May be empty: a vendor may show its key only after the tunnel's address is known.
    pub keys: Vec<PublicKey>,
    /// sshd accepts RSA keys with SHA-1 signatures for this user: `None` where the plan says nothing about it.
    pub legacy_rsa_sha1: Option<bool>,
    /// At least one.
    pub targets: Vec<Target>,
}

impl Tunnel {
    /// Every source that this tunnel admits, with the reason: the vendor's id, or `allow_from`.
    pub fn sources(&self) -> impl Iterator<Item = (IpNet, &str)> {
        let vendor = self.vendor.iter().flat_map(|v| v.sources.iter().map(|s| (*s, v.id.as_str())));
        vendor.chain(self.allow_from.iter().map(|s| (*s, "allow_from")))
    }
}

/// Somebody who may verify the tunnels from an own machine with an own key: every target, no shell.
#[derive(Clone, Debug)]
pub struct Operator {
    pub name: UserName,
    pub allow_from: Vec<IpNet>,
    pub keys: Vec<PublicKey>,
}

/// A managed prefix list of AWS among the sources: what stands in it is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixListRef {
    /// `pl-...`
    pub id: String,
    /// Whose source it is: a tunnel's or an operator's.
    pub user: UserName,
    /// Where the plan names it: a path of [`Origin::fields`].
    pub field: String,
}

/// A Unix user name that no supported image uses itself: `[a-z_][a-z0-9_-]{0,31}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// `None` where the text is no portable user name. Reserved names are the reader's business.
    pub fn new(text: &str) -> Option<Self> {
        let ok = (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        ok.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An OpenSSH public key that has passed the checks: no options, no control characters, RSA of at least 2048 bits, no DSA,
/// no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// `ssh-ed25519`, `ssh-rsa`, ...
    pub algorithm: String,
    /// The key itself in base64, as OpenSSH writes it.
    pub base64: String,
    /// One line without control characters; may be empty.
    pub comment: String,
    /// `SHA256:...`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

impl PublicKey {
    /// `ssh-ed25519 AAAA...`, without the comment: what tells keys apart.
    pub fn text(&self) -> String {
        format!("{} {}", self.algorithm, self.base64)
    }
}

/// What a tunnel reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub host: Host,
    pub port: u16,
    pub speaks: Protocol,
    /// Where the host is, for the egress rule, when neither its address nor a database group says so.
    pub networks: Vec<IpNet>,
    /// Whether, and as whom, `verify` may begin a login there, without a password.
    pub login_attempt: Option<LoginAttempt>,
}

/// As whom a login is begun that never sends a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginAttempt {
    /// A user that cannot exist.
    Nobody,
    /// The vendor's own: PostgreSQL's rules may name users and databases.
    As { user: String, database: String },
}

/// A target's host: an address that a tunnel may reach, or a DNS name in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(address) => address.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// What a target answers with; the verifier speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Postgres,
    Mysql,
    Sqlserver,
    Tls,
    Tcp,
}

impl Protocol {
    pub const ALL: [(&'static str, Protocol); 5] = [
        ("postgres", Protocol::Postgres),
        ("mysql", Protocol::Mysql),
        ("sqlserver", Protocol::Sqlserver),
        ("tls", Protocol::Tls),
        ("tcp", Protocol::Tcp),
    ];

    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, p)| *p == self).map_or("tcp", |(name, _)| name)
    }
}

/// Who connects: from the catalogue, or described in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// `secoda/north-america`, `hevo`, or the name that the plan gives.
    pub id: String,
    /// Empty where the catalogue has none and the plan lists them itself.
    pub sources: Vec<IpNet>,
    pub documentation: Option<String>,
    /// Where the vendor's form is.
    pub form: Option<String>,
    /// What the catalogue knows of it.
    pub known: Option<&'static KnownVendor>,
}

/// A field of a vendor's form.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct FormField {
    pub label: String,
    #[serde(flatten)]
    pub content: FormContent,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormContent {
    Value(FormValue),
    /// These very words, or the choice of that name.
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormValue {
    User,
    Host,
    Port,
    /// `host:port` of the bastion.
    HostAndPort,
    /// `ssh://user@host:port`.
    Endpoint,
    /// Of a pair that the customer makes.
    PrivateKey,
    TargetHost,
    TargetPort,
}

#[derive(Clone, Debug)]
pub enum Cloud {
    Aws(Aws),
    Azure(Azure),
}

/// The plan's `aws:` block.
#[derive(Clone, Debug)]
pub struct Aws {
    /// From the standard chain (AWS_REGION, profile) where the plan names none.
    pub region: Option<String>,
    /// The only account that the bastion may be in.
    pub account: Option<AccountId>,
    /// A named profile of the shared configuration files; the standard chain where the plan names none.
    pub profile: Option<String>,
    pub subnet: SubnetRef,
    pub image: AwsImage,
    /// Replace a running bastion when its alias has a newer image.
    pub image_update: bool,
    pub instance_type: String,
    pub address: AwsAddress,
    pub database_access: Vec<DatabaseAccess>,
    /// In the order of the plan.
    pub prefix_lists: Vec<PrefixListRef>,
    /// The account's quota of inbound or outbound rules in a security group: EC2 itself does not tell it.
    pub rules_per_group: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubnetRef {
    Id(String),
    /// Exactly one tag; must match exactly one subnet.
    Tag {
        key: String,
        value: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsImage {
    Alias(ImageAlias),
    /// `ami-...`
    Id(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageAlias {
    Debian13,
    Debian12,
    Ubuntu2404,
    Ubuntu2604,
    AmazonLinux2023,
}

impl ImageAlias {
    pub const ALL: [(&'static str, ImageAlias); 5] = [
        ("debian-13", ImageAlias::Debian13),
        ("debian-12", ImageAlias::Debian12),
        ("ubuntu-24.04", ImageAlias::Ubuntu2404),
        ("ubuntu-26.04", ImageAlias::Ubuntu2604),
        ("amazon-linux-2023", ImageAlias::AmazonLinux2023),
    ];

    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, a)| *a == self).map_or("debian-13", |(name, _)| name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsAddress {
    /// An Elastic IP that is created with the bastion and released with it.
    Elastic,
    /// `eipalloc-...`: somebody's own, associated and never released.
    Existing(String),
}

/// Inbound rule in a database's own security group, from the bastion's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseAccess {
    /// The group's account, where it is another than the bastion's.
    pub account: Option<String>,
    /// `sg-...`
    pub security_group: String,
    pub port: u16,
}

/// The plan's `azure:` block.
#[derive(Clone, Debug)]
pub struct Azure {
    pub subscription: String,
    pub location: String,
    pub resource_group: ResourceGroup,
    pub network: AzureNetwork,
    pub edge: Edge,
    pub size: String,
    pub image: ImageAlias,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceGroup {
    Owned(String),
    Existing(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureNetwork {
    /// `firewall_subnet` is there exactly when the edge is a firewall of the bastion's own, `management_subnet` exactly when
    /// that is a Basic one.
    Created {
        address_space: IpNet,
        bastion_subnet: IpNet,
        firewall_subnet: Option<IpNet>,
        management_subnet: Option<IpNet>,
        /// Names or ids of networks.
        peer_with: Vec<String>,
    },
    Existing {
        vnet: String,
        subnet: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edge {
    Firewall(FirewallSku),
    ExistingFirewall(String),
    ExistingPolicy(String),
    PublicAddress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirewallSku {
    Basic,
    Standard,
    Premium,
}
