//! Whether a group's quota of rules holds what a change opens beside what it closes: told before anything is changed. Pure.

use super::{
    desire::Desired,
    prefix_list::{PrefixLists, weight},
    rule::{Direction, Family, RuleChange, Rules},
    rule_batches::{Counted, Owners, is_stuck, owners},
};
use crate::diagnostic::Diagnostic;

/// What a change needs of the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaForecast {
    /// Everything new is opened before anything old is closed.
    Fits,
    /// So many old rules are closed before the last of the new ones are opened.
    Batches { closed_first: usize, opened_after: usize },
    /// The same, and an old rule that is the last way of its owner is closed before that owner's next one can be opened.
    ClosesFirst,
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

fn of_family(all: &Rules, change: &RuleChange, family: Family, lists: &PrefixLists, quota: usize) -> QuotaForecast {
    let count = |rules: &Rules| rules.keys().map(|rule| weight(lists, rule, family)).sum::<usize>();
    let new = change.add.len();
    let (have, add, remove) = (count(all), count(&change.add), count(&change.remove));
    let (together, wanted) = (have + add, (have + add).saturating_sub(remove));
    if add == 0 || together <= quota {
        QuotaForecast::Fits
    } else if wanted > quota {
        QuotaForecast::TooMany { wanted }
    } else if closes_last_ways(all, change, family, lists, quota.saturating_sub(have)) {
        QuotaForecast::ClosesFirst
    } else {
        let closed_first = together - quota;
        QuotaForecast::Batches { closed_first, opened_after: closed_first.min(new) }
    }
}

/// Whether an owner's last way closes first, where there is room for so many rules beside all that the group has.
fn closes_last_ways(all: &Rules, change: &RuleChange, family: Family, lists: &PrefixLists, room: usize) -> bool {
    let counted = |rules: &Rules| -> Vec<Counted> {
        let of_family = rules.iter().filter(|(rule, _)| Family::of(rule) == family);
        of_family.map(|(rule, text)| Counted { owners: owners(text), weight: weight(lists, rule, family) }).collect()
    };
    let kept = all.iter().filter(|(rule, _)| Family::of(rule) == family && !change.remove.contains_key(rule));
    let ways: Owners = kept.flat_map(|(_, text)| owners(text)).collect();
    is_stuck(counted(&change.add), counted(&change.remove), ways, room)
}

fn severity(forecast: &QuotaForecast) -> usize {
    match forecast {
        QuotaForecast::Fits => 0,
        QuotaForecast::Batches { closed_first, .. } => *closed_first,
        QuotaForecast::ClosesFirst => usize::MAX - 1,
        QuotaForecast::TooMany { .. } => usize::MAX,
    }
}

impl QuotaForecast {
    /// What a changeset says of it; `group` is what people call the group.
    pub fn note(self, direction: Direction, group: &str, quota: usize) -> Option<String> {
        let direction = direction.as_str();
        match self {
            QuotaForecast::Fits | QuotaForecast::TooMany { .. } => None,
            QuotaForecast::Batches { closed_first, opened_after } => Some(format!(
                "⚠ {group} can't hold the old and the new {direction} rules together (the quota is {quota}): apply closes \
                 {closed_first} old ones before it opens the last {opened_after} new ones, in batches"
            )),
            QuotaForecast::ClosesFirst => Some(format!(
                "⚠ {group} can't hold the old and the new {direction} rules together (the quota is {quota}), and one that goes is the \
                 last of its tunnel, operator or target: apply closes it before it opens the new one, and has no way for them in between; \
                 to avoid that, take another source away first, or raise the quota and tell it with aws.rules_per_group"
            )),
        }
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
    fn a_last_way_that_closes_first_is_told() {
        let of_owner = |range, text: &str| -> Rules {
            rules(range, false).into_keys().map(|rule| (rule, text.to_owned())).collect()
        };
        let vendor = |range| of_owner(range, "tunnel vendor (Example)");
        let with = |operators: u8, more: Rules| -> Rules {
            of_owner(0..operators, "operator ana").into_iter().chain(more).collect()
        };
        let two = QuotaForecast::Batches { closed_first: 2, opened_after: 2 };
        assert_eq!(of(&with(58, vendor(60..62)), &with(58, vendor(70..72))), two);
        assert_eq!(of(&with(59, vendor(60..61)), &with(59, vendor(70..71))), QuotaForecast::ClosesFirst);
        assert_eq!(of(&with(58, vendor(60..61)), &with(58, vendor(70..71))), QuotaForecast::Fits);
        // Another one's old rule makes room first.
        let one = of_owner(80..81, "tunnel gone (Example)").into_iter().chain(vendor(60..61)).collect();
        let batches = QuotaForecast::Batches { closed_first: 1, opened_after: 1 };
        assert_eq!(of(&with(58, one), &with(58, vendor(70..71))), batches);
    }

    #[test]
    fn a_rule_of_a_group_counts_in_both_families() {
        let have = rules(0..60, true);
        let mut want = have.clone();
        want.insert(Rule::tcp(5432, Peer::Group("sg-1".to_owned())), String::new());
        assert_eq!(of(&have, &want), QuotaForecast::TooMany { wanted: 61 });
    }
}
