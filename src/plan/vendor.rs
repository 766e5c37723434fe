//! Vendors: the catalogue, and those that a plan describes itself.

use super::{
    Vendor,
    catalogue::{KnownVendor, TunnelOffer, catalogue},
    fields::{Field, Shape, excerpt, near},
    net,
    report::{Read, Report},
};

pub(super) const VENDOR: Shape = Shape { what: "a vendor", fields: &["name", "addresses", "documentation"] };

/// A vendor of the catalogue, mostly with its region, or a description; with the place of each source.
pub(super) fn read(field: &Field<'_>, report: &mut Report) -> Read<(Vendor, Vec<net::Placed>)> {
    if field.is_map() {
        return own(field, report);
    }
    let id = field.text(report)?;
    let (name, region) = id.split_once('/').map_or((id, None), |(name, region)| (name, Some(region)));
    let Some(known) = catalogue().iter().find(|known| known.id == name) else {
        let problem = field.problem(report, "an unknown vendor", format!("the catalogue has no `{}`", excerpt(id)));
        let fix = match near(name, catalogue().iter().map(|known| known.id.as_str())) {
            Some(near) => format!("did you mean `{near}`? `gangplank vendors {near}` shows its regions"),
            None => {
                "`gangplank vendors` lists them all; or describe the vendor: {name: ..., addresses: [...]}".to_owned()
            }
        };
        return Err(report.push(problem.fix(fix)));
    };
    if known.tunnel == TunnelOffer::None {
        let label = format!("{} documents no SSH tunnel", known.name);
        let problem = field.problem(report, "a vendor without a tunnel", label);
        return Err(report.push(
            problem.fix("if it has one by now, describe the vendor in the plan: {name: ..., addresses: [...]}"),
        ));
    }
    let (sources, form) = match region.map(|region| known.regions.get(region)) {
        None => (&[][..], None),
        Some(Some(region)) if !region.addresses.is_empty() => (region.addresses.as_slice(), region.form.clone()),
        Some(Some(_)) => {
            let label = format!("the catalogue has no reliable addresses of `{}`", excerpt(id));
            let problem = field.problem(report, "a region without addresses", label);
            return Err(report.push(problem.fix(format!("write `vendor: {name}`, and {}", list_them(known)))));
        }
        Some(None) => {
            let label =
                format!("{} has no region `{}` in the catalogue", known.name, excerpt(region.unwrap_or_default()));
            let problem = field.problem(report, "an unknown region", label);
            return Err(report.push(problem.fix(other_region(known, region.unwrap_or_default()))));
        }
    };
    let placed = sources.iter().map(|source| (*source, field.place.clone())).collect();
    let documentation = known.documentation.clone();
    Ok((Vendor { id: id.to_owned(), sources: sources.to_vec(), documentation, form, known: Some(known) }, placed))
}

/// What to do about a vendor that is named without a region where nothing else says who may connect.
pub(super) fn nobody_could_connect(known: &KnownVendor) -> String {
    match known.regions.values().any(|region| !region.addresses.is_empty()) {
        true => other_region(known, ""),
        false => list_them(known),
    }
}

fn other_region(known: &KnownVendor, written: &str) -> String {
    let regions = || known.regions.iter().filter(|(_, region)| !region.addresses.is_empty()).map(|(id, _)| id.as_str());
    let id = &known.id;
    match near(written, regions()) {
        Some(near) if strsim::levenshtein(near, written) <= 2 => format!("did you mean `{id}/{near}`?"),
        _ if regions().next().is_none() => format!("write `vendor: {id}`, and {}", list_them(known)),
        _ if regions().count() <= MOST_LISTED => {
            let all: Vec<_> = regions().map(|region| format!("{id}/{region}")).collect();
            format!("choose one of {}; or write `vendor: {id}`, and {}", all.join(", "), list_them(known))
        }
        _ => format!("`gangplank vendors {id}` lists its regions; or write `vendor: {id}`, and {}", list_them(known)),
    }
}

const MOST_LISTED: usize = 6;

fn list_them(known: &KnownVendor) -> String {
    let shown = known.shows_addresses_at().map(|link| format!("; see {link}"));
    format!("list its addresses in `allow_from`{}", shown.unwrap_or_default())
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
    let nets = sources.iter().map(|(net, _)| *net).collect();
    let vendor = Vendor { id, sources: nets, documentation, form: None, known: None };
    Ok((vendor, sources))
}

/// The name goes into rule descriptions, which EC2 restricts.
fn name(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let name = field.text(report)?;
    if catalogue().iter().any(|vendor| vendor.id == name || vendor.ids().any(|id| id == name)) {
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
    fn addresses_that_secoda_has_given_up_are_not_in_it() {
        let old: [ipnet::IpNet; 2] = ["34.230.160.245/32".parse().unwrap(), "54.175.53.193/32".parse().unwrap()];
        let regions = catalogue().iter().flat_map(|vendor| vendor.regions.values());
        assert!(regions.flat_map(|region| &region.addresses).all(|source| !old.contains(source)));
    }
}
