//! What to do next: one list, in the order in which it is to be done.

use serde::Serialize;

use super::{Ends, HandOff, Tunnel};
use crate::{
    plan::{
        Plan,
        catalogue::{KeyMaker, KeyShown},
    },
    tags::deadline::time_left,
    text::shell_word,
    verify::Verdict,
};

/// A deadline that is nearer than this, in seconds, is worth a step.
const SOON: i64 = 7 * 86400;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Next {
    pub kind: Kind,
    /// The tunnel's user, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// Sentences.
    pub text: String,
    /// Where to do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The deadline has passed.
    Destroy,
    /// There is no address yet.
    Apply,
    /// A check failed.
    Repair,
    /// Something could not be seen, or nothing was looked at.
    Verify,
    /// The vendor's key is missing.
    AddKey,
    /// Everything is there for the vendor's own test.
    Test,
    /// The deadline is near.
    Renew,
}

impl Next {
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, tunnel: None, text: text.into(), url: None, command: None }
    }

    fn run(self, verb: &str, plan: &str) -> Self {
        Self { command: Some(format!("gangplank {verb} {}", shell_word(plan))), ..self }
    }

    fn at(self, url: Option<&String>) -> Self {
        Self { url: url.cloned(), ..self }
    }

    fn of(self, tunnel: &Tunnel) -> Self {
        Self { tunnel: Some(tunnel.user.clone()), ..self }
    }
}

pub(super) fn steps(handoff: &HandOff, plan: &Plan) -> Vec<Next> {
    let file = handoff.plan.as_str();
    let mut steps = Vec::new();
    if let Ends::At { time, seconds_left } = handoff.ends
        && seconds_left < 0
    {
        let text = format!(
            "Its deadline, {time}, has passed ({}). Destroy it, or give the plan a later one and apply that.",
            time_left(seconds_left)
        );
        steps.push(Next::new(Kind::Destroy, text).run("destroy", file));
    }
    if handoff.address.is_none() {
        let text = "Apply the plan: there is no address yet that the vendor's form could be filled in with.";
        steps.push(Next::new(Kind::Apply, text).run("apply", file));
        return steps;
    }
    steps.extend(verification(handoff));
    for (i, tunnel) in handoff.tunnels.iter().enumerate() {
        steps.push(if tunnel.keys.is_empty() { add_key(i, tunnel, handoff, plan) } else { test(tunnel) });
    }
    if let Ends::At { time, seconds_left } = handoff.ends
        && (0..SOON).contains(&seconds_left)
    {
        let text = format!(
            "It ends {}, at {time}. If it is needed longer, `gangplank extend` moves that; or give the plan a later deadline and apply it.",
            time_left(seconds_left)
        );
        steps.push(Next::new(Kind::Renew, text).run("apply", file));
    }
    steps
}

fn verification(handoff: &HandOff) -> Option<Next> {
    let verify = |text: String| Some(Next::new(Kind::Verify, text).run("verify", &handoff.plan));
    let Some(verification) = &handoff.verification else {
        return verify("Verify it: nothing was looked at for this hand-off.".to_owned());
    };
    let mut failures = verification.checks.iter().filter_map(|check| match &check.verdict {
        Verdict::Fail { cause, fix } => Some((check.name(), cause, fix)),
        Verdict::Pass | Verdict::Unknown { .. } => None,
    });
    if let Some((name, cause, fix)) = failures.next() {
        let more = match failures.count() {
            0 => String::new(),
            1 => " One more check failed; it is among the checks.".to_owned(),
            n => format!(" {n} more checks failed; they are among the checks."),
        };
        let text = format!("First repair what is red. {name}: {} To do: {}{more}", sentence(cause), sentence(fix));
        return Some(Next::new(Kind::Repair, text).run("verify", &handoff.plan));
    }
    match (verification.checks.len(), verification.unknown()) {
        (0, _) => verify("Verify it: nothing was looked at for this hand-off.".to_owned()),
        (_, 0) => None,
        (_, 1) => verify("Verify it again: one check has no answer yet, and says what would give one.".to_owned()),
        (_, n) => verify(format!("Verify it again: {n} checks have no answer yet, and say what would give one.")),
    }
}

/// What is missing is the vendor's key, and who makes it when decides what comes first.
fn add_key(i: usize, tunnel: &Tunnel, handoff: &HandOff, plan: &Plan) -> Next {
    let (line, _) = plan.origin.place(&format!("tunnels[{i}].keys")).line_column();
    let (user, file) = (&tunnel.user, &handoff.plan);
    let known = plan.tunnels.get(i).and_then(|tunnel| tunnel.vendor.as_ref()?.known);
    let key = known.and_then(|known| known.key);
    let what = if key.is_some_and(|key| key.number > 1) { "the public keys" } else { "the public key" };
    let paste = format!("under `keys` of tunnel {user} in {file}, line {line}");
    let apply = if plan.keys_are_live() { "apply again: the machine takes it while it runs." } else { "apply again." };
    let name = known.map_or("the vendor", |known| known.name.as_str());
    let text = match key.map(|key| (key.made_by, key.shown)) {
        Some((KeyMaker::Customer, _)) => {
            let id = known.map_or("", |known| known.id.as_str());
            format!(
                "{name} never shows a key: it logs in with the private half of a pair of yours. Make one with `gangplank vendors {id} --make-key \
                 {user}-key`. Paste the line of {user}-key.pub {paste}, and {apply} Then fill in the vendor's form; {user}-key is its private \
                 key, and belongs in no plan and no repository."
            )
        }
        Some((KeyMaker::Vendor, KeyShown::BeforeSaving)) => format!(
            "{name} shows {what} before its form is saved. Paste what it shows {paste}, and {apply} Then fill in the form with the fields of \
             tunnel {user}."
        ),
        Some((KeyMaker::NotKnown, _)) => format!(
            "The catalogue does not know who makes the key: {name}'s documentation does. Paste its public half {paste}, and {apply} Then fill in \
             the vendor's form with the fields of tunnel {user}."
        ),
        Some((KeyMaker::Vendor, KeyShown::NotKnown)) => format!(
            "Fill in the vendor's form with the fields of tunnel {user}. When {name} shows {what}, before or after the form is saved, paste it \
             {paste}, and {apply}"
        ),
        _ => format!(
            "Fill in the vendor's form with the fields of tunnel {user}. Paste {what} that it shows then {paste}, and {apply}"
        ),
    };
    Next::new(Kind::AddKey, text).of(tunnel).at(tunnel.form.as_ref()).run("apply", file)
}

fn test(tunnel: &Tunnel) -> Next {
    let vendor = tunnel.vendor.as_deref().unwrap_or("the vendor");
    let text = format!(
        "Test the connection at {vendor}: in the data source's own form choose tunnel {}, and enter its target's host and port exactly as \
         written here.",
        tunnel.user
    );
    Next::new(Kind::Test, text).of(tunnel).at(tunnel.form.as_ref())
}

/// With a full stop, whether it came with one or not.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}
