//! The hand-off as one page that needs nothing else: it is read from a disk, from a mail, on paper.
//!
//! Every value goes through `shown` and then through the template's escaping. The page's policy (CSP) admits its own style
//! and script by their digests and nothing else, so that no value could load or run anything even if it escaped its place.

mod picture;

use std::sync::LazyLock;

use handlebars::Handlebars;
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::picture::Picture;
use super::{HandOff, Light, text};
use crate::{
    style::clean,
    verify::{
        Check, Verdict, Verification,
        summary::{by_vantage, summary},
    },
};

const STYLE: &str = include_str!("../../templates/handoff.css");
const SCRIPT: &str = include_str!("../../templates/handoff.js");

/// # Errors
///
/// Only if the template is broken, which a test rules out: the template's own message.
pub fn html(handoffs: &[HandOff]) -> Result<String, String> {
    static COMPILED: LazyLock<Result<Handlebars<'static>, String>> = LazyLock::new(|| {
        let mut handlebars = Handlebars::new();
        handlebars.set_strict_mode(true);
        handlebars.register_escape_fn(handlebars::html_escape);
        for (name, text) in [
            ("page", include_str!("../../templates/handoff.html.hbs")),
            ("picture", include_str!("../../templates/picture.svg.hbs")),
        ] {
            handlebars.register_template_string(name, text).map_err(|error| error.to_string())?;
        }
        Ok(handlebars)
    });
    let handlebars = COMPILED.as_ref().map_err(Clone::clone)?;
    let names: Vec<_> = handoffs.iter().map(|handoff| shown(&handoff.bastion)).collect();
    let page = Page {
        title: format!("Hand-off of {}", names.join(", ")),
        style: STYLE,
        style_digest: digest(STYLE),
        script: SCRIPT,
        script_digest: digest(SCRIPT),
        bastions: handoffs.iter().enumerate().map(|(i, handoff)| bastion(i, handoff)).collect(),
    };
    handlebars.render("page", &page).map_err(|error| error.to_string())
}

/// What a Content-Security-Policy calls an element by: SHA-256 of its text in padded base64. ssh-key's fingerprint is the
/// same without the padding, which 32 bytes always need one sign of.
fn digest(text: &str) -> String {
    let fingerprint = ssh_key::Fingerprint::Sha256(Sha256::digest(text).into()).to_string();
    format!("{}=", fingerprint.replacen("SHA256:", "sha256-", 1))
}

/// Text that no character of which acts: not on who reads the page, nor on what parses it.
fn shown(text: &str) -> String {
    clean(text).into_owned()
}

#[derive(Serialize)]
struct Page {
    title: String,
    style: &'static str,
    style_digest: String,
    script: &'static str,
    script_digest: String,
    bastions: Vec<Bastion>,
}

#[derive(Serialize)]
struct Bastion {
    /// Makes the ids of this bastion's elements unlike those of others.
    id: usize,
    name: String,
    location: String,
    plan: String,
    made: String,
    address: Option<String>,
    ending: String,
    badge: Badge,
    summary: String,
    notes: Vec<String>,
    next: Vec<Next>,
    wide: Picture,
    narrow: Picture,
    tunnels: Vec<Tunnel>,
    host_keys: Vec<HostKey>,
    known_hosts: Option<String>,
    no_host_key: &'static str,
    by_hand: Option<ByHand>,
    no_operator: bool,
    vantages: Vec<Vantage>,
}

/// A verdict to see: never by its colour alone.
#[derive(Clone, Copy, Serialize)]
struct Badge {
    class: &'static str,
    sign: &'static str,
    word: &'static str,
}

impl From<Light> for Badge {
    fn from(light: Light) -> Self {
        let class = match light {
            Light::Pass => "pass",
            Light::Unknown => "unknown",
            Light::Fail => "fail",
        };
        Self { class, sign: light.sign(), word: light.word() }
    }
}

#[derive(Serialize)]
struct Next {
    text: String,
    url: Option<Link>,
    command: Option<String>,
}

/// A link where the address is one of https; otherwise only its text.
#[derive(Serialize)]
struct Link {
    text: String,
    href: Option<String>,
}

fn link(url: &str) -> Link {
    let https = url.starts_with("https://") && url.chars().all(|c| c.is_ascii_graphic());
    Link { text: shown(url), href: https.then(|| url.to_owned()) }
}

#[derive(Serialize)]
struct Tunnel {
    user: String,
    vendor: Option<String>,
    form: Option<Link>,
    documentation: Option<Link>,
    fields: Vec<Field>,
    sources: Vec<Source>,
    targets: Vec<Target>,
    keys: Vec<Key>,
    no_keys: &'static str,
}

#[derive(Serialize)]
struct Field {
    label: String,
    value: Option<String>,
    missing: &'static str,
}

#[derive(Serialize)]
struct Source {
    network: String,
    why: String,
}

#[derive(Serialize)]
struct Target {
    name: String,
    host: String,
    port: u16,
    speaks: &'static str,
    badge: Badge,
}

#[derive(Serialize)]
struct Key {
    algorithm: String,
    fingerprint: String,
    comment: String,
}

#[derive(Serialize)]
struct HostKey {
    algorithm: String,
    fingerprint: String,
}

#[derive(Serialize)]
struct ByHand {
    operator: String,
    others: Option<String>,
    ssh_config: String,
    known_hosts_file: String,
    open: String,
    trials: Vec<Trial>,
}

#[derive(Serialize)]
struct Trial {
    target: String,
    command: String,
}

#[derive(Serialize)]
struct Vantage {
    name: &'static str,
    counts: String,
    answered: Vec<Answered>,
    unknown: Vec<Unknown>,
}

#[derive(Serialize)]
struct Answered {
    name: String,
    proves: String,
    badge: Badge,
    open: bool,
    failure: Option<Failure>,
    evidence: Vec<String>,
}

#[derive(Serialize)]
struct Failure {
    cause: String,
    fix: String,
}

/// Checks that are unknown for one reason.
#[derive(Serialize)]
struct Unknown {
    reason: String,
    checks: Vec<Answered>,
}

fn bastion(id: usize, of: &HandOff) -> Bastion {
    let known_hosts: Vec<_> = of.host_keys.iter().filter_map(|key| key.known_hosts.as_deref()).map(shown).collect();
    let others: Vec<_> = of.operators.iter().skip(1).map(|name| shown(name)).collect();
    let next = |next: &super::Next| Next {
        text: shown(&next.text),
        url: next.url.as_deref().map(link),
        command: next.command.as_deref().map(shown),
    };
    let verification = of.verification.as_ref();
    Bastion {
        id,
        name: shown(&of.bastion),
        location: shown(&of.location.to_string()),
        plan: shown(&of.plan),
        made: of.made.to_string(),
        address: of.address.as_ref().map(|address| format!("{} port {}", shown(address), of.port)),
        ending: of.ending(),
        badge: verification.map_or(Light::Unknown, |v| Light::of(v.checks.iter())).into(),
        summary: verification.map_or_else(|| "nothing was checked".to_owned(), summary),
        notes: of.notes.iter().map(|note| shown(note)).collect(),
        next: of.next.iter().map(next).collect(),
        wide: Picture::wide(id, of),
        narrow: Picture::narrow(id, of),
        tunnels: of.tunnels.iter().map(tunnel).collect(),
        host_keys: of
            .host_keys
            .iter()
            .map(|key| HostKey { algorithm: key.algorithm.clone(), fingerprint: key.fingerprint.clone() })
            .collect(),
        known_hosts: (!known_hosts.is_empty()).then(|| known_hosts.join("\n")),
        no_host_key: text::NO_HOST_KEY,
        by_hand: of.by_hand.as_ref().map(|by_hand| ByHand {
            operator: shown(&by_hand.operator),
            others: (!others.is_empty()).then(|| others.join(", ")),
            ssh_config: by_hand.ssh_config.lines().map(shown).collect::<Vec<_>>().join("\n"),
            known_hosts_file: by_hand.known_hosts_file.clone(),
            open: by_hand.open.clone(),
            trials: by_hand
                .trials
                .iter()
                .map(|trial| Trial { target: shown(&trial.target), command: shown(&trial.command) })
                .collect(),
        }),
        no_operator: of.operators.is_empty(),
        vantages: verification.map_or_else(Vec::new, vantages),
    }
}

fn tunnel(of: &super::Tunnel) -> Tunnel {
    let field = |field: &super::Field| Field {
        label: shown(&field.label),
        value: field.value.as_deref().map(shown),
        missing: text::NO_ADDRESS,
    };
    let target = |target: &super::Target| Target {
        name: shown(&target.name),
        host: shown(&target.host),
        port: target.port,
        speaks: target.speaks,
        badge: target.light.into(),
    };
    let key = |key: &super::Key| Key {
        algorithm: shown(&key.algorithm),
        fingerprint: shown(&key.fingerprint),
        comment: shown(&key.comment),
    };
    Tunnel {
        user: shown(&of.user),
        vendor: of.vendor.as_deref().map(shown),
        form: of.form.as_deref().map(link),
        documentation: of.documentation.as_deref().map(link),
        fields: of.fields.iter().map(field).collect(),
        sources: of.sources.iter().map(|s| Source { network: shown(&s.network), why: shown(&s.why) }).collect(),
        targets: of.targets.iter().map(target).collect(),
        keys: of.keys.iter().map(key).collect(),
        no_keys: text::NO_KEYS,
    }
}

fn vantages(verification: &Verification) -> Vec<Vantage> {
    let vantage = |seen: crate::verify::summary::VantageChecks<'_>| {
        let checks = verification.checks.iter().filter(|check| check.vantage == seen.vantage).cloned().collect();
        Vantage {
            name: seen.vantage.as_str(),
            counts: summary(&Verification { checks, ..verification.clone() }),
            answered: seen.answered.into_iter().map(answered).collect(),
            unknown: seen
                .unknown
                .into_iter()
                .map(|(reason, checks)| Unknown {
                    reason: shown(reason),
                    checks: checks.into_iter().map(answered).collect(),
                })
                .collect(),
        }
    };
    by_vantage(verification).into_iter().map(vantage).collect()
}

fn answered(check: &Check) -> Answered {
    let failure = match &check.verdict {
        Verdict::Fail { cause, fix } => Some(Failure { cause: shown(cause), fix: shown(fix) }),
        Verdict::Pass | Verdict::Unknown { .. } => None,
    };
    Answered {
        name: shown(&check.name()),
        proves: shown(&check.proves),
        badge: Light::of(std::iter::once(check)).into(),
        open: failure.is_some(),
        failure,
        evidence: check.evidence.iter().map(|line| shown(line)).collect(),
    }
}
