//! Machines: whether they run, what they were given, and what they write to their serial console.

use std::net::IpAddr;

use base64ct::{Base64, Encoding};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    World,
    kinds::Work,
    operations::Begun,
    read::shout,
    reply::{Call, answered, gone, refused},
    state::{Effect, Resource, State},
};
use crate::sandbox::{
    http::Reply,
    vm::{Channel, Vm},
};

pub(super) const MACHINES: &str = "Microsoft.Compute/virtualMachines";
/// Of a serial console's log, the last so many bytes are kept ("Azure boot diagnostics": up to one megabyte).
const LOG: usize = 1 << 20;

/// What Azure does not show of a machine, or not with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    /// `customData` as it was put: base64.
    document: String,
    power: Power,
    /// When it last began to run.
    launched: Timestamp,
    console: String,
}

/// "States and billing status of Azure Virtual Machines"
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    Starting,
    Running,
    Stopping,
    Stopped,
    Deallocating,
    Deallocated,
}

impl Power {
    fn word(self) -> &'static str {
        match self {
            Power::Starting => "starting",
            Power::Running => "running",
            Power::Stopping => "stopping",
            Power::Stopped => "stopped",
            Power::Deallocating => "deallocating",
            Power::Deallocated => "deallocated",
        }
    }
}

impl Machine {
    pub fn new(document: &str, now: Timestamp) -> Self {
        Self { document: document.to_owned(), power: Power::Starting, launched: now, console: String::new() }
    }

    pub fn document(&self) -> &str {
        &self.document
    }

    pub fn power(&self) -> Power {
        self.power
    }

    pub fn launched(&self) -> Timestamp {
        self.launched
    }

    /// It is in this state from now on.
    pub fn turn(&mut self, power: Power, at: Timestamp) {
        if power == Power::Running {
            self.launched = at;
        }
        self.power = power;
    }
}

impl World {
    /// All machines that have an interface with an address, whatever they are at.
    pub fn machines(&self, now: Timestamp) -> Vec<Vm> {
        let world = self.at(now);
        let machines = world.resources.iter().filter_map(|(key, resource)| world.vm(key, resource));
        machines.collect()
    }

    fn vm(&self, key: &str, resource: &Resource) -> Option<Vm> {
        let machine = resource.machine.as_ref()?;
        let decoded = |text: &str| Base64::decode_vec(text).unwrap_or_default();
        let data = resource.body().pointer("/properties/userData").and_then(Value::as_str);
        let instance = resource.body().pointer("/properties/vmId").and_then(Value::as_str).unwrap_or_default();
        Some(Vm {
            id: key.to_owned(),
            instance: instance.to_owned(),
            launched: machine.launched,
            running: machine.power == Power::Running,
            document: decoded(&machine.document),
            channel: Channel::UserData(data.map(decoded)),
            address: self.address_of(resource)?,
        })
    }

    /// The private address of a machine's first interface.
    pub(super) fn address_of(&self, machine: &Resource) -> Option<IpAddr> {
        let interface = self.resources.get(interfaces(machine.body()).next()?.to_lowercase().as_str())?;
        interface.body().pointer("/properties/ipConfigurations/0/properties/privateIPAddress")?.as_str()?.parse().ok()
    }

    /// A machine (by its id) writes to its serial console. Nothing where there is no such machine.
    pub fn print(&mut self, vm: &str, text: &str, now: Timestamp) {
        self.advance(now);
        let Some(machine) = self.machine(vm) else { return };
        machine.console.push_str(text);
        if let Some(over) = machine.console.len().checked_sub(LOG).filter(|over| *over > 0) {
            let cut = (over..machine.console.len()).find(|at| machine.console.is_char_boundary(*at));
            machine.console.drain(..cut.unwrap_or_default());
        }
    }

    /// A machine switches itself off: it is stopped, and its host is kept for it, and paid.
    pub fn shut_down(&mut self, vm: &str, now: Timestamp) {
        self.advance(now);
        if let Some(machine) = self.machine(vm).filter(|machine| machine.power == Power::Running) {
            machine.turn(Power::Stopped, now);
        }
    }

    pub(super) fn machine(&mut self, id: &str) -> Option<&mut Machine> {
        self.resources.get_mut(id.to_lowercase().as_str())?.machine.as_mut()
    }

    /// The blob that boot diagnostics keep: at an address whose signature is the permission.
    pub(super) fn console(&self, call: &Call<'_>) -> Reply {
        let machine = call.key.strip_prefix("/console").and_then(|key| self.resources.get(key)?.machine.as_ref());
        match (machine, call.query("sig")) {
            (Some(machine), Some(_)) => {
                Reply::text(200, machine.console.clone()).with("Content-Type", "text/plain; charset=utf-8")
            }
            (_, None) => Reply::empty(403),
            (None, _) => Reply::empty(404),
        }
    }

    /// `POST virtualMachines/NAME/VERB`, and the instance view.
    pub(super) fn action(&mut self, call: &Call<'_>, owner: &str, verb: &str) -> Reply {
        let Some(resource) = self.resources.get(owner).filter(|resource| resource.machine.is_some()) else {
            return gone(404, "ResourceNotFound", "The Resource was not found.");
        };
        let runs = resource.machine.as_ref().is_some_and(|machine| machine.power == Power::Running);
        let (to, meanwhile) = match (call.method.as_str(), verb) {
            ("GET", "instanceview") => return answered(200, &instance_view(resource)),
            ("POST", "retrievebootdiagnosticsdata") => return boot_diagnostics(call, resource),
            ("POST", "start") if runs => (Effect::Settle, None),
            ("POST", "start" | "restart" | "redeploy") => (Effect::Power(Power::Running), Some(Power::Starting)),
            ("POST", "poweroff") => (Effect::Power(Power::Stopped), Some(Power::Stopping)),
            ("POST", "deallocate") => (Effect::Power(Power::Deallocated), Some(Power::Deallocating)),
            ("POST", "reapply") => (Effect::Settle, None),
            _ => return gone(404, "NotFound", "There is no such action."),
        };
        let (kind, location, pace) = (resource.kind, self.location_of(resource), self.pace.power);
        if let Some(reply) = self.busy(call, owner, &Value::Null) {
            return reply;
        }
        let work = Work { retry_after: 10, under: "operations" };
        let id = self.start(owner, to, work, pace, call.now);
        if let (Some(machine), Some(meanwhile)) = (self.machine(owner), meanwhile) {
            machine.turn(meanwhile, call.now);
        }
        self.long(call, Reply::empty(202), kind, &Begun { id, work, location }, true)
    }
}

/// The ids of a machine's interfaces, the main one first.
pub(super) fn interfaces(machine: &Value) -> impl Iterator<Item = &str> {
    let all = machine.pointer("/properties/networkProfile/networkInterfaces").and_then(Value::as_array);
    let mut all: Vec<&Value> = all.into_iter().flatten().collect();
    all.sort_by_key(|interface| interface.pointer("/properties/primary") != Some(&json!(true)));
    all.into_iter().filter_map(|interface| interface.get("id").and_then(Value::as_str))
}

fn boot_diagnostics(call: &Call<'_>, machine: &Resource) -> Reply {
    let enabled =
        machine.body().pointer("/properties/diagnosticsProfile/bootDiagnostics/enabled") == Some(&json!(true));
    // The code is a guess.
    if !enabled || machine.state == State::Creating {
        let message = "Boot diagnostics data is not available for this virtual machine yet.";
        return refused(409, "OperationNotAllowed", message);
    }
    let at = format!("{}/console{}?sv=2024-05-04&sig=c2VjcmV0", call.origin, machine.id);
    let body = json!({"consoleScreenshotBlobUri": format!("{at}&screenshot"), "serialConsoleLogBlobUri": at});
    answered(200, &body)
}

pub(super) fn instance_view(resource: &Resource) -> Value {
    let power = resource.machine.as_ref().map_or(Power::Stopped, Machine::power).word();
    let status = |code: String, words: String| json!({"code": code, "level": "Info", "displayStatus": words});
    let provisioning = resource.state.word().to_lowercase();
    let mut statuses = vec![status(format!("ProvisioningState/{provisioning}"), "Provisioning".to_owned())];
    // One that was never placed has no power state: "States and billing status of Azure Virtual Machines". That it is so for one whose
    // creation failed is a guess.
    if resource.state != State::Failed || resource.before.is_some() {
        statuses.push(status(format!("PowerState/{power}"), format!("VM {power}")));
    }
    json!({
        "vmAgent": {"vmAgentVersion": "2.12.0.4",
                    "statuses": [status("ProvisioningState/succeeded".to_owned(), "Ready".to_owned())]},
        "bootDiagnostics": {},
        "statuses": statuses,
    })
}

/// What lists show with `statusOnly=true` ("Virtual Machines - List All"). Which of its other properties Azure leaves out then is a
/// guess, so all of them are.
pub(super) fn status_only(resource: &Resource) -> Value {
    json!({
        "name": resource.name, "id": shout(&resource.id), "type": resource.kind.named,
        "location": resource.body()["location"], "properties": {"instanceView": instance_view(resource)},
    })
}
