//! What the world tells about its instances as machines, and what a machine does to it.

use std::net::IpAddr;

use base64ct::{Base64, Encoding};
use jiff::Timestamp;

use super::{
    model::{Instance, Reason, Region, State},
    world::{World, later},
};
use crate::sandbox::vm::{Channel, Vm};

/// Bytes that GetConsoleOutput shows at most.
const CONSOLE: usize = 64 * 1024;

impl World {
    /// Every instance that is not terminated, whatever its state.
    pub fn machines(&self, now: Timestamp) -> Vec<Vm> {
        let regions = self.regions.values();
        regions.flat_map(|region| region.instances.iter().filter_map(|(id, i)| machine(region, id, i, now))).collect()
    }

    /// A machine writes to its console. `vm` is the instance's id; an unknown one has no console.
    pub fn print(&mut self, vm: &str, text: &str, now: Timestamp) {
        let Some(instance) = self.instance(vm) else { return };
        instance.console.extend_from_slice(text.as_bytes());
        let surplus = instance.console.len().saturating_sub(CONSOLE);
        instance.console.drain(..surplus);
        instance.printed = Some(now);
    }

    /// A machine shuts its own system down: it ends or stops, as its instance's attribute says.
    pub fn shut_down(&mut self, vm: &str, now: Timestamp) {
        let pace = self.pace.clone();
        let Some(instance) = self.instance(vm).filter(|i| i.state(now) == State::Running) else { return };
        instance.reason = Some(Reason::Itself);
        if instance.terminates_on_shutdown {
            instance.go(now, State::ShuttingDown, State::Terminated, later(now, pace.end));
        } else {
            instance.go(now, State::Stopping, State::Stopped, later(now, pace.stop));
        }
    }

    fn instance(&mut self, id: &str) -> Option<&mut Instance> {
        self.regions.values_mut().find_map(|region| region.instances.get_mut(id))
    }
}

fn machine(region: &Region, id: &str, instance: &Instance, now: Timestamp) -> Option<Vm> {
    let state = instance.state(now);
    let (_, interface) = region.main_interface(id).filter(|_| state != State::Terminated)?;
    let data: String = instance.user_data.iter().flat_map(|data| data.split_ascii_whitespace()).collect();
    Some(Vm {
        id: id.to_owned(),
        instance: id.to_owned(),
        launched: instance.launched,
        running: state == State::Running,
        // RunInstances has refused what is no base64.
        document: Base64::decode_vec(&data).unwrap_or_default(),
        channel: Channel::Tags((instance.metadata.enabled && instance.metadata.tags).then(|| instance.tags.clone())),
        address: IpAddr::V4(interface.ip),
    })
}
