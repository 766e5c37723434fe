//! The steps of the machine: a new one, what can be put right on a running one, and what must be gone before.

use base64ct::{Base64, Encoding};
use serde_json::json;

use super::{
    action::Call,
    auto_shutdown,
    diff::Run,
    id::Kind,
    keys,
    observed::{Resource, State},
    steps::Differ,
    tags::{self, Tags},
    teardown::deletion,
    views::Machine,
};
use crate::{
    changeset::{Detail, Draft, Impact, Op},
    plan::Edge,
    provider::keys::details,
};

impl Run<'_> {
    /// What must be gone before something else takes its name or its address. The machine goes first: Azure gives its name and its
    /// interface to nobody else before.
    pub fn removals(&self, plan: &mut Differ<'_>) {
        let delete = |plan: &mut Differ<'_>, resource: &Resource, what: &str, reason: &str, after: &[&str]| {
            let draft = Draft {
                impact: if resource.kind == Kind::Machine { Impact::Replacement } else { Impact::Interruption },
                after: plan.planned(after),
                ..Draft::new(Op::Delete, resource.words(), reason)
            };
            plan.push(what, draft, Call::Delete { id: resource.id.clone() });
        };
        let current = &self.current;
        if let Some(machine) = current.machine.filter(|_| !current.reasons.is_empty()) {
            delete(plan, machine, "delete-machine", "the new one takes its name, its interface and its address", &[]);
        }
        if let Some(interface) = current.interface.filter(|_| current.new_interface) {
            delete(
                plan,
                interface,
                "delete-interface",
                "an interface can't move to another subnet",
                &["delete-machine"],
            );
        }
        let takes_address = self.want.azure.edge == Edge::PublicAddress;
        if let Some(firewall) = current.firewall.filter(|_| current.new_firewall || takes_address) {
            let reason =
                if takes_address { "the machine gets its address" } else { "it can't be changed while it stands" };
            delete(plan, firewall, "delete-firewall", reason, &[]);
        }
        for firewall in self.in_the_way() {
            delete(
                plan,
                firewall,
                &deletion(firewall),
                "a network has one firewall, and the new one takes its place",
                &[],
            );
        }
        if let Some(policy) = current.policy.filter(|_| current.new_policy) {
            delete(plan, policy, "delete-policy", "its kind can't be changed", &["delete-firewall"]);
        }
    }

    pub fn machine(&self, plan: &mut Differ<'_>) {
        let want = self.want;
        let tags = want.machine_tags(self.deadline.as_ref());
        let id = &want.names.machine;
        let resource = self.name(Kind::Machine);
        if let Some(kept) = self.current.kept() {
            return self.kept_machine(plan, kept, &resource, &tags);
        }
        let Some(image) = &self.image else { return };
        let reasons = &self.current.reasons;
        let mut draft = match self.current.machine {
            None => Draft::new(Op::Create, resource, "the bastion itself"),
            Some(_) => {
                let mut names: Vec<&str> = reasons.iter().map(|d| d.name.as_str()).collect();
                names.dedup();
                let reason = format!("{} can't be changed on a machine that runs", names.join(", "));
                Draft {
                    impact: Impact::Replacement,
                    details: reasons.clone(),
                    ..Draft::new(Op::Replace, resource, reason)
                }
            }
        };
        let machine = [
            Detail::added("size", &want.azure.size),
            Detail::added("image", format!("{} {} {}, the newest", image.publisher, image.offer, image.sku)),
            Detail::added("disk", "standard SSD, deleted with the machine"),
            Detail::added("cloud-init", format!("{} bytes", want.user_data.text.len())),
        ];
        draft.details.extend(machine.into_iter().filter(|detail| !reasons.iter().any(|r| r.name == detail.name)));
        draft.details.extend(details(want.plan));
        draft.after = plan.planned(&["group", "interface", "delete-machine", auto_shutdown::STEP]);
        let body = want.machine_body(&tags, image, self.deadline.map(|d| d.expires));
        plan.push("machine", draft, Call::Put { id: id.clone(), body, fill: Vec::new() });
    }

    /// What can be put right on a machine that stays.
    fn kept_machine(&self, plan: &mut Differ<'_>, kept: &Resource, resource: &str, wanted: &Tags) {
        let view = Machine(kept);
        if kept.state == State::Busy {
            plan.wait("machine", resource, &kept.id, Vec::new());
        }
        let mut ready = plan.planned(&["machine", "interface", auto_shutdown::STEP]);
        if kept.state == State::Failed {
            let draft = Draft {
                details: vec![Detail::changed("provisioning", "failed", "succeeded")],
                after: ready,
                ..Draft::new(Op::Update, resource, "its last operation failed; Azure does it once more")
            };
            plan.push("machine-reapply", draft, Call::Reapply { id: kept.id.clone() });
            ready = plan.planned(&["machine-reapply"]);
        }
        if matches!(view.power(), "deallocated" | "deallocating" | "stopped" | "stopping") {
            let draft = Draft {
                details: vec![Detail::changed("state", view.power(), "running")],
                after: ready.clone(),
                ..Draft::new(Op::Update, resource, "somebody stopped it")
            };
            plan.push("machine-start", draft, Call::Start { id: kept.id.clone() });
        }
        let mut have = kept.tags.clone();
        if let Some(change) = keys::change(self.want.plan, self.deadline.map(|d| d.expires), &kept.tags) {
            let draft = Draft {
                details: change.details,
                after: ready.clone(),
                ..Draft::new(Op::Update, format!("{} of {resource}", change.what), change.reason)
            };
            let user_data = Base64::encode_string(change.user_data.as_bytes());
            let body = json!({"properties": {"userData": user_data}, "tags": change.tags});
            plan.push("machine-keys", draft, Call::Patch { id: kept.id.clone(), body });
            have.extend(change.tags);
        }
        let change = tags::change(wanted, &have);
        // Azure changes a machine once at a time.
        let after = plan.planned(&["machine", "machine-reapply", "machine-start", "machine-keys", auto_shutdown::STEP]);
        plan.tags("machine-tags", resource, &kept.id, &change, &have, after);
    }
}
