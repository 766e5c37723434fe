//! How long Azure takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The time from the answer to a write until it has taken effect, by what is written. Zero means: at the next look.
///
/// Recorded traffic has no times, but it has the pauses that Azure asked for and how often the client then looked; a remark says
/// where a duration comes from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    /// Virtual networks, subnets, network security groups and their rules.
    pub network: Duration,
    pub public_address: Duration,
    /// Zero is special here: done with the answer itself, which is what recordings show. Real traffic shows the other way too: it
    /// takes its time, and a machine on it is refused meanwhile (`ReferencedResourceNotProvisioned`).
    pub interface: Duration,
    /// "Azure Firewall known issues and FAQ" speaks of about ten minutes; recorded were six, by the pauses of the client.
    pub firewall: Duration,
    pub firewall_change: Duration,
    pub policy: Duration,
    /// A policy's rule collection group.
    pub rules: Duration,
    pub machine: Duration,
    /// New tags or user data.
    pub machine_change: Duration,
    /// Start, restart, power off, deallocate.
    pub power: Duration,
    pub deletion: Duration,
    pub firewall_deletion: Duration,
    pub rules_deletion: Duration,
    /// For so long a policy stays `Updating` after a change in it has ended: 15 seconds after a group's delete, in two providers'
    /// sources.
    pub policy_after_rules: Duration,
    pub machine_deletion: Duration,
    pub group_deletion: Duration,
    /// Until a new resource is in the lists of `Microsoft.Resources`, which are an index that follows. A guess.
    pub index: Duration,
    /// Until what is gone is gone from them too: "known caching issue" (azure-rest-api-specs#21221); Terraform looks for ten minutes
    /// (terraform-provider-azurerm#16073).
    pub index_of_gone: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            network: seconds(3),
            public_address: seconds(1),
            interface: Duration::ZERO,
            firewall: seconds(9 * 60),
            firewall_change: seconds(60),
            policy: seconds(10),
            rules: seconds(30),
            machine: seconds(45),
            machine_change: seconds(10),
            power: seconds(30),
            deletion: seconds(10),
            firewall_deletion: seconds(270),
            rules_deletion: seconds(30),
            policy_after_rules: seconds(15),
            machine_deletion: seconds(40),
            group_deletion: seconds(45),
            index: seconds(5),
            index_of_gone: seconds(4 * 60),
        }
    }
}

impl Pace {
    /// Everything is done at the next look.
    pub fn none() -> Self {
        Self::default().faster(u32::MAX)
    }

    /// So many times faster; 0 counts as 1. What is then below a millisecond is nothing.
    #[must_use]
    pub fn faster(mut self, times: u32) -> Self {
        for duration in self.all() {
            let shorter = *duration / times.max(1);
            *duration = if shorter < Duration::from_millis(1) { Duration::ZERO } else { shorter };
        }
        self
    }

    fn all(&mut self) -> [&mut Duration; 18] {
        [
            &mut self.network,
            &mut self.public_address,
            &mut self.interface,
            &mut self.firewall,
            &mut self.firewall_change,
            &mut self.policy,
            &mut self.rules,
            &mut self.machine,
            &mut self.machine_change,
            &mut self.power,
            &mut self.deletion,
            &mut self.firewall_deletion,
            &mut self.rules_deletion,
            &mut self.policy_after_rules,
            &mut self.machine_deletion,
            &mut self.group_deletion,
            &mut self.index,
            &mut self.index_of_gone,
        ]
    }

    /// A PUT to a resource of this type.
    pub(super) fn write(&self, kind: &str, new: bool) -> Duration {
        match kind {
            "Microsoft.Network/azureFirewalls" | "Microsoft.Network/applicationGateways" if new => self.firewall,
            "Microsoft.Network/azureFirewalls" | "Microsoft.Network/applicationGateways" => self.firewall_change,
            "Microsoft.Network/firewallPolicies" => self.policy,
            "Microsoft.Network/firewallPolicies/ruleCollectionGroups" => self.rules,
            "Microsoft.Network/publicIPAddresses" => self.public_address,
            "Microsoft.Network/networkInterfaces" => self.interface,
            "Microsoft.Compute/virtualMachines" if new => self.machine,
            "Microsoft.Compute/virtualMachines" => self.machine_change,
            _ => self.network,
        }
    }

    pub(super) fn delete(&self, kind: &str) -> Duration {
        match kind {
            "Microsoft.Network/azureFirewalls" | "Microsoft.Network/applicationGateways" => self.firewall_deletion,
            "Microsoft.Network/firewallPolicies/ruleCollectionGroups" => self.rules_deletion,
            "Microsoft.Compute/virtualMachines" => self.machine_deletion,
            _ => self.deletion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_made_faster_and_never_slower() {
        let usual = Pace::default();
        assert_eq!(usual.clone().faster(0), usual);
        assert_eq!(usual.clone().faster(60).firewall, Duration::from_secs(9));
        assert_eq!(usual.clone().faster(2).index, Duration::from_millis(2500));
        assert!(Pace::none().all().iter().all(|duration| duration.is_zero()));
    }

    #[test]
    fn what_an_old_file_does_not_say_is_usual() {
        let read: Pace = serde_json::from_str(r#"{"firewall": {"secs": 1, "nanos": 0}}"#).unwrap();
        assert_eq!(read, Pace { firewall: Duration::from_secs(1), ..Pace::default() });
    }
}
