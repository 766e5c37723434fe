//! What the describe calls share: ids, filters, pages.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    form::Form,
    kind::Kind,
    model::Tags,
    refusal::{Outcome, refusal, refuse},
};

/// EC2's limit for the filter values of one call ("Request filtering" in the Amazon EC2 User Guide).
const MOST_VALUES: usize = 200;

/// Page sizes of most calls.
pub const USUAL: RangeInclusive<i64> = 5..=1000;
pub const SMALL: RangeInclusive<i64> = 5..=100;

#[derive(Clone, Debug, Default)]
pub struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    /// `known` are the names that the call has; `tag` stands for `tag:…` and `tag-key`.
    pub fn take(form: &mut Form, known: &[&str]) -> Outcome<Self> {
        let mut filters = Vec::new();
        for mut one in form.list("Filter")? {
            let name = one.need("Name")?;
            let values = one.texts("Value")?;
            one.done()?;
            let tag = name == "tag-key" || name.strip_prefix("tag:").is_some_and(|key| !key.is_empty());
            let is_known = if tag { known.contains(&"tag") } else { name != "tag" && known.contains(&name.as_str()) };
            if !is_known {
                return refuse(
                    "InvalidParameterValue",
                    format!(
                        "The filter '{name}' is invalid: EC2 has none of this name here, or this sandbox does not know it"
                    ),
                );
            }
            if values.is_empty() {
                return refuse("InvalidParameterValue", format!("The filter '{name}' has no value"));
            }
            filters.push((name, values));
        }
        if filters.iter().map(|(_, values)| values.len()).sum::<usize>() > MOST_VALUES {
            return refuse("FilterLimitExceeded", format!("The maximum number of filter values is {MOST_VALUES}"));
        }
        Ok(Self(filters))
    }

    /// Every filter has a value that one of the thing's own matches.
    pub fn admit(&self, tags: &Tags, field: impl Fn(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|(name, wanted)| {
            let any = |text: &str| wanted.iter().any(|pattern| glob(pattern, text));
            if name == "tag-key" {
                tags.keys().any(|key| any(key))
            } else if let Some(key) = name.strip_prefix("tag:") {
                tags.get(key).is_some_and(|value| any(value))
            } else {
                field(name).iter().any(|text| any(text))
            }
        })
    }
}

/// The wildcards of filters: `*` is any text, `?` one character.
pub fn glob(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return pattern == text;
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|&c| c == '?' || c == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, from)) = star {
            // The last star takes one character more.
            (p, t) = (at + 1, from + 1);
            star = Some((at, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Which part of a list to show. The token names the last id shown, so that what comes and goes meanwhile moves nothing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    after: Option<String>,
    size: Option<usize>,
}

const TOKEN: &str = "after:";

impl Page {
    pub fn take(form: &mut Form, sizes: &RangeInclusive<i64>) -> Outcome<Self> {
        let size = form.number("MaxResults")?;
        if let Some(size) = size
            && !sizes.contains(&size)
        {
            let (least, most) = (sizes.start(), sizes.end());
            return refuse(
                "InvalidParameterValue",
                format!(
                    "Value ( {size} ) for parameter maxResults is invalid. Expecting a value from {least} to {most}."
                ),
            );
        }
        let after = match form.text("NextToken").filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => match token.strip_prefix(TOKEN) {
                Some(id) => Some(id.to_owned()),
                None => return refuse("InvalidPaginationToken", format!("The token '{token}' is invalid")),
            },
        };
        Ok(Self { after, size: size.and_then(|size| usize::try_from(size).ok()) })
    }

    /// `items` come in the order of their ids.
    pub fn cut<'a, T>(&self, mut items: Vec<(&'a str, T)>) -> Found<'a, T> {
        if let Some(after) = &self.after {
            items.retain(|(id, _)| *id > after.as_str());
        }
        let size = self.size.unwrap_or(1000);
        if items.len() <= size {
            return (items, None);
        }
        items.truncate(size);
        let next = items.last().map(|(id, _)| format!("{TOKEN}{id}"));
        (items, next)
    }
}

/// Things by their ids, and where the next page begins.
type Found<'a, T> = (Vec<(&'a str, T)>, Option<String>);

/// A describe call's usual parameters.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    ids: Vec<String>,
    filters: Filters,
    page: Page,
}

impl Listing {
    /// # Errors
    /// Unknown parameters and filters are refused; `ids` is the name of the list of ids. EC2 gives no pages of named things.
    pub fn take(mut form: Form, ids: &str, filters: &[&str], sizes: Option<RangeInclusive<i64>>) -> Outcome<Self> {
        let named = form.texts(ids)?;
        let filters = Filters::take(&mut form, filters)?;
        let page = match sizes {
            Some(sizes) => Page::take(&mut form, &sizes)?,
            None => Page::default(),
        };
        form.done()?;
        if page.size.is_some() && !named.is_empty() {
            return refuse(
                "InvalidParameterCombination",
                format!("The parameter {ids} cannot be used with the parameter maxResults"),
            );
        }
        Ok(Self { ids: named, filters, page })
    }

    /// What is asked for, and where the next page begins.
    pub fn of<'a, T>(
        &self,
        kind: Kind,
        all: &'a BTreeMap<String, T>,
        tags: impl Fn(&T) -> &Tags,
        field: impl Fn(&str, &T, &str) -> Vec<String>,
    ) -> Outcome<Found<'a, &'a T>> {
        for id in &self.ids {
            kind.check(id)?;
            if !all.contains_key(id) {
                return Err(kind.missing(id));
            }
        }
        let found = all.iter().filter(|(id, thing)| {
            (self.ids.is_empty() || self.ids.contains(id))
                && self.filters.admit(tags(thing), |name| field(id, thing, name))
        });
        Ok(self.page.cut(found.map(|(id, thing)| (id.as_str(), thing)).collect()))
    }

    /// Named things of another key than an id.
    pub fn names<'a>(&'a self, known: impl Fn(&str) -> bool, code: &str, noun: &str) -> Outcome<&'a [String]> {
        match self.ids.iter().find(|name| !known(name)) {
            Some(name) => Err(refusal(code, format!("The {noun} '{name}' does not exist"))),
            None => Ok(&self.ids),
        }
    }

    pub fn parts(&self) -> (&[String], &Filters, &Page) {
        (&self.ids, &self.filters, &self.page)
    }
}
