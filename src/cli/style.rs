//! Colour, and text from elsewhere made harmless. Colour only repeats what a sign or a word says already.

use std::borrow::Cow;

use anstream::{AutoStream, ColorChoice, stream::RawStream};
use anstyle::{AnsiColor, Style};

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Color::Auto => "auto",
            Color::Always => "always",
            Color::Never => "never",
        }
    }

    /// The styles to use on `stream`.
    pub fn palette(self, stream: &impl RawStream) -> Palette {
        let colored = match self {
            Color::Auto => AutoStream::choice(stream) != ColorChoice::Never,
            Color::Always => true,
            Color::Never => false,
        };
        if colored { Palette::COLORED } else { Palette::PLAIN }
    }
}

/// The styles of everything that people read. Write `{style}text{style:#}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    pub create: Style,
    pub update: Style,
    pub delete: Style,
    pub warning: Style,
    pub heading: Style,
    pub faint: Style,
}

impl Palette {
    pub const PLAIN: Self = Self {
        create: Style::new(),
        update: Style::new(),
        delete: Style::new(),
        warning: Style::new(),
        heading: Style::new(),
        faint: Style::new(),
    };

    pub const COLORED: Self = Self {
        create: AnsiColor::Green.on_default(),
        update: AnsiColor::Yellow.on_default(),
        delete: AnsiColor::Red.on_default(),
        warning: AnsiColor::Yellow.on_default().bold(),
        heading: Style::new().bold(),
        faint: Style::new().dimmed(),
    };
}

/// `text` on one line and without anything that a terminal obeys: control characters, and the invisible characters that
/// reorder or hide text, are written as escapes. For whatever was not written by gangplank itself: names and tags found in
/// a cloud, a cloud's messages, names from a plan.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if obeyed(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Zero-width and bidirectional formatting, line and paragraph separators, invisible operators, tag characters.
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn harmless_text_stays() {
        assert!(matches!(clean("Zürich 東京 (sg-0abc) ±"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_a_terminal_obeys_becomes_visible() {
        assert_eq!(clean("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(clean("one\ntwo\r\tthree"), "one\\ntwo\\r\\tthree");
        assert_eq!(clean("\u{9b}31m \u{202e}gnp.exe \u{200b}"), "\\u{9b}31m \\u{202e}gnp.exe \\u{200b}");
    }

    proptest! {
        #[test]
        fn nothing_obeyed_is_left(text in any::<String>()) {
            let out = clean(&text);
            prop_assert!(!out.contains(obeyed));
            prop_assert_eq!(clean(&out), out.as_ref());
        }
    }
}
