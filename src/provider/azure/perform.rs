//! Carries one step out. Each ends when Azure's own operation has, and each begins with a look at what it changes: what an earlier
//! run, or somebody, has set in motion is waited for, and what is not the bastion's by now is left alone.

mod collections;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::collections::{Owned, Removals};
use super::{
    action::{Action, Call, Fill, filled},
    arm::Arm,
    id::{Id, Kind},
    observe::{contents, made, settled, version},
    observed::{Resource, State, id_at, list, text},
    ownership::GroupClaim,
    peering,
    request::{Condition, Method, Request, short},
    retry::Repeat,
    rules,
    tags::{self, Tags},
    typed,
    views::{Address, Interface},
};
use crate::{
    cloud_error::{CloudError, ErrorKind, Residue, residue::EffectDone},
    provider::Progress,
};

/// Somebody else may write the same firewall at the same time, but not so often.
const TURNS: u32 = 10;
/// Looks at a resource group: its list follows what happens in it a little later.
const LOOKS: u32 = 6;
const TAGS: &str = "2021-04-01";
const TAGS_OF: &str = "providers/Microsoft.Resources/tags/default";

/// Carries out the steps of one run.
#[derive(Debug)]
pub struct Performer<'a> {
    arm: &'a Arm,
    /// Firewalls and policies that several bastions have rules in: Azure takes one change of each at a time, so a run's own changes
    /// come one after another instead of being refused.
    shared: RefCell<BTreeMap<Id, Rc<Mutex<()>>>>,
    removals: Removals,
}

impl<'a> Performer<'a> {
    pub fn new(arm: &'a Arm) -> Self {
        Self { arm, shared: RefCell::default(), removals: Removals::default() }
    }

    /// Where the rules stand that an action changes.
    fn turn(&self, call: &Call) -> Option<Rc<Mutex<()>>> {
        let shared = match call {
            Call::NatCollection { firewall, .. } => firewall.clone(),
            Call::Put { id, .. } if id.kind() == Some(Kind::Policy) => id.clone(),
            // A peering sets both of its networks to work, and others are refused meanwhile (terraform-provider-azurerm#2605).
            Call::Put { id, .. } | Call::Delete { id } if id.kind() == Some(Kind::Peering) => Id::new("peerings"),
            call => shared_policy(call)?,
        };
        Some(Rc::clone(self.shared.borrow_mut().entry(shared).or_default()))
    }

    /// Does what the action says, and nothing else. Returns the address that Azure chose, where it chose one.
    ///
    /// # Errors
    /// Azure's refusal or silence, or that something is in the way by now which is not the bastion's.
    pub async fn perform(&self, action: &Action, progress: &Progress<'_>) -> Result<Option<String>, CloudError> {
        let bastion = action.bastion.as_str();
        if let Call::NatCollection { firewall, name, collection: None, .. } = &action.call {
            self.removals.wanted(firewall, Owned { name: name.clone(), bastion: bastion.to_owned() });
        }
        let shared = self.turn(&action.call);
        let _turn = match &shared {
            Some(shared) => Some(match shared.try_lock() {
                Ok(turn) => turn,
                Err(_) => {
                    let others = "another write of this run";
                    progress.waiting(others);
                    let turn = progress.unless_stopped(shared.lock()).await;
                    turn.map_err(|_| CloudError::interrupted("write", others, Residue::Nothing))?
                }
            }),
            None => None,
        };
        let policy = shared_policy(&action.call);
        if let Some(policy) = &policy {
            self.settle_policy(policy, progress).await?;
        }
        let done = self.call(&action.call, bastion, progress).await?;
        if let Some(policy) = &policy {
            self.settle_policy(policy, progress)
                .await
                .map_err(|error| CloudError { residue: Residue::Unfinished, ..error })?;
        }
        Ok(done)
    }

    async fn call(&self, call: &Call, bastion: &str, progress: &Progress<'_>) -> Result<Option<String>, CloudError> {
        match call {
            Call::Put { id, body, fill } => {
                let before = settled(self.arm, id, progress).await?;
                if let Some(found) = before.filter(|found| is_foreign(id, Some(body), found, bastion)) {
                    return Err(in_the_way(&Request::new(Method::Put, id.as_str(), version(id)), &found, bastion));
                }
                let body = self.filled(id, body, fill, progress).await?;
                let request = Request::put(id.as_str(), version(id), body);
                let unknown = id.kind().zip(request.body.as_ref()).map(|(kind, body)| typed::unknown(kind, body));
                understood(&request, unknown.unwrap_or_default())?;
                let after = self.arm.write(&request, Repeat::SETTLING, progress).await?;
                Ok(after.as_ref().and_then(chosen))
            }
            Call::Patch { id, body } => self.patch(id, body, bastion, progress).await,
            Call::Tag { id, set, remove } => {
                let there = settled(self.arm, id, progress).await?;
                let request = Request::new(Method::Patch, format!("{id}/{TAGS_OF}"), TAGS);
                if let Some(found) = there.as_ref().filter(|found| is_foreign(id, None, found, bastion)) {
                    return Err(in_the_way(&request, found, bastion));
                }
                match there.filter(|_| id.kind() == Some(Kind::Policy)) {
                    Some(policy) => {
                        let body = with_tags(policy, set, remove);
                        self.write(&Request::put(id.as_str(), version(id), body), Repeat::SAFE, progress).await
                    }
                    None => self.tag(id, set, remove, progress).await.map(|()| None),
                }
            }
            Call::Start { id } => {
                self.post(id, "start", bastion, progress).await?;
                let started = EffectDone::Started { resource: short(id.as_str()).to_owned() };
                self.wait(id, progress).await.map_err(|error| error.after(started))
            }
            Call::Reapply { id } => {
                self.post(id, "reapply", bastion, progress).await?;
                let stays = "run the command again; if it stays so, delete the machine (`az vm delete`), and `apply` makes a new one";
                let told = |error: CloudError| CloudError { remedy: Some(stays.to_owned()), ..error };
                self.wait(id, progress).await.map_err(told)
            }
            Call::Wait { id } => self.wait(id, progress).await,
            Call::Delete { id } => self.delete(id, bastion, progress).await,
            Call::DeleteGroup { id, with } => self.delete_group(id, with, bastion, progress).await,
            Call::NatCollection { firewall, name, collection: Some(collection), fill } => {
                let collection = self.filled(firewall, collection, fill, progress).await?;
                self.set_collection(firewall, name, &collection, bastion, progress).await
            }
            Call::NatCollection { firewall, name, collection: None, .. } => {
                let owned = Owned { name: name.clone(), bastion: bastion.to_owned() };
                self.remove_collection(firewall, owned, progress).await.map(|()| None)
            }
        }
    }

    /// Until neither a policy nor the firewalls that have it are at work: a write to what is in it is refused before, and is not in force
    /// before they have taken it in.
    async fn settle_policy(&self, policy: &Id, progress: &Progress<'_>) -> Result<(), CloudError> {
        let found = settled(self.arm, policy, progress).await?.unwrap_or_default();
        for firewall in list(&found, "/properties/firewalls").iter().filter_map(|one| id_at(one, "/id")) {
            match settled(self.arm, &firewall, progress).await {
                // One of another subscription's may not be ours to see.
                Err(error) if error.kind == ErrorKind::Permission => {}
                other => _ = other?,
            }
        }
        Ok(())
    }

    /// Tells a machine something.
    async fn post(&self, id: &Id, verb: &str, bastion: &str, progress: &Progress<'_>) -> Result<(), CloudError> {
        let there = settled(self.arm, id, progress).await?;
        let request = Request::new(Method::Post, format!("{id}/{verb}"), version(id));
        if let Some(found) = there.filter(|found| is_foreign(id, None, found, bastion)) {
            return Err(in_the_way(&request, &found, bastion));
        }
        self.write(&request, Repeat::SAFE, progress).await.map(drop)
    }

    async fn write(
        &self,
        request: &Request,
        repeat: Repeat,
        progress: &Progress<'_>,
    ) -> Result<Option<String>, CloudError> {
        self.arm.write(request, repeat, progress).await.map(|_| None)
    }

    /// Sets what the body names. A PATCH sets all tags ("Virtual Machines - Update"), so those of others go along; where the
    /// resource has an etag, it is taken only while they are still the same.
    async fn patch(
        &self,
        id: &Id,
        body: &Value,
        bastion: &str,
        progress: &Progress<'_>,
    ) -> Result<Option<String>, CloudError> {
        let mut turns = Turns::new(self.arm.pace());
        loop {
            let found = settled(self.arm, id, progress).await?.unwrap_or_default();
            let mut request = Request::patch(id.as_str(), version(id), body.clone());
            if !found.is_null() && is_foreign(id, None, &found, bastion) {
                return Err(in_the_way(&request, &found, bastion));
            }
            let tags = request.body.as_mut().and_then(|body| body.get_mut("tags")).and_then(Value::as_object_mut);
            if let (Some(tags), Some(there)) = (tags, found.get("tags").and_then(Value::as_object)) {
                for (key, value) in there {
                    if !tags.keys().any(|own| own.eq_ignore_ascii_case(key)) {
                        tags.insert(key.clone(), value.clone());
                    }
                }
            }
            let etag = text(&found, "/etag");
            if !etag.is_empty() {
                request = request.only_if(Condition::Unchanged(etag.to_owned()));
            }
            match self.write(&request, Repeat::SAFE, progress).await {
                Err(error) => turns.again(error, progress).await?,
                done => return done,
            }
        }
    }

    /// The body with what Azure has chosen for other resources.
    async fn filled(&self, id: &Id, body: &Value, fill: &[Fill], progress: &Progress<'_>) -> Result<Value, CloudError> {
        let mut from = Vec::new();
        for one in fill {
            if !from.iter().any(|(id, _)| *id == one.from) {
                from.push((one.from.clone(), made(self.arm, &one.from, progress).await?));
            }
        }
        let read = |id: &Id| from.iter().find(|(known, _)| known == id).map(|(_, raw)| raw.clone());
        filled(body.clone(), fill, read).map_err(|missing| CloudError {
            operation: Request::new(Method::Put, id.as_str(), version(id)).operation(),
            kind: ErrorKind::Fault,
            code: None,
            request_id: None,
            message: format!(
                "{} has no {} yet",
                short(missing.from.as_str()),
                missing.property.trim_start_matches('/')
            ),
            residue: Residue::Nothing,
            remedy: Some("see what the portal says of it, then run the command again".to_owned()),
        })
    }

    /// Until Azure is done with it, well.
    async fn wait(&self, id: &Id, progress: &Progress<'_>) -> Result<Option<String>, CloudError> {
        let found = settled(self.arm, id, progress).await?;
        let state = found.as_ref().and_then(Resource::read).map(|resource| resource.state);
        let words = match state {
            Some(State::Ready | State::Busy) => return Ok(None),
            None | Some(State::Deleting) => "it is gone: what was under way was its removal",
            Some(State::Failed) => "Azure could not finish what was under way",
        };
        Err(CloudError {
            operation: Request::get(id.as_str(), version(id)).operation(),
            kind: ErrorKind::Fault,
            code: None,
            request_id: None,
            message: words.to_owned(),
            residue: Residue::Unfinished,
            remedy: Some("run the command again: it looks, and shows what it takes now".to_owned()),
        })
    }

    /// Sets tags and removes others; what somebody else set stays.
    pub(super) async fn tag(
        &self,
        id: &Id,
        set: &Tags,
        remove: &[String],
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let path = format!("{id}/{TAGS_OF}");
        let patch = |operation: &str, tags: &Tags| Request {
            body: Some(json!({"operation": operation, "properties": {"tags": tags}})),
            ..Request::new(Method::Patch, path.clone(), TAGS)
        };
        if !set.is_empty() {
            self.write(&patch("Merge", set), Repeat::SAFE, progress).await?;
        }
        if !remove.is_empty() {
            let told = |error: CloudError| match set.keys().cloned().collect::<Vec<_>>() {
                set if set.is_empty() => error,
                set => error.after(EffectDone::Tags { set, removed: Vec::new() }),
            };
            // A tag is removed by its name and its value.
            let found = self.arm.get(&Request::get(path.clone(), TAGS), progress).await.map_err(told)?;
            let found = found.unwrap_or_default();
            let mut going = Tags::new();
            for (key, value) in found.pointer("/properties/tags").and_then(Value::as_object).into_iter().flatten() {
                let goes = remove.iter().any(|one| one.eq_ignore_ascii_case(key));
                if let (true, Some(value)) = (goes, value.as_str()) {
                    going.insert(key.clone(), value.to_owned());
                }
            }
            if !going.is_empty() {
                self.write(&patch("Delete", &going), Repeat::SAFE, progress).await.map_err(told)?;
            }
        }
        Ok(())
    }

    async fn delete(&self, id: &Id, bastion: &str, progress: &Progress<'_>) -> Result<Option<String>, CloudError> {
        let Some(found) = settled(self.arm, id, progress).await? else { return Ok(None) };
        let request = Request::new(Method::Delete, id.as_str(), version(id));
        if is_foreign(id, None, &found, bastion) {
            return Err(in_the_way(&request, &found, bastion));
        }
        self.write(&request, Repeat::RELEASING, progress).await
    }

    async fn delete_group(
        &self,
        id: &Id,
        with: &[Id],
        bastion: &str,
        progress: &Progress<'_>,
    ) -> Result<Option<String>, CloudError> {
        let Some(found) = settled(self.arm, id, progress).await? else { return Ok(None) };
        let request = Request::new(Method::Delete, id.as_str(), version(id));
        if is_foreign(id, None, &found, bastion) {
            return Err(in_the_way(&request, &found, bastion));
        }
        let mut inside = self.others_inside(id, with, progress).await?;
        let mut pause = self.arm.pace();
        for _ in 1..LOOKS {
            if inside.is_empty() {
                break;
            }
            progress.waiting(format!("{} to be empty", short(id.as_str())));
            if progress.pause(pause).await.is_err() {
                let what = format_args!("{} to be empty", short(id.as_str()));
                return Err(CloudError::interrupted(&request.operation(), what, Residue::Nothing));
            }
            pause *= 2;
            inside = self.others_inside(id, with, progress).await?;
        }
        if let Some(first) = inside.first() {
            let more = if inside.len() > 1 { format!(" and {} more", inside.len() - 1) } else { String::new() };
            return Err(CloudError {
                operation: request.operation(),
                kind: ErrorKind::Conflict,
                code: None,
                request_id: None,
                message: format!("there is something in it: {}{more}", short(text(first, "/id"))),
                residue: Residue::Nothing,
                remedy: Some("look whose it is; the group goes once it is empty, with the same command".to_owned()),
            });
        }
        for last in with {
            let there = settled(self.arm, last, progress).await?;
            if let Some(found) = there.filter(|found| is_foreign(last, None, found, bastion)) {
                return Err(in_the_way(&request, &found, bastion));
            }
        }
        self.write(&request, Repeat::RELEASING, progress).await
    }

    /// What stands in a resource group beside `with`. Its list goes on showing for minutes what is gone (azure-rest-api-specs#21221), so
    /// each is asked for; what is on its way out is waited for.
    async fn others_inside(&self, id: &Id, with: &[Id], progress: &Progress<'_>) -> Result<Vec<Value>, CloudError> {
        let mut there = Vec::new();
        for raw in contents(self.arm, id, progress).await? {
            let one = Id::new(text(&raw, "/id"));
            let gone = one.kind().is_some() && settled(self.arm, &one, progress).await?.is_none();
            if !gone && !with.contains(&one) {
                there.push(raw);
            }
        }
        Ok(there)
    }
}

/// The policy that a call sets to work.
fn shared_policy(call: &Call) -> Option<Id> {
    match call {
        Call::Put { id, .. } | Call::Delete { id } if id.kind() == Some(Kind::RuleGroup) => Some(id.parent()),
        Call::Tag { id, .. } if id.kind() == Some(Kind::Policy) => Some(id.clone()),
        _ => None,
    }
}

/// A policy as it is written, from how it is read, with other tags: a policy takes no others ("Use tags to organize your Azure
/// resources": no PATCH).
fn with_tags(mut policy: Value, set: &Tags, remove: &[String]) -> Value {
    const TOLD: [&str; 6] =
        ["provisioningState", "resourceGuid", "size", "ruleCollectionGroups", "firewalls", "childPolicies"];
    if let Some(properties) = policy.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !TOLD.contains(&name.as_str()));
    }
    let mut all = policy.get("tags").and_then(Value::as_object).cloned().unwrap_or_default();
    tags::merge(&mut all, set, remove);
    if let Some(policy) = policy.as_object_mut() {
        policy.retain(|name, _| !["id", "name", "type", "etag", "systemData"].contains(&name.as_str()));
        policy.insert("tags".to_owned(), Value::Object(all));
    }
    policy
}

/// Writes of what others write too.
struct Turns {
    number: u32,
    pause: Duration,
}

impl Turns {
    fn new(pause: Duration) -> Self {
        Self { number: 1, pause }
    }

    /// Waits a little where somebody else was faster; any other error stands, and so does this one in the end.
    async fn again(&mut self, error: CloudError, progress: &Progress<'_>) -> Result<(), CloudError> {
        if self.number >= TURNS || !is_changed_meanwhile(&error) {
            return Err(error);
        }
        let code = error.code.as_deref().unwrap_or_default();
        progress.retrying(&error.operation, error.kind, code, self.number, self.pause);
        if progress.pause(self.pause).await.is_err() {
            return Err(error.not_repeated());
        }
        self.number += 1;
        self.pause = (self.pause * 2).min(Duration::from_secs(30));
        Ok(())
    }
}

/// 412: it is not what it was when it was read.
fn is_changed_meanwhile(error: &CloudError) -> bool {
    let code = error.code.as_deref().unwrap_or_default();
    error.kind == ErrorKind::Conflict && code.starts_with("PreconditionFailed")
}

/// Whether what is there is not the bastion's: by both marks ([`super::ownership`]), or where it carries no tags, by what its rules
/// say. `body` is what shall be written; one without our tag is for something that carries none. A resource group's second mark was
/// looked at when the step was planned: what stands in it is going, and the group itself is deleted only when nothing else does.
fn is_foreign(id: &Id, body: Option<&Value>, found: &Value, bastion: &str) -> bool {
    match id.kind() {
        None | Some(Kind::Subnet) => false,
        Some(Kind::Peering) => {
            Resource::read(found).and_then(|peering| peering::owner(&peering)).is_none_or(|(owner, _)| owner != bastion)
        }
        // In a policy of the bastion's own somebody may have emptied it.
        Some(Kind::RuleGroup) => {
            let mut rules = rules::nat_rules(found).peekable();
            rules.peek().is_some() && !rules.any(|rule| tags::is_marked(text(rule, "/description"), bastion))
        }
        Some(_) => {
            let tagged = body.is_none_or(|body| body.pointer("/tags").is_some_and(Value::is_object));
            let mut there = Resource::read(found);
            if let Some(group) = there.as_mut().filter(|r| r.kind == Kind::ResourceGroup) {
                group.claim = GroupClaim::Planned;
            }
            tagged && there.is_none_or(|there| !there.is_owned(bastion))
        }
    }
}

fn in_the_way(request: &Request, found: &Value, bastion: &str) -> CloudError {
    let rules = list(found, "/properties/natRuleCollections").is_empty();
    let what = if rules { "what is there" } else { "the rule collection there" };
    CloudError {
        operation: request.operation(),
        kind: ErrorKind::Conflict,
        code: None,
        request_id: None,
        message: format!("{what} is not {bastion}'s by now, so it is left alone"),
        residue: Residue::Nothing,
        remedy: Some("run `gangplank plan`: it says whose it is and what can be done".to_owned()),
    }
}

/// Nothing is sent that Azure's model would read differently from what it says.
fn understood(request: &Request, unknown: Vec<String>) -> Result<(), CloudError> {
    if unknown.is_empty() {
        return Ok(());
    }
    Err(CloudError {
        operation: request.operation(),
        kind: ErrorKind::Invalid,
        code: None,
        request_id: None,
        message: format!("not sent: by Azure's model of it, {}", unknown.join("; ")),
        residue: Residue::Nothing,
        remedy: Some(
            "if it came from a saved changeset, make that again with `gangplank plan --out`; otherwise it is a mistake in \
             gangplank"
                .to_owned(),
        ),
    })
}

/// The address that a resource got.
fn chosen(raw: &Value) -> Option<String> {
    let resource = Resource::read(raw)?;
    match resource.kind {
        Kind::Address => Address(&resource).ip().map(str::to_owned),
        Kind::Interface => Interface(&resource).private_address().map(str::to_owned),
        _ => None,
    }
}
