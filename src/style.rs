//! Colour. It only repeats what a sign or a word says already.

use anstream::{AutoStream, ColorChoice, stream::RawStream};
use anstyle::{AnsiColor, Style};

pub use crate::text::clean;

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
