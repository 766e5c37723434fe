//! Vendors: the catalogue, and those that a plan describes itself.

use std::{collections::BTreeMap, sync::LazyLock};

use ipnet::IpNet;
use serde::Deserialize;

use super::{
    Form, FormField, FormValue, Vendor,
    fields::{Field, Shape, excerpt, near},
    net,
    report::{Read, Report},
};

pub(super) const VENDOR: Shape = Shape { what: "a vendor", fields: &["name", "addresses", "documentation"] };

/// Every vendor that a plan may name, in the order of their ids.
pub fn catalogue() -> &'static [Vendor] {
    // The text is embedded and a test reads it: it cannot fail here.
    static CATALOGUE: LazyLock<Vec<Vendor>> = LazyLock::new(|| parse(include_str!("vendors.yaml")).unwrap_or_default());
    &CATALOGUE
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    addresses: Vec<IpNet>,
    documentation: String,
    form: EntryForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryForm {
    url: String,
    fields: Vec<EntryField>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryField {
    label: String,
    value: EntryValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EntryValue {
    User,
    Host,
    Port,
}

fn parse(text: &str) -> Result<Vec<Vendor>, serde_yaml::Error> {
    let entries: BTreeMap<String, Entry> = serde_yaml::from_str(text)?;
    Ok(entries.into_iter().map(|(id, entry)| vendor(id, entry)).collect())
}

fn vendor(id: String, entry: Entry) -> Vendor {
    let fields = entry.form.fields.into_iter().map(|field| FormField {
        label: field.label,
        value: match field.value {
            EntryValue::User => FormValue::User,
            EntryValue::Host => FormValue::Host,
            EntryValue::Port => FormValue::Port,
        },
    });
    let form = Form { url: entry.form.url, fields: fields.collect() };
    Vendor { id, sources: entry.addresses, documentation: Some(entry.documentation), form: Some(form) }
}

/// A vendor's id from the catalogue, or a description; with the place of each source.
pub(super) fn read(field: &Field<'_>, report: &mut Report) -> Read<(Vendor, Vec<net::Placed>)> {
    if field.is_map() {
        return own(field, report);
    }
    let id = field.text(report)?;
    if let Some(vendor) = catalogue().iter().find(|vendor| vendor.id == id) {
        let sources = vendor.sources.iter().map(|source| (*source, field.place.clone())).collect();
        return Ok((vendor.clone(), sources));
    }
    let label = format!("the catalogue has no `{}`", excerpt(id));
    let problem = field.problem(report, "an unknown vendor", label);
    let ids = || catalogue().iter().map(|vendor| vendor.id.as_str());
    let same_vendor: Vec<&str> = ids().filter(|known| known.split('/').next() == id.split('/').next()).collect();
    let fix = match near(id, ids()) {
        // The vendor alone makes an id of another region look near.
        Some(near) if same_vendor.is_empty() || strsim::levenshtein(near, id) <= 2 => format!("did you mean `{near}`?"),
        _ if !same_vendor.is_empty() => format!("choose one of {}", same_vendor.join(", ")),
        _ => format!(
            "choose one of {}, or describe the vendor: {{name: ..., addresses: [...]}}",
            ids().collect::<Vec<_>>().join(", ")
        ),
    };
    Err(report.push(problem.fix(fix)))
}

fn own(field: &Field<'_>, report: &mut Report) -> Read<(Vendor, Vec<net::Placed>)> {
    let block = field.block(&VENDOR, report)?;
    let id = block.required("name", report, name);
    let sources = block.required("addresses", report, |field, report| {
        let sources = net::ranges(field, report)?;
        if sources.is_empty() {
            let problem = field.problem(report, "a vendor without addresses", "the list is empty");
            return Err(report.push(problem.fix("list the addresses that the vendor connects from")));
        }
        Ok(sources)
    });
    let documentation = block.optional("documentation", report, link);
    let (id, sources, documentation) = (id?, sources?, documentation?);
    let vendor = Vendor { id, sources: sources.iter().map(|(net, _)| *net).collect(), documentation, form: None };
    Ok((vendor, sources))
}

/// The name goes into rule descriptions, which EC2 restricts.
fn name(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let name = field.text(report)?;
    if catalogue().iter().any(|vendor| vendor.id == name) {
        let problem = field.problem(report, "a name of the catalogue", format!("`{name}` stands in the catalogue"));
        return Err(report.push(problem.fix(format!("write `vendor: {name}`, or choose another name"))));
    }
    let ok = |c: char| c.is_ascii_alphanumeric() || " ._/-".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(ok) && name.trim() == name {
        return Ok(name.to_owned());
    }
    let label = format!("`{}` is not a vendor's name", excerpt(name));
    let problem = field.problem(report, "not a name", label);
    Err(report.push(problem.fix("use 1 to 64 of a-z, A-Z, 0-9, space and . _ / -")))
}

fn link(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let link = field.text(report)?;
    if link.starts_with("https://") && link.len() > "https://".len() && link.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(link.to_owned());
    }
    let problem = field.problem(report, "not a link", "a link to documentation begins with https://");
    Err(report.push(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_the_catalogue_is_a_vendor() {
        let vendors = parse(include_str!("vendors.yaml")).unwrap();
        let ids: Vec<&str> = vendors.iter().map(|vendor| vendor.id.as_str()).collect();
        assert_eq!(ids, ["secoda/asia-pacific", "secoda/eu", "secoda/north-america"]);
        for vendor in &vendors {
            assert!(
                !vendor.sources.is_empty() && vendor.sources.iter().all(|net| net.prefix_len() == 32),
                "{vendor:?}"
            );
            let form = vendor.form.as_ref().unwrap();
            assert!(form.url.starts_with("https://") && vendor.documentation.as_ref().unwrap().starts_with("https://"));
            let values: Vec<FormValue> = form.fields.iter().map(|field| field.value).collect();
            assert_eq!(values, [FormValue::User, FormValue::Host, FormValue::Port]);
        }
    }

    #[test]
    fn addresses_that_secoda_has_given_up_are_not_in_it() {
        let old: [IpNet; 2] = ["34.230.160.245/32".parse().unwrap(), "54.175.53.193/32".parse().unwrap()];
        assert!(catalogue().iter().flat_map(|vendor| &vendor.sources).all(|source| !old.contains(source)));
    }
}
