//! The path vendor → edge → bastion → targets as an SVG: side by side for a desk, one below the other for a phone.

use serde::Serialize;

use super::{Badge, shown};
use crate::handoff::{HandOff, Light};

/// More vendors or targets than this are only counted: the page lists them anyway.
const MOST: usize = 10;

/// Coordinates are in the picture's own units; the page scales it.
#[derive(Serialize)]
pub(super) struct Picture {
    id: String,
    width: i32,
    height: i32,
    /// The picture in words.
    description: String,
    lines: Vec<Line>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Line {
    path: String,
    /// The arrow's head; every arrow ends going to the right.
    head: Option<String>,
    class: &'static str,
}

impl Line {
    /// `path` ends at `tip`, less the head.
    fn arrow(path: String, tip: (i32, i32), light: Option<Light>) -> Self {
        let head = format!("M{} {} l{HEAD} 5 l-{HEAD} 5 z", tip.0 - HEAD, tip.1 - 5);
        Self { path, head: Some(head), class: class(light) }
    }
}

#[derive(Serialize)]
struct Node {
    /// The upper left corner.
    x: i32,
    y: i32,
    width: i32,
    height: i32,
    /// Baselines and left edge of the three lines of text; right edge of the verdict.
    text: i32,
    kind_y: i32,
    name_y: i32,
    detail_y: i32,
    right: i32,
    kind: String,
    name: String,
    detail: String,
    /// Everything in full, where a line had to be cut.
    full: String,
    class: &'static str,
    badge: Option<Badge>,
}

const HEIGHT: i32 = 76;
const GAP: i32 = 14;
const HEAD: i32 = 8;

/// What stands in a node, before it has a place.
struct Part {
    kind: String,
    name: String,
    detail: String,
    light: Option<Light>,
}

impl Part {
    fn at(self, x: i32, y: i32, width: i32) -> Node {
        let badge: Option<Badge> = self.light.map(Badge::from);
        // Widths of letters: 16 px bold takes about 8.6, 13 px monospace 7.9 units.
        let fits = |units: i32, each_tenths: i32| usize::try_from((units - 32) * 10 / each_tenths).unwrap_or(0);
        let full = [self.kind.as_str(), self.name.as_str(), self.detail.as_str(), badge.map_or("", |badge| badge.word)];
        Node {
            x,
            y,
            width,
            height: HEIGHT,
            text: x + 16,
            kind_y: y + 22,
            name_y: y + 43,
            detail_y: y + 62,
            right: x + width - 14,
            full: full.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", "),
            kind: cut(&self.kind, fits(width - 76, 70)),
            name: cut(&self.name, fits(width, 86)),
            detail: cut(&self.detail, fits(width, 76)),
            class: badge.map_or("plain", |badge| badge.class),
            badge,
        }
    }
}

/// The first of `text`, with an ellipsis where something is missing.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

struct Parts {
    vendors: Vec<Part>,
    edge: Part,
    bastion: Part,
    targets: Vec<Part>,
    description: String,
}

fn parts(of: &HandOff) -> Parts {
    let vendors = of.tunnels.iter().map(|tunnel| Part {
        kind: "vendor".to_owned(),
        name: shown(tunnel.vendor.as_deref().unwrap_or("allow_from")),
        detail: if tunnel.keys.is_empty() {
            format!("as {}, no key yet", shown(&tunnel.user))
        } else {
            format!("as {}", shown(&tunnel.user))
        },
        light: None,
    });
    let targets = of.tunnels.iter().flat_map(|tunnel| {
        tunnel.targets.iter().map(|target| Part {
            kind: format!("target of {}", shown(&tunnel.user)),
            name: shown(&target.name),
            detail: format!("{}:{}", shown(&target.host), target.port),
            light: Some(target.light),
        })
    });
    let (vendors, targets): (Vec<_>, Vec<_>) = (vendors.collect(), targets.collect());
    let names = |parts: &[Part]| {
        let word = |part: &Part| part.light.map_or_else(String::new, |light| format!(" {}", light.word()));
        parts.iter().map(|part| format!("{}{}", part.name, word(part))).collect::<Vec<_>>().join(", ")
    };
    let description = format!(
        "From {}, through the {} ({}), to the bastion ({}), to the targets: {}.",
        names(&vendors),
        of.path.edge_is,
        of.path.edge.word(),
        of.path.bastion.word(),
        names(&targets)
    );
    let address = match &of.address {
        Some(address) => format!("{}:{}", shown(address), of.port),
        None => "no address yet".to_owned(),
    };
    Parts {
        edge: Part {
            kind: "edge".to_owned(),
            name: of.path.edge_is.to_owned(),
            detail: address,
            light: Some(of.path.edge),
        },
        bastion: Part {
            kind: "bastion".to_owned(),
            name: shown(&of.bastion),
            detail: shown(&of.location.without_account()),
            light: Some(of.path.bastion),
        },
        vendors: first(vendors, "vendors"),
        targets: first(targets, "targets"),
        description,
    }
}

/// At most [`MOST`], the last of which stands for the rest, with the worst of their verdicts.
fn first(mut parts: Vec<Part>, noun: &str) -> Vec<Part> {
    if parts.len() > MOST {
        let rest = parts.split_off(MOST - 1);
        parts.push(Part {
            kind: String::new(),
            name: format!("{} more {noun}", rest.len()),
            detail: "listed below".to_owned(),
            light: rest.iter().filter_map(|part| part.light).max(),
        });
    }
    parts
}

fn class(light: Option<Light>) -> &'static str {
    light.map_or("plain", |light| Badge::from(light).class)
}

/// Where `count` nodes begin so that they stand in the middle of `height`.
fn column(count: usize, height: i32) -> impl Iterator<Item = i32> {
    let count = i32::try_from(count).unwrap_or(0);
    let top = (height - (count * (HEIGHT + GAP) - GAP)) / 2;
    (0..count).map(move |i| top + i * (HEIGHT + GAP))
}

impl Picture {
    pub(super) fn wide(id: usize, of: &HandOff) -> Self {
        const VENDOR: (i32, i32) = (2, 236);
        const EDGE: (i32, i32) = (288, 196);
        const BASTION: (i32, i32) = (534, 196);
        const TARGET: (i32, i32) = (780, 258);
        let Parts { vendors, edge, bastion, targets, description } = parts(of);
        let rows = i32::try_from(vendors.len().max(targets.len()).max(1)).unwrap_or(1);
        let height = rows * (HEIGHT + GAP) - GAP + 4;
        let middle = height / 2;
        let curve = |from: (i32, i32), to: (i32, i32)| {
            let (end, bend) = (to.0 - HEAD, i32::midpoint(from.0, to.0));
            format!("M{} {} C{bend} {} {bend} {} {end} {}", from.0, from.1, from.1, to.1, to.1)
        };
        let arrow = |from, to, light| Line::arrow(curve(from, to), to, light);
        let mut lines = Vec::new();
        let mut nodes = Vec::new();
        for (y, vendor) in column(vendors.len(), height).zip(vendors) {
            let from = (VENDOR.0 + VENDOR.1, y + HEIGHT / 2);
            lines.push(arrow(from, (EDGE.0, middle), edge.light));
            nodes.push(vendor.at(VENDOR.0, y, VENDOR.1));
        }
        lines.push(arrow((EDGE.0 + EDGE.1, middle), (BASTION.0, middle), bastion.light));
        let from = (BASTION.0 + BASTION.1, middle);
        nodes.push(edge.at(EDGE.0, middle - HEIGHT / 2, EDGE.1));
        nodes.push(bastion.at(BASTION.0, middle - HEIGHT / 2, BASTION.1));
        for (y, target) in column(targets.len(), height).zip(targets) {
            lines.push(arrow(from, (TARGET.0, y + HEIGHT / 2), target.light));
            nodes.push(target.at(TARGET.0, y, TARGET.1));
        }
        Self { id: format!("wide-{id}"), width: TARGET.0 + TARGET.1 + 2, height, description, lines, nodes }
    }

    /// Everything hangs on one trunk, in the order of the path.
    pub(super) fn narrow(id: usize, of: &HandOff) -> Self {
        const WIDTH: i32 = 340;
        const TRUNK: i32 = 8;
        const LEFT: i32 = 32;
        let Parts { vendors, edge, bastion, targets, description } = parts(of);
        let all: Vec<Part> = vendors.into_iter().chain([edge, bastion]).chain(targets).collect();
        let count = i32::try_from(all.len()).unwrap_or(0);
        let height = count * (HEIGHT + GAP) - GAP + 4;
        let end = height - 2 - HEIGHT / 2;
        let mut lines = vec![Line { path: format!("M{TRUNK} {} V{end}", 2 + HEIGHT / 2), head: None, class: "plain" }];
        let mut nodes = Vec::new();
        for (y, part) in column(all.len(), height).zip(all) {
            let tip = (LEFT, y + HEIGHT / 2);
            lines.push(match part.light {
                Some(_) => Line::arrow(format!("M{TRUNK} {} H{}", tip.1, tip.0 - HEAD), tip, part.light),
                // The way begins at a vendor: no arrow leads there.
                None => Line { path: format!("M{TRUNK} {} H{}", tip.1, tip.0), head: None, class: "plain" },
            });
            nodes.push(part.at(LEFT, y, WIDTH - LEFT - 2));
        }
        Self { id: format!("narrow-{id}"), width: WIDTH, height, description, lines, nodes }
    }
}
