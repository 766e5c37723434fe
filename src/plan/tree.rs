//! YAML text → a tree in which every node knows its bytes. Typed readers walk it, so that each can report its own problem
//! and leave the rest of the file to the others; serde's `Deserialize` would stop at the first.

use std::{collections::HashMap, ops::Range};

use serde_yaml::granit_parser::{
    ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, StructureStyle, options,
};

use super::{
    fields::excerpt,
    report::{Read, Report, Reported},
};

/// A plan nests six levels deep; more is a mistake or an attack.
const NESTING: usize = 32;
/// Nodes that aliases may add: a thousand times what a plan needs, and far from a "billion laughs".
const ALIASED_NODES: usize = 10_000;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub span: Range<usize>,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    Sequence {
        items: Vec<Node>,
        flow: bool,
    },
    Mapping {
        entries: Vec<Entry>,
        flow: bool,
    },
    /// Cannot be read, and has been reported.
    Broken(Reported),
}

#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub text: String,
    /// Without quotes, so that `5432` is a number and `true` a boolean.
    pub plain: bool,
    /// Whether the text stands on more than one line of the file; YAML joins them with spaces.
    pub folded: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Node,
}

impl Node {
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) | Value::Broken(_) => 0,
            Value::Sequence { items, .. } => items.iter().map(Node::size).sum(),
            Value::Mapping { entries, .. } => entries.iter().map(|entry| entry.value.size()).sum(),
        }
    }
}

/// The file's only document. Duplicate keys, tags and broken aliases are reported and leave the rest readable; a syntax error
/// ends the reading.
pub(super) fn parse(text: &str, report: &mut Report) -> Read<Node> {
    let mut builder = Builder { text, stack: Vec::new(), anchors: HashMap::new(), aliased: 0, root: None };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, parser_options()) {
        let (event, span) = event.map_err(|error| syntax_error(text, &error, report))?;
        if let Event::DocumentStart(..) = event {
            documents += 1;
            if documents == 2 {
                let problem = report
                    .at(&bytes(text, &span), "more than one document", "a second YAML document begins here")
                    .because("A file holds one plan.")
                    .fix("move it to a file of its own; gangplank takes a directory of plans, too");
                return Err(report.push(problem));
            }
        }
        builder.event(event, &span, report)?;
    }
    builder.root.ok_or_else(|| {
        let problem = report.at(&(0..0), "an empty plan", "nothing is written here");
        report.push(problem.fix("begin with `gangplank init aws` or `gangplank init azure`"))
    })
}

fn parser_options() -> Options {
    options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        disallow_directives: true,
        flow_nesting_limit: NESTING,
        block_nesting_limit: NESTING,
    }
}

struct Builder<'t> {
    text: &'t str,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    root: Option<Node>,
}

/// A collection whose end has not come yet.
struct Frame {
    start: usize,
    anchor: usize,
    flow: bool,
    tag: Option<Reported>,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        seen: HashMap<String, Range<usize>>,
        /// The key whose value comes next; `None` inside where it is no text.
        key: Option<Option<(String, Range<usize>)>>,
    },
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span, report: &mut Report) -> Read<()> {
        let tag_span = span.tag_span().map(|span| bytes(self.text, &span));
        let bytes = bytes(self.text, span);
        if let Event::Scalar(text, ..) = &event {
            report.secrets.scalar(self.text, text, &bytes);
        }
        let mut tagged = |_| tagged(tag_span.as_ref().unwrap_or(&bytes), report);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = match tag {
                    Some(tag) => Value::Broken(tagged(tag)),
                    None => Value::Scalar(self.scalar(&text, style, &bytes)),
                };
                self.complete(Node { span: bytes, value }, anchor, report);
            }
            Event::SequenceStart(style, anchor, tag) => {
                let tag = tag.map(&mut tagged);
                let content = Content::Sequence(Vec::new());
                self.stack.push(Frame {
                    start: bytes.start,
                    anchor,
                    flow: style == StructureStyle::Flow,
                    tag,
                    content,
                });
            }
            Event::MappingStart(style, anchor, tag) => {
                let tag = tag.map(&mut tagged);
                let content = Content::Mapping { entries: Vec::new(), seen: HashMap::new(), key: None };
                self.stack.push(Frame {
                    start: bytes.start,
                    anchor,
                    flow: style == StructureStyle::Flow,
                    tag,
                    content,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(frame) = self.stack.pop() {
                    let anchor = frame.anchor;
                    self.complete(frame.close(bytes.end), anchor, report);
                }
            }
            Event::Alias(anchor) => {
                let node = self.alias(anchor, bytes, report)?;
                self.complete(node, 0, report);
            }
            Event::UnresolvedAlias(name) => {
                let label = format!("no anchor `&{}` stands before this", excerpt(&name));
                let problem = report.at(&bytes, "an unknown alias", label);
                let reported =
                    report.push(problem.fix("write the value out, or put it in quotes if the `*` belongs to it"));
                self.complete(Node { span: bytes, value: Value::Broken(reported) }, 0, report);
            }
            _ => {}
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, bytes: &Range<usize>) -> Scalar {
        let written = self.text.get(bytes.clone()).unwrap_or_default();
        // The span of a block scalar has no header and ends with its line.
        let folded = written.trim_end().contains('\n');
        Scalar { text: text.to_owned(), plain: style == ScalarStyle::Plain, folded }
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>, report: &mut Report) -> Read<Node> {
        let Some(node) = self.anchors.get(&anchor) else {
            let problem = report.at(&span, "an alias inside its own anchor", "this refers to what it is a part of");
            let reported = report.push(problem.fix("write the value out"));
            return Ok(Node { span, value: Value::Broken(reported) });
        };
        self.aliased = self.aliased.saturating_add(node.size());
        if self.aliased > ALIASED_NODES {
            let label = format!("with this alias they stand for more than {ALIASED_NODES} values");
            let problem = report
                .at(&span, "aliases that multiply", label)
                .because("Nested aliases can make a small file fill the memory.")
                .fix("write the values out");
            return Err(report.push(problem));
        }
        Ok(Node { span, value: node.value.clone() })
    }

    /// Puts a finished node where it belongs.
    fn complete(&mut self, node: Node, anchor: usize, report: &mut Report) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut frame.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping { entries, seen, key } => match key.take() {
                None => *key = Some(key_text(node, report)),
                Some(None) => {}
                Some(Some((text, span))) => {
                    report.secrets.field(&text, &node);
                    if let Some(first) = seen.get(&text) {
                        let label = format!("`{}` already stands on line {}", excerpt(&text), report.line(first));
                        let problem = report.at(&span, "a field twice", label);
                        report.push(problem.fix("keep one of them"));
                    } else {
                        seen.insert(text.clone(), span.clone());
                        entries.push(Entry { key: text, key_span: span, value: node });
                    }
                }
            },
        }
    }
}

impl Frame {
    fn close(self, end: usize) -> Node {
        let (value, last) = match self.content {
            Content::Sequence(items) => {
                let last = items.last().map(|item| item.span.end);
                (Value::Sequence { items, flow: self.flow }, last)
            }
            Content::Mapping { entries, .. } => {
                let last = entries.last().map(|entry| entry.value.span.end);
                (Value::Mapping { entries, flow: self.flow }, last)
            }
        };
        // The end of a block is only seen at the next token, behind comments and blank lines.
        let end = if self.flow { end } else { last.unwrap_or(self.start) };
        Node { span: self.start..end.max(self.start), value: self.tag.map_or(value, Value::Broken) }
    }
}

/// `None`, reported, for a key that is no text.
fn key_text(node: Node, report: &mut Report) -> Option<(String, Range<usize>)> {
    match node.value {
        Value::Scalar(scalar) => Some((scalar.text, node.span)),
        Value::Broken(_) => None,
        Value::Sequence { .. } | Value::Mapping { .. } => {
            let problem = report.at(&node.span, "a key that is no text", "a list or a map cannot name a field");
            report.push(problem.fix("begin with the field's name and a colon"));
            None
        }
    }
}

fn tagged(span: &Range<usize>, report: &mut Report) -> Reported {
    let problem = report.at(span, "a YAML tag", "tags are not part of the language");
    report.push(problem.fix("remove the tag; quotes make a text of a number"))
}

fn syntax_error(text: &str, error: &ScanError, report: &mut Report) -> Reported {
    let at = error.marker().byte_offset().unwrap_or(0);
    let mut at = text.floor_char_boundary(at);
    let (summary, label, fix) = match error.kind() {
        ErrorKind::RecursionLimitExceeded => (
            "nested too deeply",
            format!("this is more than {NESTING} levels deep"),
            "a plan needs six levels; check for stray brackets and dashes",
        ),
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar => {
            // The parser stops at what stands before the tab.
            at += text[at..].find('\t').unwrap_or(0);
            ("a tab in the indentation", "YAML is indented with spaces".to_owned(), "replace the tab with spaces")
        }
        ErrorKind::DirectiveDisallowed => {
            ("a YAML directive", "a plan needs no directive".to_owned(), "remove the line")
        }
        _ => (
            "not valid YAML",
            error.info(),
            "check the indentation, the quotes and the brackets of this line and of those above it",
        ),
    };
    let problem = report.at(&(at..at), summary, label);
    report.push(problem.fix(fix))
}

fn bytes(text: &str, span: &Span) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.byte_offset().unwrap_or(0));
    let end = text.floor_char_boundary(span.end.byte_offset().unwrap_or(start)).max(start);
    let written = text.get(start..end).unwrap_or_default();
    start..start + written.trim_end().len()
}
