//! Tags: at creation, later, and what EC2 lets be one ("Tag your Amazon EC2 resources" in the Amazon EC2 User Guide).

use super::{
    form::Form,
    kind::Kind,
    listing::{Filters, Page, USUAL},
    model::{Region, Tags},
    refusal::{Outcome, missing_parameter, refuse},
    world::Context,
    xml::Xml,
};

const MOST: usize = 50;
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;

/// The tags that a creation gives, by kind.
pub struct Specified(Vec<(Kind, Tags)>);

impl Specified {
    /// `allowed` are the kinds that the call creates.
    pub fn take(form: &mut Form, allowed: &[Kind]) -> Outcome<Self> {
        let mut all: Vec<(Kind, Tags)> = Vec::new();
        for mut one in form.list("TagSpecification")? {
            let name = one.need("ResourceType")?;
            let Some(kind) = allowed.iter().copied().find(|kind| kind.name() == name) else {
                return refuse(
                    "InvalidParameterValue",
                    format!("'{name}' is not a valid taggable resource type for this operation."),
                );
            };
            if all.iter().any(|(known, _)| *known == kind) {
                return refuse("InvalidParameterValue", format!("The resource type '{name}' is specified twice"));
            }
            let tags = pairs(&mut one, true)?;
            one.done()?;
            if tags.is_empty() {
                return refuse("InvalidParameterValue", "Tag specification must have at least one tag");
            }
            let tags: Tags = tags.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
            check_count(&tags)?;
            all.push((kind, tags));
        }
        Ok(Self(all))
    }

    pub fn of(&self, kind: Kind) -> Tags {
        self.0.iter().find(|(of, _)| *of == kind).map(|(_, tags)| tags.clone()).unwrap_or_default()
    }
}

fn pairs(form: &mut Form, checked: bool) -> Outcome<Vec<(String, Option<String>)>> {
    let mut pairs: Vec<(String, Option<String>)> = Vec::new();
    for mut tag in form.list("Tag")? {
        let key = tag.text("Key").unwrap_or_default();
        let value = tag.text("Value");
        tag.done()?;
        if checked {
            check(&key, value.as_deref().unwrap_or_default())?;
        }
        if pairs.iter().any(|(known, _)| *known == key) {
            return refuse("InvalidParameterValue", format!("Duplicate tag key '{key}' specified."));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

fn check(key: &str, value: &str) -> Outcome<()> {
    if key.is_empty() {
        return refuse("InvalidParameterValue", "Tag key cannot be empty");
    }
    if key.chars().count() > LONGEST_KEY {
        return refuse(
            "InvalidParameterValue",
            format!("Tag key exceeds the maximum length of {LONGEST_KEY} characters"),
        );
    }
    if value.chars().count() > LONGEST_VALUE {
        return refuse(
            "InvalidParameterValue",
            format!("Tag value exceeds the maximum length of {LONGEST_VALUE} characters"),
        );
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return refuse("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use");
    }
    Ok(())
}

fn check_count(tags: &Tags) -> Outcome<()> {
    if tags.len() > MOST {
        return refuse("TagLimitExceeded", format!("The maximum number of tags for a resource is {MOST}"));
    }
    Ok(())
}

/// What the metadata service can show as a path: "Work with instance tags using instance metadata" in the Amazon EC2 User Guide.
pub fn check_readable(tags: &Tags) -> Outcome<()> {
    let plain = |key: &str| {
        !matches!(key, "." | ".." | "_index")
            && key.chars().all(|c| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c))
    };
    match tags.keys().find(|key| !plain(key)) {
        Some(key) => refuse(
            "InvalidParameterValue",
            format!(
                "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a reserved name ('.', '..', '_index')"
            ),
        ),
        None => Ok(()),
    }
}

pub fn write(xml: &mut Xml, tags: &Tags) {
    if tags.is_empty() {
        return;
    }
    xml.items("tagSet", tags, |xml, (key, value)| {
        xml.leaf("key", key);
        xml.leaf("value", value);
    });
}

impl Region {
    pub(super) fn create_tags(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (ids, tags) = take(&mut form, true)?;
        form.done()?;
        if tags.is_empty() {
            return Err(missing_parameter("Tag"));
        }
        for id in ids {
            let all = self.tags_of(&id)?;
            all.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())));
            check_count(all)?;
            let all = all.clone();
            if self.instances.get(&id).is_some_and(|i| i.metadata.tags) {
                check_readable(&all)?;
            }
        }
        Ok(done())
    }

    pub(super) fn delete_tags(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (ids, tags) = take(&mut form, false)?;
        form.done()?;
        for id in ids {
            let all = self.tags_of(&id)?;
            let goes = |key: &String, value: &String| {
                tags.iter().any(|(k, v)| k == key && v.as_ref().is_none_or(|v| v == value))
            };
            all.retain(|key, value| !tags.is_empty() && !goes(key, value));
        }
        Ok(done())
    }

    fn tags_of(&mut self, id: &str) -> Outcome<&mut Tags> {
        let Some(kind) = Kind::of(id) else { return refuse("InvalidID", format!("The ID '{id}' is not valid")) };
        kind.check(id)?;
        let found = match kind {
            Kind::Vpc => self.vpcs.get_mut(id).map(|t| &mut t.tags),
            Kind::Subnet => self.subnets.get_mut(id).map(|t| &mut t.tags),
            Kind::Gateway => self.gateways.get_mut(id).map(|t| &mut t.tags),
            Kind::RouteTable => self.route_tables.get_mut(id).map(|t| &mut t.tags),
            Kind::Acl => self.acls.get_mut(id).map(|t| &mut t.tags),
            Kind::Group => self.groups.get_mut(id).map(|t| &mut t.tags),
            Kind::GroupRule => self.groups.values_mut().find_map(|g| g.rules.get_mut(id)).map(|t| &mut t.tags),
            Kind::Address => self.addresses.get_mut(id).map(|t| &mut t.tags),
            Kind::Instance => self.instances.get_mut(id).map(|t| &mut t.tags),
            Kind::Interface => self.interfaces.get_mut(id).map(|t| &mut t.tags),
            Kind::Volume => self.volumes.get_mut(id).map(|t| &mut t.tags),
            Kind::Image => self.images.get_mut(id).map(|t| &mut t.tags),
            Kind::PrefixList => self.prefix_lists.get_mut(id).map(|t| &mut t.tags),
            Kind::Peering => self.peerings.get_mut(id).map(|t| &mut t.tags),
            Kind::DhcpOptions => self.dhcp_options.get_mut(id).map(|t| &mut t.tags),
        };
        found.ok_or_else(|| kind.missing(id))
    }

    pub(super) fn describe_tags(&self, _: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        let filters = Filters::take(&mut form, &["resource-id", "resource-type", "key", "value"])?;
        let page = Page::take(&mut form, &USUAL)?;
        form.done()?;
        let rules = self.groups.values().flat_map(|g| &g.rules);
        let all = (self.vpcs.iter().map(|(id, t)| (id, &t.tags)))
            .chain(self.subnets.iter().map(|(id, t)| (id, &t.tags)))
            .chain(self.gateways.iter().map(|(id, t)| (id, &t.tags)))
            .chain(self.route_tables.iter().map(|(id, t)| (id, &t.tags)))
            .chain(self.acls.iter().map(|(id, t)| (id, &t.tags)))
            .chain(self.groups.iter().map(|(id, t)| (id, &t.tags)))
            .chain(rules.map(|(id, t)| (id, &t.tags)))
            .chain(self.addresses.iter().map(|(id, t)| (id, &t.tags)))
            .chain(self.instances.iter().map(|(id, t)| (id, &t.tags)))
            .chain(self.interfaces.iter().map(|(id, t)| (id, &t.tags)))
            .chain(self.volumes.iter().map(|(id, t)| (id, &t.tags)))
            .chain(self.images.iter().map(|(id, t)| (id, &t.tags)));
        let kind = |id: &str| Kind::of(id).map(Kind::name).unwrap_or_default().to_owned();
        let mut rows: Vec<(String, (&String, &String, &String))> = Vec::new();
        for (id, tags) in all {
            for (key, value) in tags {
                let field = |name: &str| {
                    vec![match name {
                        "resource-id" => id.clone(),
                        "resource-type" => kind(id),
                        "key" => key.clone(),
                        _ => value.clone(),
                    }]
                };
                if filters.admit(&Tags::new(), field) {
                    rows.push((format!("{id} {key}"), (id, key, value)));
                }
            }
        }
        rows.sort();
        let (shown, next) = page.cut(rows.iter().map(|(at, row)| (at.as_str(), *row)).collect());
        let mut xml = Xml::default();
        xml.items("tagSet", shown, |xml, (_, (id, key, value))| {
            xml.leaf("resourceId", id);
            xml.leaf("resourceType", kind(id));
            xml.leaf("key", key);
            xml.leaf("value", value);
        });
        xml.maybe("nextToken", next);
        Ok(xml)
    }
}

type Pairs = Vec<(String, Option<String>)>;

fn take(form: &mut Form, checked: bool) -> Outcome<(Vec<String>, Pairs)> {
    let ids = form.texts("ResourceId")?;
    if ids.is_empty() {
        return Err(missing_parameter("ResourceId"));
    }
    Ok((ids, pairs(form, checked)?))
}

/// The answer of calls that have nothing to say.
pub fn done() -> Xml {
    let mut xml = Xml::default();
    xml.flag("return", true);
    xml
}
