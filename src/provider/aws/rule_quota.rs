//! Whether a group's quota of rules holds what a change opens beside what it closes: told before anything is changed. Pure.

use super::{
    prefix_list::{PrefixLists, weight},
    rule::{Direction, Family, RuleChange, Rules},
};

/// EC2's default for each direction, of IPv4 and of IPv6 ("Amazon VPC quotas", Security groups, in the Amazon VPC User Guide). An
/// account may have a higher one; that is not asked, and the words say so.
pub const DEFAULT_RULES: usize = 60;

/// What a change needs of the default quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaForecast {
    /// Everything new is opened before anything old is closed.
    Fits,
    /// So many old rules are closed before the last of the new ones are opened.
    Batches { closed_first: usize, opened_after: usize },
    /// The plan's rules alone are more.
    TooMany { wanted: usize },
}

/// `have` is all that the group has in this direction.
pub fn forecast(have: &Rules, change: &RuleChange, lists: &PrefixLists) -> QuotaForecast {
    [Family::V4, Family::V6]
        .into_iter()
        .map(|family| of_family(have, change, lists, family))
        .max_by_key(severity)
        .unwrap_or(QuotaForecast::Fits)
}

fn of_family(have: &Rules, change: &RuleChange, lists: &PrefixLists, family: Family) -> QuotaForecast {
    let count = |rules: &Rules| rules.keys().map(|rule| weight(lists, rule, family)).sum::<usize>();
    let (have, add, remove) = (count(have), count(&change.add), count(&change.remove));
    let (together, wanted) = (have + add, (have + add).saturating_sub(remove));
    if add == 0 || together <= DEFAULT_RULES {
        QuotaForecast::Fits
    } else if wanted > DEFAULT_RULES {
        QuotaForecast::TooMany { wanted }
    } else {
        let closed_first = together - DEFAULT_RULES;
        QuotaForecast::Batches { closed_first, opened_after: closed_first }
    }
}

fn severity(forecast: &QuotaForecast) -> usize {
    match forecast {
        QuotaForecast::Fits => 0,
        QuotaForecast::Batches { closed_first, .. } => *closed_first,
        QuotaForecast::TooMany { .. } => usize::MAX,
    }
}

impl QuotaForecast {
    /// What a changeset says of it; `group` is what people call the group.
    pub fn note(self, direction: Direction, group: &str) -> Option<String> {
        let direction = direction.as_str();
        match self {
            QuotaForecast::Fits => None,
            QuotaForecast::Batches { closed_first, opened_after } => Some(format!(
                "⚠ {group} can't hold the old and the new {direction} rules together (EC2's default quota is {DEFAULT_RULES}): apply \
                 closes {closed_first} old ones before it opens the last {opened_after} new ones, in batches"
            )),
            QuotaForecast::TooMany { wanted } => Some(format!(
                "⚠ the plan wants {wanted} {direction} rules in {group}, and EC2's default quota is {DEFAULT_RULES}: raise \"Inbound or \
                 outbound rules per security group\" of Amazon VPC first, or list fewer and wider ranges; otherwise apply fails there, \
                 with some of the new ones open and none of the old ones closed"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::{
        super::rule::{Peer, Rule},
        *,
    };

    fn rules(numbers: Range<u8>, v6: bool) -> Rules {
        let net = |n: u8| if v6 { format!("2001:db8::{n:x}/128") } else { format!("203.0.113.{n}/32") };
        numbers.map(|n| (Rule::tcp(22, Peer::Net(net(n).parse().unwrap())), String::new())).collect()
    }

    fn of(have: &Rules, want: &Rules) -> QuotaForecast {
        forecast(have, &RuleChange::between(want, have), &PrefixLists::new())
    }

    #[test]
    fn old_and_new_are_counted_together_in_each_family() {
        assert_eq!(of(&rules(0..20, false), &rules(20..60, false)), QuotaForecast::Fits);
        assert_eq!(
            of(&rules(0..40, false), &rules(40..80, false)),
            QuotaForecast::Batches { closed_first: 20, opened_after: 20 }
        );
        assert_eq!(of(&rules(0..40, false), &rules(40..101, false)), QuotaForecast::TooMany { wanted: 61 });
        // IPv6 has a quota of its own.
        assert_eq!(of(&rules(0..40, false), &rules(0..40, true)), QuotaForecast::Fits);
        // Closing needs no room, however many somebody has opened.
        assert_eq!(of(&rules(0..100, false), &rules(0..70, false)), QuotaForecast::Fits);
    }

    #[test]
    fn a_rule_of_a_group_counts_in_both_families() {
        let have = rules(0..60, true);
        let mut want = have.clone();
        want.insert(Rule::tcp(5432, Peer::Group("sg-1".to_owned())), String::new());
        assert_eq!(of(&have, &want), QuotaForecast::TooMany { wanted: 61 });
    }
}
