//! Writes the answers' XML.

use std::fmt::Write;

use jiff::Timestamp;

#[derive(Clone, Debug, Default)]
pub struct Xml {
    text: String,
}

impl Xml {
    pub fn into_text(self) -> String {
        self.text
    }

    pub fn leaf(&mut self, name: &str, value: impl AsRef<str>) {
        self.tag("<", name);
        escape(&mut self.text, value.as_ref());
        self.tag("</", name);
    }

    pub fn text(&mut self, text: &str) {
        escape(&mut self.text, text);
    }

    /// Nothing where there is no value.
    pub fn maybe(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.leaf(name, value);
        }
    }

    pub fn number(&mut self, name: &str, value: impl Into<i64>) {
        self.tag("<", name);
        // Writing into a string can't fail.
        let _ = write!(self.text, "{}", value.into());
        self.tag("</", name);
    }

    pub fn flag(&mut self, name: &str, value: bool) {
        self.leaf(name, if value { "true" } else { "false" });
    }

    /// EC2 tells seconds.
    pub fn time(&mut self, name: &str, at: Timestamp) {
        self.leaf(name, at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string());
    }

    pub fn node(&mut self, name: &str, inner: impl FnOnce(&mut Self)) {
        self.tag("<", name);
        inner(self);
        self.tag("</", name);
    }

    /// EC2's lists: `<name><item>…</item></name>`.
    pub fn items<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, mut one: impl FnMut(&mut Self, T)) {
        self.tag("<", name);
        for item in items {
            self.node("item", |xml| one(xml, item));
        }
        self.tag("</", name);
    }

    fn tag(&mut self, open: &str, name: &str) {
        self.text.push_str(open);
        self.text.push_str(name);
        self.text.push('>');
    }
}

/// What XML 1.0 can't carry becomes a question mark.
pub fn escape(to: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '&' => to.push_str("&amp;"),
            '"' => to.push_str("&quot;"),
            '\r' => to.push_str("&#13;"),
            '\t' | '\n' => to.push(c),
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => to.push('?'),
            c => to.push(c),
        }
    }
}
