//! Ending instances: those that steps want ended at the same time are looked at again in one call, and named in one call.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use aws_sdk_ec2::types::InstanceAttributeName;
use tokio::sync::Mutex;

use super::{Performer, is, wait::POLL};
use crate::{
    cloud_error::{CloudError, ErrorKind, Residue},
    provider::{
        Progress,
        aws::{
            action::Displaced,
            observe,
            ownership::{self, Changed},
            region,
            retry::Repeat,
        },
    },
};

/// How long the first step waits for others that start with it.
const GATHER: Duration = Duration::from_millis(20);
/// EC2 may show for a while that an address still leads to the machine that it has just left: so many more looks.
const MORE_LOOKS: usize = 5;

/// What ending steps share. Never more of them than there are steps in flight, which one call may name by far.
#[derive(Default)]
pub(super) struct Endings {
    /// Not named in a call yet.
    wanted: RefCell<BTreeMap<String, Ending>>,
    /// What became of those that were named in another step's call.
    ended: RefCell<BTreeMap<String, Result<(), CloudError>>>,
    turn: Mutex<()>,
}

/// What an instance was when somebody said that it may go.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub bastion: String,
    /// The bastion's own groups that it was in.
    pub within: Vec<String>,
    pub displaced: Option<Displaced>,
}

type Results = BTreeMap<String, Result<(), CloudError>>;

impl Performer<'_> {
    /// Calls TerminateInstances for this instance and for all others that steps wait to end, as far as they are still what they were.
    pub(super) async fn end(&self, instance: &str, ending: Ending, progress: &Progress<'_>) -> Result<(), CloudError> {
        self.endings.wanted.borrow_mut().insert(instance.to_owned(), ending);
        let _turn = self.endings.turn.lock().await;
        if let Some(result) = self.endings.ended.borrow_mut().remove(instance) {
            return result;
        }
        tokio::time::sleep(GATHER).await;
        let wanted = std::mem::take(&mut *self.endings.wanted.borrow_mut());
        let mut results = match self.looked_at_again(&wanted, progress).await {
            Ok(settled) => settled,
            Err(error) => wanted.keys().map(|id| (id.clone(), Err(error.clone()))).collect(),
        };
        let ids: Vec<String> = wanted.into_keys().filter(|id| !results.contains_key(id)).collect();
        if !ids.is_empty() {
            let result = self.end_all(&ids, progress).await;
            // EC2 ends none of them when it refuses one: each is asked for alone, so that only that one stays.
            let one_by_one = ids.len() > 1 && result.as_ref().is_err_and(|error| may_be_of_one(error.kind));
            for id in ids {
                let alone = std::slice::from_ref(&id);
                let result = if one_by_one { self.end_all(alone, progress).await } else { result.clone() };
                let result = match result {
                    Err(error) => Err(self.protected(&id, error, progress).await),
                    ended => ended,
                };
                results.insert(id, result);
            }
        }
        let own = results.remove(instance).unwrap_or(Ok(()));
        self.endings.ended.borrow_mut().extend(results);
        own
    }

    /// Those that need no call: what is gone or going already, and what is not any more what somebody agreed to end.
    async fn looked_at_again(
        &self,
        wanted: &BTreeMap<String, Ending>,
        progress: &Progress<'_>,
    ) -> Result<Results, CloudError> {
        let mut looks = 0;
        loop {
            let found = observe::instances_of_ids(self.ec2, wanted.keys().cloned().collect(), progress).await?;
            looks += 1;
            let mut settled = Results::new();
            let mut late = false;
            for (id, ending) in wanted {
                let Some(instance) = found.iter().find(|i| i.id == *id).filter(|i| i.state.is_there()) else {
                    settled.insert(id.clone(), Ok(()));
                    continue;
                };
                let displaced = ending.displaced.as_ref();
                if let Some(changed) = ownership::changed(instance, &ending.bastion, &ending.within, displaced) {
                    late |= matches!(changed, Changed::Serves(_));
                    settled.insert(id.clone(), Err(refused(id, &changed)));
                }
            }
            if !late || looks > MORE_LOOKS {
                return Ok(settled);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn end_all(&self, ids: &[String], progress: &Progress<'_>) -> Result<(), CloudError> {
        let request = self.ec2.client.terminate_instances().set_instance_ids(Some(ids.to_vec()));
        self.ec2.call("TerminateInstances", Repeat::SAFE, progress, || request.clone().send()).await.map(drop)
    }

    /// Says so where a refusal comes from termination protection, which is somebody's decision: nobody but people take it away.
    async fn protected(&self, id: &str, mut error: CloudError, progress: &Progress<'_>) -> CloudError {
        if !is(&error, "OperationNotPermitted") {
            return error;
        }
        let client = &self.ec2.client;
        let request = client
            .describe_instance_attribute()
            .instance_id(id)
            .attribute(InstanceAttributeName::DisableApiTermination);
        let answer =
            self.ec2.call("DescribeInstanceAttribute", Repeat::SAFE, progress, || request.clone().send()).await;
        if answer.is_ok_and(|answer| answer.disable_api_termination().and_then(|a| a.value()) == Some(true)) {
            error.message = format!("{id} is protected from termination: {}", error.message);
            error.remedy = Some(format!(
                "gangplank leaves the protection alone; if the machine shall go: `{} ec2 modify-instance-attribute --instance-id {id} \
                 --no-disable-api-termination`, then run the command again",
                region::cli(&self.ec2.region)
            ));
        }
        error
    }
}

fn refused(id: &str, changed: &Changed) -> CloudError {
    CloudError {
        operation: "DescribeInstances".to_owned(),
        kind: ErrorKind::Conflict,
        code: None,
        request_id: None,
        message: format!("{id} is not what it was when its end was decided: {changed}; it was not terminated"),
        residue: Residue::Nothing,
        remedy: Some("see who changed it; run the command again, and it is decided anew".to_owned()),
    }
}

/// Whether a refusal may be about one instance and not about the call.
fn may_be_of_one(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::Permission)
}
