//! `gangplank vendors`: what the catalogue knows of whom, and how a vendor's own list differs from it. Asks nobody.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use ipnet::IpNet;
use serde_json::json;

use super::make_key;
use crate::{
    cli::{
        args::{RunOutput, Vendors},
        exit::{Error, Exit, print},
    },
    plan::{
        FormContent, FormValue,
        catalogue::{
            Confidence, Fixed, HostKeyHabit, KeyMaker, KeyShown, KnownVendor, READ, Region, TunnelOffer, addresses_in,
            catalogue,
        },
    },
};

pub fn run(args: &Vendors) -> Result<Exit, Error> {
    let Some(name) = &args.name else {
        let needs =
            |option: &str| Err(Error::Usage(format!("{option} needs a vendor: gangplank vendors NAME {option} FILE")));
        match (&args.check, &args.make_key) {
            (Some(_), _) => return needs("--check"),
            (_, Some(_)) => return needs("--make-key"),
            _ => {}
        }
        return print(&match args.output {
            RunOutput::Human => all(catalogue()),
            RunOutput::Json => pretty(&json!({"format_version": 1, "read": READ, "vendors": catalogue()})),
        })
        .map(|()| Exit::Done);
    };
    let (id, region) = name.split_once('/').map_or((name.as_str(), None), |(id, region)| (id, Some(region)));
    let Some(vendor) = catalogue().iter().find(|vendor| vendor.id == id) else {
        return Err(Error::Usage(format!("the catalogue has no `{name}`: `gangplank vendors` lists what it has")));
    };
    let chosen: Vec<(&String, &Region)> =
        vendor.regions.iter().filter(|(id, _)| region.is_none_or(|region| region == id.as_str())).collect();
    if let (Some(region), true) = (region, chosen.is_empty()) {
        return Err(Error::Usage(format!(
            "{} has no region `{region}`: `gangplank vendors {id}` lists them",
            vendor.name
        )));
    }
    if let Some(file) = &args.make_key {
        return make_key::run(vendor, file, args.output);
    }
    if let Some(file) = &args.check {
        return check(name, &chosen, file, args.output);
    }
    print(&match args.output {
        RunOutput::Human => one(vendor, &chosen),
        RunOutput::Json => {
            let regions = chosen.into_iter().map(|(id, region)| (id.clone(), region.clone())).collect();
            let vendor = KnownVendor { regions, ..vendor.clone() };
            pretty(&json!({"format_version": 1, "read": READ, "vendors": [vendor]}))
        }
    })?;
    Ok(Exit::Done)
}

/// The catalogue's addresses beside those of a file.
fn check(name: &str, regions: &[(&String, &Region)], file: &Path, output: RunOutput) -> Result<Exit, Error> {
    let text = fs::read_to_string(file).map_err(|error| Error::Io(format!("reading {}", file.display()), error))?;
    let theirs = addresses_in(&text);
    if theirs.is_empty() {
        return Err(Error::Usage(format!("{} has no IP address in it", file.display())));
    }
    let ours: BTreeSet<IpNet> = regions.iter().flat_map(|(_, region)| &region.addresses).copied().collect();
    let only = |one: &BTreeSet<IpNet>, other: &BTreeSet<IpNet>| -> Vec<String> {
        one.difference(other).map(ToString::to_string).collect()
    };
    let (added, gone, same) = (only(&theirs, &ours), only(&ours, &theirs), ours.intersection(&theirs).count());
    let exit = if added.is_empty() && gone.is_empty() { Exit::Done } else { Exit::Differs };
    print(&match output {
        RunOutput::Json => pretty(&json!({
            "format_version": 1, "vendor": name, "only_in_file": added, "only_in_catalogue": gone, "in_both": same,
        })),
        RunOutput::Human => {
            let mut text = String::new();
            added.iter().for_each(|net| line(&mut text, &format!("+ {net}  only in {}", file.display())));
            gone.iter().for_each(|net| line(&mut text, &format!("- {net}  only in the catalogue, read on {READ}")));
            line(
                &mut text,
                &format!(
                    "{name}: {same} in both, {} only in the file, {} only in the catalogue",
                    added.len(),
                    gone.len()
                ),
            );
            if exit == Exit::Differs {
                line(
                    &mut text,
                    &format!("A plan takes the file's with `vendor: {}` and `allow_from`.", vendor_of(name)),
                );
            }
            text
        }
    })?;
    Ok(exit)
}

fn vendor_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn all(vendors: &[KnownVendor]) -> String {
    let width = vendors.iter().map(|vendor| vendor.id.len()).max().unwrap_or_default();
    let mut text = String::new();
    for vendor in vendors {
        let regions = vendor.regions.values().filter(|region| !region.addresses.is_empty()).count();
        let addresses = match (vendor.tunnel, regions) {
            (TunnelOffer::None, _) => "documents no SSH tunnel".to_owned(),
            (_, 0) => "list its addresses in `allow_from`".to_owned(),
            (_, 1) => "1 region".to_owned(),
            (_, many) => format!("{many} regions"),
        };
        let tunnel =
            if vendor.tunnel == TunnelOffer::NotKnown { "; whether it offers a tunnel is not known" } else { "" };
        line(&mut text, &format!("{:width$}  {}: {addresses}{tunnel}", vendor.id, vendor.name));
    }
    line(&mut text, "");
    line(&mut text, &format!("The sources were read on {READ}. `gangplank vendors NAME` explains one."));
    text
}

fn one(vendor: &KnownVendor, regions: &[(&String, &Region)]) -> String {
    let mut text = format!("{} ({})\n", vendor.name, vendor.id);
    match vendor.tunnel {
        TunnelOffer::Offered => {}
        TunnelOffer::NotKnown => line(&mut text, "Whether it offers an SSH tunnel is not known."),
        TunnelOffer::None => line(&mut text, "It documents no SSH tunnel, and a plan cannot name it."),
    }
    if let Some(link) = &vendor.documentation {
        line(&mut text, &format!("  documentation  {link}"));
    }
    if let Some(link) = &vendor.addresses_shown {
        line(&mut text, &format!("  addresses      {link}"));
    }
    if let Some(user) = &vendor.user {
        let fixed = match user.fixed {
            Fixed::No => "the default; any other name works",
            Fixed::Probably => "its form has no field for another, as far as is known",
        };
        line(&mut text, &format!("  user           {}: {fixed}", user.name));
    }
    if let Some(key) = vendor.key {
        line(&mut text, &format!("  key            {}", key_words(key.made_by, key.shown, key.number)));
    }
    if let Some(sha1) = &vendor.sha1_signatures {
        let instead = sha1.instead.as_ref().map_or(String::new(), |key| format!("take {key}; otherwise "));
        line(
            &mut text,
            &format!(
                "  signatures     {}: {instead}the plan needs `legacy_rsa_sha1: true`, or `false` to refuse them",
                sha1.why
            ),
        );
    }
    let host_key = match vendor.host_key {
        HostKeyHabit::Pinned => Some(
            "stored by the vendor: after the machine is replaced, the tunnel stops until the new one is approved there",
        ),
        HostKeyHabit::Optional => Some("checked if it is entered in the form"),
        HostKeyHabit::NotChecked => Some("not checked"),
        HostKeyHabit::NotKnown => None,
    };
    if let Some(habit) = host_key {
        line(&mut text, &format!("  host key       {habit}"));
    }
    if !vendor.form.is_empty() {
        let fields: Vec<_> =
            vendor.form.iter().map(|field| format!("{} ({})", field.label, content(&field.content))).collect();
        line(&mut text, &format!("  form           {}", fields.join(", ")));
    }
    vendor.notes.iter().for_each(|note| line(&mut text, &format!("  note           {note}")));
    if regions.iter().any(|(_, region)| !region.addresses.is_empty()) {
        line(&mut text, "");
    }
    for (id, region) in regions.iter().filter(|(_, region)| !region.addresses.is_empty()) {
        let (source, as_of) = vendor.source_of(region);
        let sure = match region.confidence {
            Some(Confidence::Certain) => "confirmed by the vendor's own list or by copies of it that agree",
            Some(Confidence::Likely) | None => "probable: an older list, or users who agree",
        };
        let day = if as_of == "undated" { "without a date".to_owned() } else { format!("of {as_of}") };
        line(&mut text, &format!("{}/{id}  {}", vendor.id, region.name));
        line(&mut text, &format!("  {sure}, {day}: {source}"));
        let addresses: Vec<_> = region.addresses.iter().map(ToString::to_string).collect();
        addresses.chunks(4).for_each(|some| line(&mut text, &format!("  {}", some.join(" "))));
    }
    let doubtful: Vec<_> =
        regions.iter().filter(|(_, region)| region.addresses.is_empty()).map(|(id, _)| id.as_str()).collect();
    if !doubtful.is_empty() {
        line(
            &mut text,
            &format!("\nWithout reliable addresses: {}. List theirs in `allow_from`.", doubtful.join(", ")),
        );
    }
    let region = regions.iter().find(|(_, region)| !region.addresses.is_empty());
    let plan = region.map_or_else(|| vendor.id.clone(), |(id, _)| format!("{}/{id}", vendor.id));
    if vendor.tunnel != TunnelOffer::None {
        let other = if regions.len() > 1 { ", or the region of your own account" } else { "" };
        line(&mut text, &format!("\nIn a plan: `vendor: {plan}`{other}"));
    }
    text
}

fn key_words(made_by: KeyMaker, shown: KeyShown, number: usize) -> String {
    let keys = if number == 1 { "its public key".to_owned() } else { format!("its {number} public keys") };
    match (made_by, shown) {
        (KeyMaker::Vendor, KeyShown::BeforeSaving) => {
            format!("the vendor makes it, and shows {keys} before the form is saved")
        }
        (KeyMaker::Vendor, KeyShown::AfterSaving) => {
            format!("the vendor makes it, and shows {keys} once the form is saved: apply first, then add the key")
        }
        (KeyMaker::Vendor, KeyShown::NotKnown) => "the vendor makes it; when it is shown is not known".to_owned(),
        (KeyMaker::Customer, _) => "you make it (--make-key FILE), and paste the private half into the form".to_owned(),
        (KeyMaker::NotKnown, _) => "it is not known who makes it".to_owned(),
    }
}

fn content(content: &FormContent) -> &str {
    match content {
        FormContent::Text(text) => text,
        FormContent::Value(FormValue::User) => "user",
        FormContent::Value(FormValue::Host) => "the bastion's address",
        FormContent::Value(FormValue::Port) => "the bastion's port",
        FormContent::Value(FormValue::HostAndPort) => "address:port",
        FormContent::Value(FormValue::Endpoint) => "ssh://user@address:port",
        FormContent::Value(FormValue::PrivateKey) => "private key",
        FormContent::Value(FormValue::TargetHost) => "the target's host",
        FormContent::Value(FormValue::TargetPort) => "the target's port",
    }
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}");
}

fn pretty(document: &serde_json::Value) -> String {
    format!("{document:#}\n")
}
