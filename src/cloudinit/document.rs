//! The values of the document, in an order of their own, so that plans which mean the same have the same text.

use std::sync::LazyLock;

use flate2::Compression;
use handlebars::{Handlebars, RenderErrorReason};
use serde::Serialize;
use serde_json::json;

use super::{Access, RenderError, gzip, quote, short_digest};
use crate::plan::{Host, MaxStartups, Plan, PublicKey, Ssh, Target, UserName};

/// The templates that hold values, by the names that errors use.
const TEMPLATES: [(&str, &str); 5] = [
    ("cloud-config.yaml", include_str!("../../templates/cloud-config.yaml.hbs")),
    ("settings", include_str!("../../templates/settings.hbs")),
    ("sshd.conf", include_str!("../../templates/sshd.conf.hbs")),
    ("options", include_str!("../../templates/options.hbs")),
    ("authorized_keys", include_str!("../../templates/authorized_keys.hbs")),
];
const BOOT: &str = include_str!("../../templates/boot.sh");
const UPDATES: &str = include_str!("../../templates/updates.sh");
const REPORT: &str = include_str!("../../templates/report.py");
const REPORT_SERVICE: &str = include_str!("../../templates/report.service");
const KEYS: &str = include_str!("../../templates/keys.py");
const KEYS_SERVICE: &str = include_str!("../../templates/keys.service");

/// A script as the machine gets it: without the comments and docstrings that have a line of their own, and indented by one blank
/// where the file has four, since EC2 counts bytes. None of these stands inside of a text there.
pub fn bare(script: &str) -> String {
    let told = |line: &str| {
        let text = line.trim_start();
        let quotes = "\"\"\"";
        let docstring = text.len() < line.len() && text.len() > 6 && text.starts_with(quotes) && text.ends_with(quotes);
        docstring || text.starts_with('#') && !text.starts_with("#!")
    };
    let lines = script.split_inclusive('\n').filter(|line| !told(line.trim_end()));
    lines
        .flat_map(|line| {
            let text = line.trim_start_matches(' ');
            let (levels, rest) = ((line.len() - text.len()) / 4, (line.len() - text.len()) % 4);
            [" ".repeat(levels + rest), text.to_owned()]
        })
        .collect()
}

/// Everything that the document says, and nothing else: equal documents have equal texts and the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// By name.
    accounts: Vec<Account>,
    ssh: Ssh,
    /// The machine takes its keys from its metadata: the accounts have none here.
    live_keys: bool,
    /// It asks its metadata: for its keys, or for a deadline.
    asks_metadata: bool,
}

/// A tunnel's or an operator's way in; the machine knows no difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Account {
    name: String,
    /// `host:port`, sorted, each once.
    opens: Vec<String>,
    /// Sorted, each once.
    keys: Vec<Key>,
    /// What its keys may sign with beside the usual.
    signs: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Key {
    algorithm: String,
    base64: String,
    comment: String,
}

impl Document {
    pub fn new(plan: &Plan) -> Self {
        let tunnels = plan.tunnels.iter().map(|t| Account {
            signs: plan.accepts_sha1(&t.user).then_some("ssh-rsa").into_iter().collect(),
            ..Account::new(&t.user, &t.keys, t.targets.iter())
        });
        let operators =
            plan.operators.iter().map(|o| Account::new(&o.name, &o.keys, plan.tunnels.iter().flat_map(|t| &t.targets)));
        let mut accounts: Vec<Account> = tunnels.chain(operators).collect();
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        let live_keys = plan.keys_are_live();
        if live_keys {
            accounts.iter_mut().for_each(|account| account.keys.clear());
        }
        Self { accounts, ssh: plan.ssh.clone(), live_keys, asks_metadata: plan.asks_metadata() }
    }

    pub fn text(&self) -> Result<String, RenderError> {
        let names: Vec<&str> = self.accounts.iter().map(|a| a.name.as_str()).collect();
        let settings = fill("settings", &json!({"users": names.join(" "), "open_files": self.ssh.open_files}))?;
        let sshd = fill(
            "sshd.conf",
            &json!({
                "port": self.ssh.port,
                "max_sessions": self.ssh.max_sessions,
                "max_startups": self.ssh.max_startups.to_string(),
                "accounts": self.accounts,
            }),
        )?;
        let accounts = self
            .accounts
            .iter()
            .map(|account| {
                let (folder, content) = if self.live_keys {
                    ("options", fill("options", account)? + "\n")
                } else {
                    ("keys", fill("authorized_keys", account)?)
                };
                let path = format!("/etc/gangplank/{folder}/{}", account.name);
                Ok(json!({"name": account.name, "path": path, "content": content}))
            })
            .collect::<Result<Vec<_>, RenderError>>()?;
        let key_channel = [
            json!({"path": "/usr/local/sbin/gangplank-keys", "permissions": "0755", "content": bare(KEYS)}),
            json!({
                "path": "/etc/systemd/system/gangplank-keys.service", "permissions": "0644", "content": KEYS_SERVICE,
            }),
        ];
        fill(
            "cloud-config.yaml",
            &json!({
                "accounts": accounts,
                "settings": settings,
                "sshd": sshd,
                "key_channel": if self.asks_metadata { &key_channel[..] } else { &[] },
                "boot": bare(BOOT),
                "report": bare(REPORT),
                "report_service": REPORT_SERVICE,
                "updates": bare(UPDATES),
            }),
        )
    }

    /// See [`super::access`].
    pub fn access(&self) -> Result<Vec<Access>, RenderError> {
        let access = |account: &Account| {
            let options = short_digest(fill("options", account)?.trim_end());
            Ok(Access { user: account.name.clone(), opens: account.opens.clone(), options })
        };
        self.accounts.iter().map(access).collect()
    }

    /// See [`super::UserData::parts`].
    pub fn parts(&self) -> Result<Vec<(&'static str, String)>, RenderError> {
        let keys = if self.live_keys {
            format!("live-{}", short_digest(&format!("{KEYS}{KEYS_SERVICE}")))
        } else {
            let keys: Vec<_> = self.accounts.iter().flat_map(|a| a.keys.iter().map(|k| (&a.name, k))).collect();
            let keys = short_digest(&json!(keys).to_string());
            let ends = if self.asks_metadata {
                format!("-ends-{}", short_digest(&format!("{KEYS}{KEYS_SERVICE}")))
            } else {
                String::new()
            };
            keys + &ends
        };
        // Without such an account these are the digests of before there were any.
        let tunnels: Vec<_> = self.accounts.iter().map(|a| (&a.name, &a.opens)).collect();
        let signing: Vec<_> =
            self.accounts.iter().filter(|a| !a.signs.is_empty()).map(|a| (&a.name, &a.signs)).collect();
        let tunnels =
            if signing.is_empty() { json!(tunnels).to_string() } else { json!([tunnels, signing]).to_string() };
        let Ssh { port, max_sessions, max_startups, open_files } = &self.ssh;
        Ok(vec![
            ("keys", keys),
            ("tunnels", short_digest(&tunnels)),
            ("sshd", short_digest(&format!("{port} {max_sessions} {max_startups} {open_files}"))),
            ("system", SYSTEM.clone()?),
        ])
    }

    /// What takes the most of the compressed text, in words, and its bytes.
    pub fn largest_part(&self) -> Result<(String, usize), RenderError> {
        let size = |document: &Self| document.text().map(|text| gzip(&text, Compression::best()).len());
        let all = size(self)?;
        let mut reduced = self.clone();
        reduced.accounts.iter_mut().for_each(|account| account.keys.clear());
        let without_keys = size(&reduced)?;
        reduced.accounts.clear();
        let without_accounts = size(&reduced)?;

        let keys: usize = self.accounts.iter().map(|account| account.keys.len()).sum();
        let parts = [
            (format!("the {keys} keys with the targets that each opens"), all.saturating_sub(without_keys)),
            (
                format!("the {} users with the targets that each may open", self.accounts.len()),
                without_keys.saturating_sub(without_accounts),
            ),
        ];
        Ok(parts.into_iter().max_by_key(|(_, bytes)| *bytes).unwrap_or_default())
    }

    /// Stands for everything that no plan changes: the same plan for ever, so that only the templates and this code change
    /// its text.
    fn reference() -> Self {
        let key = |comment: &str| Key { algorithm: "a".into(), base64: "k".into(), comment: comment.into() };
        Self {
            accounts: vec![
                Account {
                    name: "a".into(),
                    opens: vec!["h:1".into(), "[::1]:2".into()],
                    keys: vec![key(""), key("c")],
                    signs: Vec::new(),
                },
                Account { name: "b".into(), opens: vec!["h:1".into()], keys: Vec::new(), signs: Vec::new() },
            ],
            ssh: Ssh {
                port: 1,
                max_sessions: 1,
                max_startups: MaxStartups { start: 1, rate: 1, full: 1 },
                open_files: 1,
            },
            live_keys: false,
            asks_metadata: false,
        }
    }
}

impl Account {
    fn new<'a>(name: &UserName, keys: &[PublicKey], targets: impl Iterator<Item = &'a Target>) -> Self {
        let mut opens: Vec<String> = targets.map(open).collect();
        opens.sort();
        opens.dedup();
        let mut keys: Vec<Key> = keys
            .iter()
            .map(|k| Key { algorithm: k.algorithm.clone(), base64: k.base64.clone(), comment: k.comment.clone() })
            .collect();
        keys.sort();
        keys.dedup();
        Self { name: name.to_string(), opens, keys, signs: Vec::new() }
    }
}

/// A target as `permitopen` and `PermitOpen` write it. sshd compares it with the client's request as text.
pub fn open(target: &Target) -> String {
    match target.host {
        Host::Address(std::net::IpAddr::V6(address)) => format!("[{address}]:{}", target.port),
        _ => format!("{}:{}", target.host, target.port),
    }
}

/// Digest of the reference document.
static SYSTEM: LazyLock<Result<String, RenderError>> =
    LazyLock::new(|| Document::reference().text().map(|text| short_digest(&text)));

/// Compiled once a process. Strict: a value that is missing is an error, not an empty text.
static COMPILED: LazyLock<Result<Handlebars<'static>, RenderError>> = LazyLock::new(|| {
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_escape_fn(handlebars::no_escape);
    quote::register(&mut handlebars);
    for (name, text) in TEMPLATES {
        handlebars.register_template_string(name, text).map_err(|e| RenderError::Value(e.to_string()))?;
    }
    Ok(handlebars)
});

fn fill(template: &str, values: &impl Serialize) -> Result<String, RenderError> {
    let templates = COMPILED.as_ref().map_err(Clone::clone)?;
    templates.render(template, values).map_err(|e| match e.reason() {
        RenderErrorReason::Other(why) => RenderError::Value(format!("{template} cannot hold {why}")),
        _ => RenderError::Value(e.to_string()),
    })
}
