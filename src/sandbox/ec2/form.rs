//! The parameters of a call: `Filter.1.Value.2=x` is a tree. Whoever reads one takes it out, and what is left is refused, so
//! that nothing a caller says is ignored.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::refusal::{Outcome, bad_value, missing_parameter, refuse};

/// Deeper than any parameter of EC2, and shallow enough for any stack.
const DEEPEST: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    value: Option<String>,
    parts: BTreeMap<String, Form>,
}

impl Form {
    pub fn read(pairs: impl Iterator<Item = (String, String)>) -> Outcome<Self> {
        let mut form = Self::default();
        for (name, value) in pairs {
            if name.split('.').count() > DEEPEST {
                return refuse("MalformedQueryString", format!("The parameter {name} is nested too deeply"));
            }
            let mut node = &mut form;
            for part in name.split('.') {
                if !node.parts.contains_key(part) {
                    node.parts.insert(part.to_owned(), Self::default());
                }
                let Some(next) = node.parts.get_mut(part) else { break };
                node = next;
            }
            if node.value.replace(value).is_some() {
                return refuse("MalformedQueryString", format!("The parameter {name} is given twice"));
            }
        }
        Ok(form)
    }

    pub fn has(&self, name: &str) -> bool {
        self.parts.contains_key(name)
    }

    /// Everything below a name; empty where there is nothing.
    pub fn part(&mut self, name: &str) -> Self {
        self.parts.remove(name).unwrap_or_default()
    }

    pub fn text(&mut self, name: &str) -> Option<String> {
        let node = self.parts.get_mut(name)?;
        let value = node.value.take();
        if node.parts.is_empty() {
            self.parts.remove(name);
        }
        value
    }

    pub fn need(&mut self, name: &str) -> Outcome<String> {
        self.text(name).filter(|value| !value.is_empty()).ok_or_else(|| missing_parameter(name))
    }

    pub fn flag(&mut self, name: &str) -> Outcome<Option<bool>> {
        match self.text(name) {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(value) => Err(bad_value(name, &value, "Expected true or false.")),
        }
    }

    pub fn number(&mut self, name: &str) -> Outcome<Option<i64>> {
        match self.text(name) {
            None => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|_| bad_value(name, &value, "Expected a number.")),
        }
    }

    /// The members of a list, in the order of their numbers.
    pub fn list(&mut self, name: &str) -> Outcome<Vec<Self>> {
        let node = self.part(name);
        if node.value.is_some() {
            return refuse("InvalidParameterValue", format!("{name} is a list: {name}.1, {name}.2"));
        }
        let mut members = Vec::new();
        for (number, member) in node.parts {
            match number.parse::<u32>() {
                Ok(number) => members.push((number, member)),
                Err(_) => {
                    return refuse("UnknownParameter", format!("The parameter {name}.{number} is not recognized"));
                }
            }
        }
        members.sort_by_key(|(number, _)| *number);
        Ok(members.into_iter().map(|(_, member)| member).collect())
    }

    pub fn texts(&mut self, name: &str) -> Outcome<Vec<String>> {
        let members = self.list(name)?;
        members.into_iter().map(|member| member.only_text(name)).collect()
    }

    fn only_text(self, name: &str) -> Outcome<String> {
        match (self.value, self.parts.keys().next()) {
            (Some(value), None) => Ok(value),
            (_, Some(part)) => refuse("UnknownParameter", format!("The parameter {name}.N.{part} is not recognized")),
            (None, None) => Err(missing_parameter(name)),
        }
    }

    /// What tells two requests apart.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        self.feed(&mut hash);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn feed(&self, hash: &mut Sha256) {
        let mut text = |text: &str| {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        };
        text(self.value.as_deref().unwrap_or_default());
        text(&self.parts.len().to_string());
        for (name, part) in &self.parts {
            hash.update(name);
            hash.update([0]);
            part.feed(hash);
        }
    }

    /// Everything was taken.
    pub fn done(self) -> Outcome<()> {
        match self.first("") {
            None => Ok(()),
            Some(path) => refuse(
                "UnknownParameter",
                format!(
                    "The parameter {path} is not recognized: EC2 has none of this name, or this sandbox does not know it"
                ),
            ),
        }
    }

    fn first(&self, path: &str) -> Option<String> {
        if self.value.is_some() {
            return Some(path.to_owned());
        }
        self.parts
            .iter()
            .find_map(|(name, part)| part.first(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }))
    }
}
