//! Managed prefix lists: ranges under one id, which rules of security groups name.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{
    form::Form,
    kind::Kind,
    listing::{Listing, Page},
    model::{Opens, Peer, PrefixList, Region},
    refusal::{Outcome, bad_value, missing_parameter, refuse},
    tags::{self, Specified},
    world::{ACCOUNT, Context},
    xml::Xml,
};

/// "Amazon VPC quotas", Customer-managed prefix lists.
const MOST_ENTRIES: i64 = 1000;
/// "Array Members: ... Maximum number of 100 items" (CreateManagedPrefixList, ModifyManagedPrefixList).
const MOST_AT_ONCE: usize = 100;
/// "MaxResults: ... Minimum value of 1. Maximum value of 100."
const SIZES: RangeInclusive<i64> = 1..=100;

impl Region {
    pub(super) fn create_managed_prefix_list(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let name = form.need("PrefixListName")?;
        let family = form.need("AddressFamily")?;
        let most = form.number("MaxEntries")?.ok_or_else(|| missing_parameter("MaxEntries"))?;
        let entries = entries(&mut form, "Entry")?;
        let specified = Specified::take(&mut form, &[Kind::PrefixList])?;
        // SDKs make one up.
        form.text("ClientToken");
        form.done()?;
        if name.starts_with("com.amazonaws") {
            return Err(bad_value("PrefixListName", &name, "Names of AWS's own lists are reserved."));
        }
        let v6 = match family.as_str() {
            "IPv4" => false,
            "IPv6" => true,
            _ => return Err(bad_value("AddressFamily", &family, "Expected IPv4 or IPv6.")),
        };
        let most = match usize::try_from(most) {
            Ok(count @ 1..) if most <= MOST_ENTRIES => count,
            _ => return Err(bad_value("MaxEntries", &most.to_string(), "Must specify a max size between 1 and 1000")),
        };
        let mut list =
            PrefixList { name, v6, most, entries: [].into(), version: 1, tags: specified.of(Kind::PrefixList) };
        list.add(entries)?;
        let id = context.mint.id(Kind::PrefixList);
        let mut xml = Xml::default();
        xml.node("prefixList", |xml| write(xml, &id, &list, context.region));
        self.prefix_lists.insert(id, list);
        Ok(xml)
    }

    /// Its size and its entries are changed by calls of their own.
    pub(super) fn modify_managed_prefix_list(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("PrefixListId")?;
        let version = form.number("CurrentVersion")?;
        let (add, remove) = (entries(&mut form, "AddEntry")?, entries(&mut form, "RemoveEntry")?);
        form.done()?;
        self.prefix_list(&id)?;
        let Some(list) = self.prefix_lists.get_mut(&id) else { return Err(Kind::PrefixList.missing(&id)) };
        if version.is_some_and(|version| version != i64::from(list.version)) {
            return refuse(
                "PrefixListVersionMismatch",
                format!(
                    "The prefix list has the version {}, which is not the one that the request names.",
                    list.version
                ),
            );
        }
        for (net, _) in remove {
            if list.entries.remove(&net).is_none() {
                return Err(bad_value("RemoveEntry", &net.to_string(), "The prefix list has no such entry."));
            }
        }
        list.add(add)?;
        list.version = list.version.wrapping_add(1);
        let mut xml = Xml::default();
        xml.node("prefixList", |xml| write(xml, &id, list, context.region));
        Ok(xml)
    }

    pub(super) fn describe_managed_prefix_lists(&self, context: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = ["owner-id", "prefix-list-id", "prefix-list-name", "tag"];
        let listing = Listing::take(form, "PrefixListId", &filters, Some(SIZES))?;
        let field = |id: &str, list: &PrefixList, name: &str| {
            vec![match name {
                "owner-id" => ACCOUNT.to_owned(),
                "prefix-list-name" => list.name.clone(),
                _ => id.to_owned(),
            }]
        };
        let (shown, next) = listing.of(Kind::PrefixList, &self.prefix_lists, |list| &list.tags, field)?;
        let mut xml = Xml::default();
        xml.items("prefixListSet", shown, |xml, (id, list)| write(xml, id, list, context.region));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    pub(super) fn get_managed_prefix_list_entries(&self, _: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("PrefixListId")?;
        let page = Page::take(&mut form, &SIZES)?;
        form.done()?;
        let entries: Vec<(String, &Option<String>)> =
            self.prefix_list(&id)?.entries.iter().map(|(net, text)| (net.to_string(), text)).collect();
        let mut sorted: Vec<(&str, &Option<String>)> =
            entries.iter().map(|(net, text)| (net.as_str(), *text)).collect();
        sorted.sort();
        let (shown, next) = page.cut(sorted);
        let mut xml = Xml::default();
        xml.items("entrySet", shown, |xml, (net, text)| {
            xml.leaf("cidr", net);
            xml.maybe("description", text.as_ref());
        });
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    pub(super) fn prefix_list(&self, id: &str) -> Outcome<&PrefixList> {
        Kind::PrefixList.check(id)?;
        self.prefix_lists.get(id).ok_or_else(|| Kind::PrefixList.missing(id))
    }

    /// What a rule takes of its group's quota of one family: "the maximum number of entries for the prefix lists counts against the
    /// quota" ("Amazon VPC quotas"). Which family a list counts in is not said: here it is both, as with AWS's own lists and groups.
    pub(super) fn weight(&self, opens: &Opens, v6: bool) -> usize {
        match &opens.peer {
            Peer::Net(net) => usize::from(matches!(net, IpNet::V6(_)) == v6),
            Peer::PrefixList(id) => self.prefix_lists.get(id).map_or(1, |list| list.most),
            Peer::Group(_) | Peer::ForeignGroup(..) => 1,
        }
    }
}

impl PrefixList {
    fn add(&mut self, entries: Vec<(IpNet, Option<String>)>) -> Outcome<()> {
        for (net, text) in entries {
            if matches!(net, IpNet::V6(_)) != self.v6 {
                return Err(bad_value("Cidr", &net.to_string(), "It is not of the prefix list's address family."));
            }
            self.entries.insert(net, text);
        }
        if self.entries.len() > self.most {
            return refuse(
                "PrefixListMaxEntriesExceeded",
                "You've reached the maximum number of entries for the prefix list.",
            );
        }
        Ok(())
    }
}

fn entries(form: &mut Form, name: &str) -> Outcome<Vec<(IpNet, Option<String>)>> {
    let list = form.list(name)?;
    if list.len() > MOST_AT_ONCE {
        return refuse("InvalidParameterValue", format!("{name} has at most {MOST_AT_ONCE} members"));
    }
    let entry = |mut one: Form| {
        let text = one.need("Cidr")?;
        let description = one.text("Description");
        one.done()?;
        let net = text.parse::<IpNet>().ok().filter(|net| *net == net.trunc());
        Ok((net.ok_or_else(|| bad_value("Cidr", &text, "The CIDR block is malformed"))?, description))
    };
    list.into_iter().map(entry).collect()
}

fn write(xml: &mut Xml, id: &str, list: &PrefixList, region: &str) {
    xml.leaf("prefixListId", id);
    xml.leaf("addressFamily", if list.v6 { "IPv6" } else { "IPv4" });
    xml.leaf("state", if list.version == 1 { "create-complete" } else { "modify-complete" });
    xml.leaf("prefixListArn", format!("arn:aws:ec2:{region}:{ACCOUNT}:prefix-list/{id}"));
    xml.leaf("prefixListName", &list.name);
    xml.number("maxEntries", i64::try_from(list.most).unwrap_or(MOST_ENTRIES));
    xml.number("version", list.version);
    xml.leaf("ownerId", ACCOUNT);
    tags::write(xml, &list.tags);
}
