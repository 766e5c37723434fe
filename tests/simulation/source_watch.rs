//! No lockout: while a run changes who may come, whom the plan admits before and after is never shut out, and somebody always may come.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::sandbox::call::Cloud;

use super::meddler::MEDDLER;

type Sources = BTreeSet<String>;

/// Watches one apply at a time, and only while nobody else changes anything.
#[derive(Debug, Default)]
pub struct SourceWatch {
    /// Whom the plans of the apply under way admit, by bastion; empty where none is under way.
    wanted: BTreeMap<String, Sources>,
    /// Who was let in after the last write, by bastion.
    open: BTreeMap<String, Sources>,
    /// Somebody else changed something, or something is still under way: what happens is not this run's doing.
    disturbed: bool,
}

impl SourceWatch {
    /// Everything that was begun has ended.
    pub fn calm(&mut self) {
        self.disturbed = false;
    }

    pub fn disturb(&mut self) {
        self.disturbed = true;
    }

    pub fn is_disturbed(&self) -> bool {
        self.disturbed
    }

    /// An apply begins.
    pub fn begin<'v>(
        &mut self,
        wanted: impl Iterator<Item = (&'v str, &'v Sources)>,
        exposed: &BTreeSet<(String, String)>,
    ) {
        self.wanted = wanted.map(|(bastion, sources)| (bastion.to_owned(), sources.clone())).collect();
        self.open.clear();
        for (bastion, source) in exposed {
            self.open.entry(bastion.clone()).or_default().insert(source.clone());
        }
    }

    pub fn end(&mut self) {
        self.wanted.clear();
    }

    /// Who is let in after a write to a cloud; `Some` says who was shut out. The watched bastions are those of that cloud.
    pub fn after_write(
        &mut self,
        cloud: Cloud,
        bastions: &[(&str, Cloud)],
        exposed: &BTreeSet<(String, String)>,
    ) -> Option<String> {
        let mut shut_out = None;
        for (bastion, _) in bastions.iter().filter(|(_, of)| *of == cloud) {
            let Some(wanted) = self.wanted.get(*bastion) else { continue };
            let now: Sources =
                exposed.iter().filter(|(of, _)| of == bastion).map(|(_, source)| source.clone()).collect();
            let before = self.open.insert((*bastion).to_owned(), now.clone()).unwrap_or_default();
            if self.disturbed {
                continue;
            }
            let anybody = |all: &Sources| all.iter().any(|source| source != MEDDLER);
            if let Some(source) = before.intersection(wanted).find(|source| !now.contains(*source)) {
                shut_out = Some(format!("closes {source} of {bastion}, which its plan lists"));
            } else if anybody(&before) && !anybody(&now) {
                shut_out = Some(format!("closes the last of {bastion}'s sources before another one is open"));
            }
        }
        shut_out
    }
}
