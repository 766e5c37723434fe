//! Ending instances: those that steps want ended at the same time are named in one call.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::sync::Mutex;

use super::Performer;
use crate::provider::{CloudError, ErrorKind, Progress, aws::retry::Repeat};

/// How long the first step waits for others that start with it.
const GATHER: Duration = Duration::from_millis(20);

/// What ending steps share. Never more of them than there are steps in flight, which one call may name by far.
#[derive(Default)]
pub(super) struct Endings {
    /// Not named in a call yet.
    wanted: RefCell<BTreeSet<String>>,
    /// What became of those that were named in another step's call.
    ended: RefCell<BTreeMap<String, Result<(), CloudError>>>,
    turn: Mutex<()>,
}

impl Performer<'_> {
    /// Calls TerminateInstances for this instance and for all others that steps wait to end.
    pub(super) async fn end(&self, instance: &str, progress: &Progress<'_>) -> Result<(), CloudError> {
        self.endings.wanted.borrow_mut().insert(instance.to_owned());
        let _turn = self.endings.turn.lock().await;
        if let Some(result) = self.endings.ended.borrow_mut().remove(instance) {
            return result;
        }
        tokio::time::sleep(GATHER).await;
        let ids = std::mem::take(&mut *self.endings.wanted.borrow_mut());
        let result = self.end_all(&ids, progress).await;
        // EC2 ends none of them when it refuses one: each is asked for alone, so that only that one stays.
        let one_by_one = ids.len() > 1 && result.as_ref().is_err_and(|error| may_be_of_one(error.kind));
        let mut own = result.clone();
        for id in ids {
            let result =
                if one_by_one { self.end_all(&BTreeSet::from([id.clone()]), progress).await } else { result.clone() };
            if id == instance {
                own = result;
            } else {
                self.endings.ended.borrow_mut().insert(id, result);
            }
        }
        own
    }

    async fn end_all(&self, ids: &BTreeSet<String>, progress: &Progress<'_>) -> Result<(), CloudError> {
        let request = self.ec2.client.terminate_instances().set_instance_ids(Some(ids.iter().cloned().collect()));
        self.ec2.call("TerminateInstances", Repeat::SAFE, progress, || request.clone().send()).await.map(drop)
    }
}

/// Whether a refusal may be about one instance and not about the call.
fn may_be_of_one(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::Permission)
}
