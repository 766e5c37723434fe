//! Which step starts next: the decisions of a run, without the run.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use crate::changeset::StepId;

/// The state of every step of a run. Steps are named by their position in the slice that the schedule was made from.
///
/// A step ends exactly once: done, failed or skipped. It starts only when everything that it comes after is done.
#[derive(Debug)]
pub struct Schedule {
    steps: Vec<Node>,
    lanes: Vec<Lane>,
    limit: usize,
    stopped: bool,
}

/// The steps of one place.
#[derive(Debug, Default)]
struct Lane {
    /// Steps whose dependencies are done, by position: earlier bastions are finished before later ones are begun.
    ready: BTreeSet<usize>,
    running: usize,
}

#[derive(Debug)]
struct Node {
    dependents: Vec<usize>,
    /// How many of its dependencies are not done yet.
    missing: usize,
    state: State,
    lane: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended,
}

impl Schedule {
    /// `steps` are the ids in order, each with the ids that must be done before it and its place; at most `limit` (at least one)
    /// of a place run at once.
    ///
    /// # Errors
    /// [`GraphError`] where the ids do not form a graph that can be carried out to its end.
    pub fn new<'a>(
        steps: impl IntoIterator<Item = (&'a StepId, &'a [StepId], &'a str)>,
        limit: usize,
    ) -> Result<Self, GraphError> {
        let steps: Vec<_> = steps.into_iter().collect();
        let mut position = HashMap::new();
        for (i, (id, ..)) in steps.iter().enumerate() {
            if position.insert(*id, i).is_some() {
                return Err(GraphError::Duplicate((*id).clone()));
            }
        }
        let places: Vec<&str> = steps.iter().map(|(.., place)| *place).collect::<BTreeSet<_>>().into_iter().collect();
        let lane = |place: &str| places.binary_search(&place).unwrap_or_default();
        let node = |place| Node { dependents: Vec::new(), missing: 0, state: State::Waiting, lane: lane(place) };
        let mut nodes: Vec<Node> = steps.iter().map(|(.., place)| node(place)).collect();
        for (i, (id, after, _)) in steps.iter().enumerate() {
            // The same dependency named twice counts once.
            for dependency in after.iter().collect::<BTreeSet<_>>() {
                let Some(&of) = position.get(dependency) else {
                    return Err(GraphError::Unknown { step: (*id).clone(), after: dependency.clone() });
                };
                nodes[of].dependents.push(i);
                nodes[i].missing += 1;
            }
        }
        let mut lanes: Vec<Lane> = places.iter().map(|_| Lane::default()).collect();
        for (i, node) in nodes.iter().enumerate().filter(|(_, node)| node.missing == 0) {
            lanes[node.lane].ready.insert(i);
        }
        let schedule = Self { steps: nodes, lanes, limit: limit.max(1), stopped: false };
        let stuck = schedule.never_ready();
        if stuck.is_empty() {
            Ok(schedule)
        } else {
            Err(GraphError::Cycle(stuck.into_iter().map(|i| steps[i].0.clone()).collect()))
        }
    }

    /// The next step to start, if one may start now.
    pub fn start(&mut self) -> Option<usize> {
        let open = self.lanes.iter().filter(|lane| lane.running < self.limit);
        let step = open.filter_map(|lane| lane.ready.first().copied()).min()?;
        let lane = &mut self.lanes[self.steps[step].lane];
        lane.ready.remove(&step);
        lane.running += 1;
        self.steps[step].state = State::Running;
        Some(step)
    }

    /// `step` has succeeded.
    pub fn done(&mut self, step: usize) {
        self.end(step);
        for dependent in self.steps[step].dependents.clone() {
            let node = &mut self.steps[dependent];
            node.missing -= 1;
            if node.missing == 0 && node.state == State::Waiting {
                let lane = node.lane;
                self.lanes[lane].ready.insert(dependent);
            }
        }
    }

    /// `step` has failed. Returns the steps that can never start because of it, in order; they have ended with this.
    pub fn failed(&mut self, step: usize) -> Vec<usize> {
        self.end(step);
        let mut skipped = BTreeSet::new();
        let mut left = vec![step];
        while let Some(i) = left.pop() {
            for &dependent in &self.steps[i].dependents {
                if self.steps[dependent].state == State::Waiting && skipped.insert(dependent) {
                    left.push(dependent);
                }
            }
        }
        self.skip(skipped)
    }

    /// Nothing starts from now on. Returns the steps that had not started, in order; they have ended with this.
    pub fn stop(&mut self) -> Vec<usize> {
        self.stopped = true;
        let waiting = (0..self.steps.len()).filter(|&i| self.steps[i].state == State::Waiting);
        self.skip(waiting.collect::<Vec<_>>())
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// How many steps run now.
    pub fn running(&self) -> usize {
        self.lanes.iter().map(|lane| lane.running).sum()
    }

    fn end(&mut self, step: usize) {
        debug_assert_eq!(self.steps[step].state, State::Running);
        self.steps[step].state = State::Ended;
        self.lanes[self.steps[step].lane].running -= 1;
    }

    fn skip(&mut self, steps: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let steps: Vec<_> = steps.into_iter().collect();
        for &step in &steps {
            self.steps[step].state = State::Ended;
            let lane = self.steps[step].lane;
            self.lanes[lane].ready.remove(&step);
        }
        steps
    }

    /// Steps that wait for each other, or for such a step.
    fn never_ready(&self) -> Vec<usize> {
        let mut missing: Vec<_> = self.steps.iter().map(|n| n.missing).collect();
        let mut free: Vec<_> = self.lanes.iter().flat_map(|lane| &lane.ready).copied().collect();
        while let Some(i) = free.pop() {
            for &dependent in &self.steps[i].dependents {
                missing[dependent] -= 1;
                if missing[dependent] == 0 {
                    free.push(dependent);
                }
            }
        }
        (0..missing.len()).filter(|&i| missing[i] > 0).collect()
    }
}

/// The steps cannot be carried out to their end. gangplank never makes such steps; a saved changeset that somebody edited
/// may hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphError {
    Duplicate(StepId),
    Unknown {
        step: StepId,
        after: StepId,
    },
    /// These wait for each other, or for one of the others.
    Cycle(Vec<StepId>),
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was started, because the steps cannot be put in an order: ")?;
        match self {
            GraphError::Duplicate(step) => write!(f, "two steps are called {step}"),
            GraphError::Unknown { step, after } => {
                write!(f, "{step} comes after {after}, which is not among the steps")
            }
            GraphError::Cycle(steps) => {
                let names: Vec<_> = steps.iter().map(|s| s.0.as_str()).collect();
                write!(f, "these wait for each other: {}", names.join(", "))
            }
        }
    }
}

impl std::error::Error for GraphError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(graph: &[Vec<usize>]) -> Vec<(StepId, Vec<StepId>)> {
        let id = |i: usize| StepId(format!("b/{i}"));
        graph.iter().enumerate().map(|(i, after)| (id(i), after.iter().map(|&a| id(a)).collect())).collect()
    }

    fn schedule(graph: &[Vec<usize>], limit: usize) -> Result<Schedule, GraphError> {
        let ids = ids(graph);
        Schedule::new(ids.iter().map(|(id, after)| (id, after.as_slice(), "")), limit)
    }

    #[test]
    fn steps_without_dependencies_start_together_in_order() {
        let mut s = schedule(&[vec![], vec![0], vec![]], 8).unwrap();
        assert_eq!((s.start(), s.start(), s.start()), (Some(0), Some(2), None));
        s.done(0);
        assert_eq!(s.start(), Some(1));
    }

    #[test]
    fn each_place_has_its_own_limit() {
        let all: Vec<_> = (0..6).map(|i| (StepId(format!("b/{i}")), if i < 4 { "one" } else { "two" })).collect();
        let mut s = Schedule::new(all.iter().map(|(id, place)| (id, &[][..], *place)), 2).unwrap();
        let started: Vec<_> = std::iter::from_fn(|| s.start()).collect();
        assert_eq!((started, s.running()), (vec![0, 1, 4, 5], 4));
        s.done(1);
        assert_eq!((s.start(), s.start()), (Some(2), None));
    }

    #[test]
    fn a_failure_skips_what_depends_on_it_and_nothing_else() {
        let mut s = schedule(&[vec![], vec![0], vec![1], vec![]], 1).unwrap();
        assert_eq!(s.start(), Some(0));
        assert_eq!(s.failed(0), [1, 2]);
        assert_eq!((s.start(), s.start()), (Some(3), None));
    }

    #[test]
    fn a_step_with_two_failed_dependencies_is_skipped_once() {
        let mut s = schedule(&[vec![], vec![], vec![0, 1]], 2).unwrap();
        assert_eq!((s.start(), s.start()), (Some(0), Some(1)));
        assert_eq!(s.failed(0), [2]);
        assert!(s.failed(1).is_empty());
    }

    #[test]
    fn after_a_stop_nothing_starts() {
        let mut s = schedule(&[vec![], vec![0], vec![]], 1).unwrap();
        assert_eq!(s.start(), Some(0));
        assert_eq!(s.stop(), [1, 2]);
        s.done(0);
        assert_eq!(s.start(), None);
        assert!(s.stop().is_empty());
    }

    #[test]
    fn a_dependency_named_twice_counts_once() {
        let mut s = schedule(&[vec![], vec![0, 0]], 1).unwrap();
        assert_eq!(s.start(), Some(0));
        s.done(0);
        assert_eq!(s.start(), Some(1));
    }

    #[test]
    fn steps_that_are_no_graph_are_refused() {
        let id = |i: usize| StepId(format!("b/{i}"));
        let unknown = GraphError::Unknown { step: id(0), after: id(7) };
        assert_eq!(schedule(&[vec![7]], 1).unwrap_err(), unknown);
        assert_eq!(schedule(&[vec![0]], 1).unwrap_err(), GraphError::Cycle(vec![id(0)]));
        let cycle = schedule(&[vec![], vec![2, 0], vec![1], vec![2]], 1).unwrap_err();
        assert_eq!(cycle, GraphError::Cycle(vec![id(1), id(2), id(3)]));
        assert!(cycle.to_string().contains("b/1, b/2, b/3"), "{cycle}");
        let twice = [(id(0), vec![]), (id(0), vec![])];
        let twice = Schedule::new(twice.iter().map(|(i, a)| (i, a.as_slice(), "")), 1).unwrap_err();
        assert_eq!(twice, GraphError::Duplicate(id(0)));
    }

    /// Graphs whose steps depend on earlier ones only, in a shuffled order.
    fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
        prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 0..24).prop_flat_map(|raw| {
            let acyclic: Vec<Vec<usize>> = raw
                .iter()
                .enumerate()
                .map(|(i, after)| if i == 0 { vec![] } else { after.iter().map(|a| a.index(i)).collect() })
                .collect();
            let order: Vec<usize> = (0..acyclic.len()).collect();
            Just(order).prop_shuffle().prop_map(move |to| {
                let mut shuffled = vec![vec![]; acyclic.len()];
                for (i, after) in acyclic.iter().enumerate() {
                    shuffled[to[i]] = after.iter().map(|&a| to[a]).collect();
                }
                shuffled
            })
        })
    }

    /// What the world does once everything that may start has started.
    #[derive(Clone, Debug)]
    enum Turn {
        Done(prop::sample::Index),
        Failed(prop::sample::Index),
        Stop,
    }

    fn turns() -> impl Strategy<Value = Vec<Turn>> {
        let turn = prop_oneof![
            12 => any::<prop::sample::Index>().prop_map(Turn::Done),
            2 => any::<prop::sample::Index>().prop_map(Turn::Failed),
            1 => Just(Turn::Stop),
        ];
        prop::collection::vec(turn, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_run_ends_and_keeps_the_order(graph in graphs(), limit in 1_usize..6, turns in turns()) {
            let mut schedule = schedule(&graph, limit).unwrap();
            let mut running: Vec<usize> = Vec::new();
            let mut done = BTreeSet::new();
            let mut bad = BTreeSet::new();
            let mut ends = vec![0; graph.len()];
            let mut stopped = false;
            let mut turns = turns.into_iter();
            loop {
                while let Some(step) = schedule.start() {
                    prop_assert!(!stopped, "{step} started after the stop");
                    prop_assert!(graph[step].iter().all(|d| done.contains(d)), "{step} started too early");
                    prop_assert_eq!(ends[step], 0);
                    running.push(step);
                }
                prop_assert!(running.len() <= limit);
                prop_assert_eq!(running.len(), schedule.running());
                if running.is_empty() {
                    break;
                }
                let skipped = match turns.next() {
                    None => {
                        let step = running.remove(0);
                        ends[step] += 1;
                        done.insert(step);
                        schedule.done(step);
                        vec![]
                    }
                    Some(Turn::Done(i)) => {
                        let step = running.remove(i.index(running.len()));
                        ends[step] += 1;
                        done.insert(step);
                        schedule.done(step);
                        vec![]
                    }
                    Some(Turn::Failed(i)) => {
                        let step = running.remove(i.index(running.len()));
                        ends[step] += 1;
                        bad.insert(step);
                        schedule.failed(step)
                    }
                    Some(Turn::Stop) => {
                        stopped = true;
                        schedule.stop()
                    }
                };
                bad.extend(&skipped);
                for step in skipped {
                    ends[step] += 1;
                    prop_assert!(stopped || graph[step].iter().any(|d| bad.contains(d)), "{step} skipped for nothing");
                }
            }
            prop_assert!(ends.iter().all(|&n| n == 1), "each step ends once: {ends:?}");
            prop_assert_eq!(done.len() + bad.len(), graph.len());
        }

        #[test]
        fn a_graph_with_a_cycle_is_refused(graph in graphs(), at in any::<prop::sample::Index>()) {
            prop_assume!(!graph.is_empty());
            let mut graph = graph;
            let step = at.index(graph.len());
            let on = graph[step].first().copied().unwrap_or(step);
            graph[on].push(step);
            graph[step].push(on);
            prop_assert!(matches!(schedule(&graph, 4), Err(GraphError::Cycle(_))));
        }
    }
}
