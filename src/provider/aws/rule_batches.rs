//! Which rules are closed and opened next where a group's quota does not hold the old and the new ones together. Each tunnel, operator
//! and target counts on its own: a rule of another one is no way for it. Pure.

use std::collections::BTreeSet;

/// Whom a rule is for, as its description says: `tunnel vendor`, `operator ana`, `target orders db.internal:5432`.
pub type Owners = BTreeSet<String>;

/// Every rule is also for this one: a group with rules to open is never emptied.
const EVERYBODY: &str = "";

/// From a description that `desire.rs` wrote. Of what people wrote, the text itself is the owner.
pub fn owners(description: &str) -> Owners {
    let parts = description.split(", ").map(|part| part.split(" (").next().unwrap_or(part).to_owned());
    parts.chain([EVERYBODY.to_owned()]).collect()
}

/// Which of the old rules may be closed before the next of the new ones is open. Of one who has no rule in `ways`, and whose new
/// ones are still to come, half of the old rules stay; of one without new rules, none has to.
pub fn closable(new: &[&Owners], old: &[&Owners], ways: &Owners) -> Vec<usize> {
    let waiting: Owners = new.iter().flat_map(|of| of.difference(ways)).cloned().collect();
    let mut left: Vec<(&String, usize)> =
        waiting.iter().map(|owner| (owner, old.iter().filter(|of| of.contains(owner)).count() / 2)).collect();
    let mut all = Vec::new();
    for (at, of) in old.iter().enumerate() {
        if left.iter().all(|(owner, may_close)| *may_close > 0 || !of.contains(*owner)) {
            left.iter_mut().filter(|(owner, _)| of.contains(*owner)).for_each(|(_, may_close)| *may_close -= 1);
            all.push(at);
        }
    }
    all
}

/// The new rules in the order in which they are opened: first one for each who has no way yet.
pub fn opening_order(new: &[&Owners], ways: &Owners) -> Vec<usize> {
    let mut ways = ways.clone();
    let is_first = |of: &&Owners| {
        let before = ways.len();
        ways.extend(of.iter().cloned());
        ways.len() > before
    };
    let first: Vec<bool> = new.iter().map(is_first).collect();
    let mut order: Vec<usize> = (0..new.len()).collect();
    order.sort_by_key(|at| !first[*at]);
    order
}

/// A rule in the quota: whom it is for, and for how many rules it counts.
#[derive(Clone, Debug)]
pub struct Counted {
    pub owners: Owners,
    pub weight: usize,
}

/// Whether the batches come to a point where nothing may be closed and nothing new fits. `room` is what the quota leaves at first.
pub fn is_stuck(mut new: Vec<Counted>, mut old: Vec<Counted>, mut ways: Owners, mut room: usize) -> bool {
    loop {
        new = opening_order(&owners_of(&new), &ways).into_iter().map(|at| new[at].clone()).collect();
        let fitting = new.iter().scan(room, |left, rule| {
            *left = left.checked_sub(rule.weight)?;
            Some(())
        });
        let count = fitting.count();
        for rule in new.drain(..count) {
            room -= rule.weight;
            ways.extend(rule.owners);
        }
        if new.is_empty() {
            return false;
        }
        let mut closing = closable(&owners_of(&new), &owners_of(&old), &ways);
        closing.truncate(new.len());
        if closing.is_empty() {
            return true;
        }
        room += closing.into_iter().rev().map(|at| old.remove(at).weight).sum::<usize>();
    }
}

fn owners_of(rules: &[Counted]) -> Vec<&Owners> {
    rules.iter().map(|rule| &rule.owners).collect()
}

/// Whether both are for the same one.
#[cfg(feature = "aws")]
pub fn share_an_owner(one: &Owners, other: &Owners) -> bool {
    one.intersection(other).any(|owner| owner != EVERYBODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(all: &[(&str, usize)]) -> Vec<Owners> {
        all.iter().flat_map(|(owner, count)| vec![owners(owner); *count]).collect()
    }

    fn close(new: &[Owners], old: &[Owners], ways: &Owners) -> usize {
        closable(&new.iter().collect::<Vec<_>>(), &old.iter().collect::<Vec<_>>(), ways).len()
    }

    #[test]
    fn a_way_counts_for_its_owner_only() {
        let (new, old) = (list(&[("tunnel vendor (Example)", 59)]), list(&[("tunnel vendor (Other)", 59)]));
        assert_eq!(close(&new, &old, &owners("operator ana")), 29);
        assert_eq!(close(&new, &old, &owners("tunnel vendor (allow_from)")), 59);
        let shared = owners("operator ana, tunnel vendor (allow_from)");
        assert_eq!(close(&new, &old, &shared), 59);
    }

    #[test]
    fn the_last_way_of_each_stays_until_its_next_one_is_open() {
        let all = [("tunnel a (x)", 1), ("tunnel b (x)", 1), ("operator ana", 2)];
        let (new, old) = (list(&all), list(&all));
        assert_eq!(closable(&new.iter().collect::<Vec<_>>(), &old.iter().collect::<Vec<_>>(), &Owners::new()), [2]);
        // A tunnel that the plan names no more holds nothing up.
        assert_eq!(close(&list(&[("tunnel a (x)", 1)]), &old, &owners("operator ana")), 3);
        // Renamed: somebody may still come in.
        assert_eq!(close(&list(&[("tunnel c (x)", 2)]), &list(&[("tunnel a (x)", 2)]), &Owners::new()), 1);
    }

    #[test]
    fn who_has_no_way_comes_first() {
        let new = list(&[("operator ana", 2), ("tunnel a (x)", 2), ("tunnel b (x)", 1)]);
        let order = opening_order(&new.iter().collect::<Vec<_>>(), &owners("operator ana"));
        assert_eq!(order, [2, 4, 0, 1, 3]);
    }

    fn counted(all: &[(&str, usize)]) -> Vec<Counted> {
        all.iter().map(|(owner, weight)| Counted { owners: owners(owner), weight: *weight }).collect()
    }

    #[test]
    fn a_list_needs_the_room_of_its_entries() {
        let (vendor, list) = ([("tunnel vendor (Example)", 1); 10], [("tunnel vendor (allow_from)", 9)]);
        assert!(!is_stuck(counted(&list), counted(&vendor), owners("operator ana"), 0), "nine of ten make room");
        assert!(is_stuck(counted(&list), counted(&vendor[1..]), owners("operator ana"), 0), "the last one stays");
        assert!(!is_stuck(counted(&list), counted(&vendor[1..]), owners("operator ana"), 1));
    }

    proptest::proptest! {
        /// What a machine admits after each call, where none is refused.
        #[test]
        fn who_has_a_way_and_gets_another_has_one_all_the_time(
            new in proptest::collection::vec(1u8..8, 1..8),
            old in proptest::collection::vec(1u8..8, 0..8),
            kept in proptest::collection::vec(1u8..8, 0..3),
            room in 0usize..3,
        ) {
            let of = |set: &u8| -> Owners {
                (0..3).filter(|bit| set & (1 << bit) != 0).map(|bit| format!("tunnel {bit}")).chain([String::new()]).collect()
            };
            let rules = |sets: &[u8]| -> Vec<Counted> {
                sets.iter().map(|set| Counted { owners: of(set), weight: 1 }).collect()
            };
            let ways: Owners = kept.iter().flat_map(of).collect();
            let stuck = is_stuck(rules(&new), rules(&old), ways.clone(), room);
            let (mut open, mut ways, mut room) = (kept.clone(), ways, room);
            let served: Owners = new.iter().flat_map(of).collect();
            let before: Owners = kept.iter().chain(&old).flat_map(of).collect();
            let (mut new, mut old) = (new, old);
            let mut has_stopped = false;
            while !new.is_empty() && !has_stopped {
                let each: Vec<Owners> = new.iter().map(of).collect();
                let order = opening_order(&each.iter().collect::<Vec<_>>(), &ways);
                new = order.into_iter().map(|at| new[at]).collect();
                let opened: Vec<u8> = new.drain(..room.min(new.len())).collect();
                room -= opened.len();
                ways.extend(opened.iter().flat_map(of));
                open.extend(opened);
                let (wait, close): (Vec<Owners>, Vec<Owners>) = (new.iter().map(of).collect(), old.iter().map(of).collect());
                let mut closing = closable(&wait.iter().collect::<Vec<_>>(), &close.iter().collect::<Vec<_>>(), &ways);
                closing.truncate(new.len());
                has_stopped = closing.is_empty() && !new.is_empty();
                for at in closing.into_iter().rev() {
                    old.remove(at);
                    room += 1;
                }
                let admitted: Owners = open.iter().chain(&old).flat_map(of).collect();
                for owner in served.intersection(&before) {
                    proptest::prop_assert!(admitted.contains(owner), "{owner} of {served:?}: {admitted:?}");
                }
            }
            proptest::prop_assert_eq!(has_stopped, stuck);
        }
    }
}
