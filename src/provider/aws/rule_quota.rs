//! Whether a group's quota of rules holds what a change opens beside what it closes: told before anything is changed. Pure.

use super::{
    desire::Desired,
    prefix_list::{PrefixLists, weight},
    rule::{Direction, Family, RuleChange, Rules},
};
use crate::diagnostic::Diagnostic;

/// What a change needs of the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaForecast {
    /// Everything new is opened before anything old is closed.
    Fits,
    /// So many old rules are closed before the last of the new ones are opened.
    Batches { closed_first: usize, opened_after: usize },
    /// The plan's rules alone are more.
    TooMany { wanted: usize },
}

/// `have` is all that the group has in this direction, `quota` what the plan says that the account allows.
pub fn forecast(have: &Rules, change: &RuleChange, lists: &PrefixLists, quota: usize) -> QuotaForecast {
    [Family::V4, Family::V6]
        .into_iter()
        .map(|family| of_family(have, change, family, lists, quota))
        .max_by_key(severity)
        .unwrap_or(QuotaForecast::Fits)
}

fn of_family(have: &Rules, change: &RuleChange, family: Family, lists: &PrefixLists, quota: usize) -> QuotaForecast {
    let count = |rules: &Rules| rules.keys().map(|rule| weight(lists, rule, family)).sum::<usize>();
    let new = change.add.len();
    let (have, add, remove) = (count(have), count(&change.add), count(&change.remove));
    let (together, wanted) = (have + add, (have + add).saturating_sub(remove));
    if add == 0 || together <= quota {
        QuotaForecast::Fits
    } else if wanted > quota {
        QuotaForecast::TooMany { wanted }
    } else {
        let closed_first = together - quota;
        QuotaForecast::Batches { closed_first, opened_after: closed_first.min(new) }
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
    pub fn note(self, direction: Direction, group: &str, quota: usize) -> Option<String> {
        let QuotaForecast::Batches { closed_first, opened_after } = self else { return None };
        Some(format!(
            "⚠ {group} can't hold the old and the new {} rules together (the quota is {quota}): apply closes {closed_first} old ones \
             before it opens the last {opened_after} new ones, in batches",
            direction.as_str()
        ))
    }

    /// Why there can be no changeset; `field` is the plan's part that asks for the rules.
    pub fn problem(self, direction: Direction, group: &str, want: &Desired<'_>, field: &str) -> Option<Diagnostic> {
        let QuotaForecast::TooMany { wanted } = self else { return None };
        let quota = want.aws.rules_per_group;
        let label = format!("{wanted} {} rules in {group}, and the quota is {quota}", direction.as_str());
        let problem = want.plan.origin.problem(field, "more rules than a security group holds", label);
        Some(
            problem
                .because(
                    "EC2 counts each direction for itself, for IPv4 and for IPv6; a prefix list counts for as many rules as it may have \
                     entries, a group for one in both.",
                )
                .fix(format!(
                    "list fewer and wider ranges; or raise the quota \"Inbound or outbound rules per security group\" of Amazon VPC \
                     (L-0EA8095F) and tell the new one: `aws: {{rules_per_group: {wanted}}}`"
                )),
        )
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
        forecast(have, &RuleChange::between(want, have), &PrefixLists::new(), 60)
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
