//! Whether a firewall lets the machine's own packets through, where a route leads them there: network rules first, then, for HTTP
//! and HTTPS, application rules; what no rule is about is denied ("Azure Firewall rule processing logic").

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Scene,
    firewall::{Rule, Rules},
};
use crate::provider::{
    azure::{
        id::Kind,
        observed::{Resource, list, text},
    },
    space::{Span, without},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// By which rule; by none: nothing lets it through.
    Stopped(Option<String>),
    Unsure(String),
}

/// The firewall whose own address is the next hop, with its rules.
pub fn firewall_at<'a>(scene: &Scene<'a>, hop: IpAddr) -> Option<(&'a Resource, Rules<'a>)> {
    let found = scene.seen.of_kind(Kind::Firewall).find(|firewall| {
        let all = firewall.list("/properties/ipConfigurations").iter();
        all.map(|c| text(c, "/properties/privateIPAddress")).any(|ip| ip.parse() == Ok(hop))
    })?;
    Some((found, Rules::read(scene.seen, found, scene.name(), &scene.names.rules)))
}

/// TCP from the machine to all of these addresses on a port.
pub fn passage(rules: &Rules<'_>, from: IpAddr, to: &[IpNet], port: u16) -> Passage {
    let wanted: Vec<Span> = to.iter().map(|net| Span::port(*net, port)).collect();
    let mut left = wanted.clone();
    let mut unsure: Option<String> = None;
    let end = |unsure: Option<String>| unsure.map_or(Passage::Open, Passage::Unsure);
    for rule in rules.network.iter().filter(|rule| rule.is_tcp()) {
        let (certain, perhaps) = (rule.sources.contains(from), rule.sources.hidden().next().is_some());
        if !certain && !perhaps {
            continue;
        }
        let spans = rule.spans();
        let rest = without(left.clone(), &spans);
        let met = rest != left;
        if certain && met {
            match (rule.allow, rest.is_empty()) {
                (true, true) => return end(unsure),
                (false, true) if unsure.is_none() => return Passage::Stopped(Some(rule.what.clone())),
                (true, false) => {}
                (false, _) => unsure = unsure.or_else(|| Some(format!("{} denies a part of it", rule.what))),
            }
            left = rest;
        }
        if (met && !certain) || (rule.hides_destination() && rule.takes_port(port)) {
            unsure = unsure.or_else(|| Some(format!("{} may be about it: whom it names is not read", rule.what)));
        }
    }
    let web = match port {
        80 => Some("http"),
        443 => Some("https"),
        _ => None,
    };
    let asked = rules.application.iter().filter(|rule| web.is_some_and(|web| is_about(rule, from, web, port)));
    for rule in asked {
        let names: Vec<&str> = ["targetFqdns", "fqdnTags", "targetUrls", "webCategories"]
            .into_iter()
            .flat_map(|list| rule.words(list))
            .collect();
        match (rule.allow, names.contains(&"*") && rule.sources.contains(from)) {
            (true, true) => return end(unsure),
            (false, true) if unsure.is_none() => return Passage::Stopped(Some(rule.what.clone())),
            (allow, _) => {
                let verb = if allow { "lets it to" } else { "denies it" };
                let line = format!(
                    "{} {verb} {}, and what is behind these names is not known here",
                    rule.what,
                    names.join(", ")
                );
                unsure = unsure.or(Some(line));
            }
        }
    }
    match unsure {
        Some(reason) => Passage::Unsure(reason),
        None if !rules.unread.is_empty() => Passage::Unsure(rules.unread.join("; ")),
        None if left != wanted => Passage::Unsure("its rules let it to some of these addresses only".to_owned()),
        None => Passage::Stopped(None),
    }
}

fn is_about(rule: &Rule<'_>, from: IpAddr, protocol: &str, port: u16) -> bool {
    let ours = rule.sources.contains(from) || rule.sources.hidden().next().is_some();
    let protocols = list(rule.raw(), "/protocols").iter();
    let mut same = protocols.filter(|p| text(p, "/protocolType").eq_ignore_ascii_case(protocol));
    ours && same.any(|p| p.get("port").and_then(serde_json::Value::as_u64) == Some(port.into()))
}
