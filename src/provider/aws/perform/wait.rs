//! Waiting for instances: however many steps wait, each look is one call.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use super::Performer;
use crate::{
    cloud_error::{CloudError, ErrorKind, Residue},
    provider::{
        Progress,
        aws::{
            observe,
            observed::{Instance, InstanceState},
        },
    },
};

/// EC2 starts a virtual machine within a minute and ends one within two; bare metal takes up to twenty minutes to start
/// ("Amazon EC2 bare metal instances"). Beyond this something is wrong.
pub(super) const START_LIMIT: Duration = Duration::from_secs(300);
const METAL_START_LIMIT: Duration = Duration::from_secs(1500);

/// By the instance type: `m7g.metal`, `c7i.metal-24xl`.
pub(super) fn start_limit(instance_type: &str) -> Duration {
    if instance_type.contains(".metal") { METAL_START_LIMIT } else { START_LIMIT }
}
pub(super) const END_LIMIT: Duration = Duration::from_secs(900);
pub(super) const POLL: Duration = Duration::from_secs(2);
/// Between two looks at the least: many instances that start one after the other share them.
const SPACING: Duration = Duration::from_millis(500);

/// Steps that begin to wait at the same time share a look.
const GATHER: Duration = Duration::from_millis(20);

/// What waiting steps share.
#[derive(Default)]
pub(super) struct Watch {
    /// Instances that somebody waits for, with how many do. Never more than there are steps in flight.
    awaited: RefCell<BTreeMap<String, usize>>,
    last: Mutex<Option<Look>>,
}

/// One look at every awaited instance.
struct Look {
    at: Instant,
    /// What it asked for: whoever came to wait at the same instant is not among them.
    asked: Vec<String>,
    instances: Vec<Instance>,
}

impl Performer<'_> {
    /// Waits until an instance is in a state, and tells what it is then. EC2 forgets terminated instances after a while: then they are
    /// terminated.
    pub(super) async fn until(
        &self,
        id: &str,
        wanted: InstanceState,
        limit: Duration,
        progress: &Progress<'_>,
    ) -> Result<Option<Instance>, CloudError> {
        *self.watch.awaited.borrow_mut().entry(id.to_owned()).or_default() += 1;
        let result = self.watch_until(id, wanted, limit, progress).await;
        let mut awaited = self.watch.awaited.borrow_mut();
        match awaited.get_mut(id) {
            Some(others) if *others > 1 => *others -= 1,
            _ => _ = awaited.remove(id),
        }
        result
    }

    async fn watch_until(
        &self,
        id: &str,
        wanted: InstanceState,
        limit: Duration,
        progress: &Progress<'_>,
    ) -> Result<Option<Instance>, CloudError> {
        let started = Instant::now();
        let mut said = false;
        loop {
            let found = self.look(id, progress).await?;
            match found.as_ref().map(|instance| instance.state) {
                Some(state) if state == wanted => return Ok(found),
                None if wanted == InstanceState::Terminated => return Ok(None),
                Some(state) if !state.is_there() && wanted != InstanceState::Terminated => {
                    return Err(stuck(
                        id,
                        &format!("EC2 ended it before it was {} (it is {})", wanted.as_str(), state.as_str()),
                    ));
                }
                _ if started.elapsed() > limit => {
                    return Err(stuck(id, &format!("it is not {} after {} s", wanted.as_str(), limit.as_secs())));
                }
                _ => {}
            }
            if !said {
                progress.waiting(format!("{id} to be {}", wanted.as_str()));
                said = true;
            }
            if progress.pause(POLL).await.is_err() {
                let what = format_args!("{id} to be {}", wanted.as_str());
                return Err(CloudError::interrupted("DescribeInstances", what, Residue::Unfinished));
            }
        }
    }

    /// The instance in a look that began after this call. Steps that ask at the same time share one look.
    async fn look(&self, id: &str, progress: &Progress<'_>) -> Result<Option<Instance>, CloudError> {
        let asked = Instant::now();
        let mut last = self.watch.last.lock().await;
        let own = |look: &Look| look.instances.iter().find(|i| i.id == id).cloned();
        if let Some(look) = last.as_ref().filter(|look| look.at >= asked && look.asked.iter().any(|one| one == id)) {
            return Ok(own(look));
        }
        // Whoever asks during this pause shares the look that follows it.
        let gathered = asked + GATHER;
        let next = last.as_ref().map_or(gathered, |look| gathered.max(look.at + SPACING));
        tokio::time::sleep_until(next).await;
        let at = Instant::now();
        let asked: Vec<String> = self.watch.awaited.borrow().keys().cloned().collect();
        let instances = observe::instances_of_ids(self.ec2, asked.clone(), progress).await?;
        Ok(own(last.insert(Look { at, asked, instances })))
    }
}

fn stuck(id: &str, message: &str) -> CloudError {
    CloudError {
        operation: "DescribeInstances".to_owned(),
        kind: ErrorKind::Fault,
        code: None,
        request_id: None,
        message: format!("{id}: {message}"),
        residue: Residue::Unknown,
        remedy: Some(format!(
            "see why: `aws ec2 describe-instances --instance-ids {id} --query 'Reservations[].Instances[].StateReason'`; then run the command again"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_metal_is_waited_for_longer() {
        assert_eq!(
            ["t4g.nano", "m7g.metal", "c7i.metal-24xl"].map(start_limit),
            [START_LIMIT, METAL_START_LIMIT, METAL_START_LIMIT]
        );
    }
}
