//! Diagnostics as text for a terminal.

use std::{ops::Range, sync::Arc};

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Place, Source};
use crate::{secret, text::same_length};

/// The longest stretch that is underlined, in bytes: a pasted RSA key must not flood the terminal.
const UNDERLINED: usize = 80;

/// The most problems that anybody reads; a file of garbage can have tens of thousands.
const SHOWN: usize = 200;

/// Every problem with its place, a snippet, the reason and the fix. Ends with a newline.
///
/// Secrets are masked and harmful characters replaced, wherever they stand.
pub fn render(diagnostics: &Diagnostics, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut texts = Texts::default();
    let mut text = String::new();
    for (i, diagnostic) in diagnostics.0.iter().take(SHOWN).enumerate() {
        if i > 0 {
            text.push('\n');
        }
        text.push_str(&one(&renderer, &mut texts, diagnostic));
        text.push('\n');
    }
    if let Some(more) = diagnostics.0.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!("\n... and {more} more problems\n"));
    }
    text
}

fn one(renderer: &Renderer, texts: &mut Texts, diagnostic: &Diagnostic) -> String {
    let mut elements: Vec<Element<'_>> = Vec::new();
    if let Some(place) = &diagnostic.place {
        elements.push(snippet(place, texts.of(&place.source), &diagnostic.label).into());
    }
    elements.extend(diagnostic.detail.iter().map(|detail| Level::NOTE.message(shown(detail)).into()));
    elements.extend(diagnostic.fix.iter().map(|fix| Level::HELP.message(shown(fix)).into()));
    let title = Level::ERROR.primary_title(shown(&diagnostic.summary));
    let group = if elements.is_empty() { Group::with_title(title) } else { title.elements(elements) };
    renderer.render(&[group])
}

/// The sources' texts as they may be shown, made once for each.
#[derive(Default)]
struct Texts(Vec<(Arc<Source>, String)>);

impl Texts {
    fn of(&mut self, source: &Arc<Source>) -> &str {
        let known = self.0.iter().position(|(known, _)| Arc::ptr_eq(known, source));
        let at = known.unwrap_or_else(|| {
            self.0.push((Arc::clone(source), same_length(&secret::mask_plan(&source.text))));
            self.0.len() - 1
        });
        self.0.get(at).map_or("", |(_, text)| text)
    }
}

/// One line of the source, however long the place is: what is wrong begins there.
fn snippet<'a>(place: &Place, text: &str, label: &str) -> Snippet<'a, Annotation<'a>> {
    let start = text.floor_char_boundary(place.span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line = text[line_start..line_end].trim_end_matches('\r');
    let span = within(line, start - line_start, place.span.len());
    Snippet::source(line.to_owned())
        .line_start(text[..line_start].matches('\n').count() + 1)
        .path(shown(&place.source.path).replace('\n', "␊"))
        .annotation(AnnotationKind::Primary.span(span).label(shown(label)))
}

fn within(line: &str, start: usize, len: usize) -> Range<usize> {
    let start = start.min(line.len());
    let end = line.floor_char_boundary(start.saturating_add(len.min(UNDERLINED)));
    start..end.max(start)
}

fn shown(text: &str) -> String {
    same_length(&secret::redact(text)).replace('\t', " ").replace('\r', "␍")
}
