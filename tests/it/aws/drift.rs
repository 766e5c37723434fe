//! What happens to a bastion behind gangplank's back, and what an interrupted or concurrent run leaves.

use gangplank::{
    provider::aws::{
        observed::{ElasticIp, Group, Instance, InstanceState, MetadataOptions},
        rule::{Peer, Protocol, Rule},
    },
    tags::{self, BASTION},
};
use proptest::prelude::*;

use super::{
    plans::{BASTION_NAME, MARK, publish},
    world::World,
};

#[derive(Clone, Copy, Debug)]
pub enum Drift {
    OpenToTheWorld,
    OpenToOne,
    CloseIngress,
    CloseEgress,
    OpenEgress,
    CloseDatabase,
    Terminate,
    /// By itself, with its address still pointing to it for a while.
    TerminateButKeepTheAddress,
    Stop,
    WeakenMetadata,
    /// A tag of ours, by its position. What says whose the machine is is not among them; nor is the end's, which alone remembers
    /// how the machine shuts down.
    DropTag(usize),
    DropUserTag,
    PostponeTheEnd,
    ForeignGroup,
    Disassociate,
    Release,
    SecondAddress,
    SecondInstance,
    NewImage,
}

const TAGS: [&str; 4] = [tags::LIFETIME, tags::IMAGE, tags::SUBNET, tags::NAME];

/// The source that drift opens to, and that no plan lists.
pub const INTRUDER: &str = "192.0.2.200/32";

pub fn drifts() -> impl Strategy<Value = Vec<Drift>> {
    let one = prop_oneof![
        prop::sample::select(vec![
            Drift::OpenToTheWorld,
            Drift::OpenToOne,
            Drift::CloseIngress,
            Drift::CloseEgress,
            Drift::OpenEgress,
            Drift::CloseDatabase,
            Drift::Terminate,
            Drift::TerminateButKeepTheAddress,
            Drift::Stop,
            Drift::WeakenMetadata,
            Drift::DropUserTag,
            Drift::PostponeTheEnd,
            Drift::ForeignGroup,
            Drift::Disassociate,
            Drift::Release,
            Drift::SecondAddress,
            Drift::SecondInstance,
            Drift::NewImage,
        ]),
        (0..TAGS.len()).prop_map(Drift::DropTag),
    ];
    prop::collection::vec(one, 0..4)
}

pub fn disturb(world: &mut World, drift: Drift) {
    match drift {
        Drift::OpenToTheWorld => {
            if let Some(group) = group(world) {
                let everywhere = Peer::Net("0.0.0.0/0".parse().expect("a network"));
                group.ingress.insert(Rule { protocol: Protocol::All, peer: everywhere }, "temporary".to_owned());
            }
        }
        Drift::OpenToOne => {
            if let Some(group) = group(world) {
                group.ingress.insert(Rule::tcp(22, Peer::Net(INTRUDER.parse().expect("a network"))), String::new());
            }
        }
        Drift::CloseIngress => _ = group(world).and_then(|g| g.ingress.pop_first()),
        Drift::CloseEgress => _ = group(world).and_then(|g| g.egress.pop_last()),
        Drift::OpenEgress => {
            if let Some(group) = group(world) {
                let rule = Rule::default_egress(false).remove(0);
                group.egress.insert(rule, String::new());
            }
        }
        Drift::CloseDatabase => {
            for group in &mut world.all.groups {
                group.ingress.retain(|_, description| !description.starts_with(MARK));
            }
        }
        Drift::Terminate => {
            if let Some(id) = instance(world).map(|i| i.id.clone()) {
                world.terminate(&id).expect("it exists");
            }
        }
        Drift::TerminateButKeepTheAddress => {
            if let Some(instance) = instance(world) {
                instance.state = InstanceState::Terminated;
                instance.groups.clear();
            }
        }
        Drift::Stop => {
            if let Some(instance) = instance(world) {
                instance.state = InstanceState::Stopped;
            }
        }
        Drift::WeakenMetadata => {
            if let Some(instance) = instance(world) {
                instance.metadata =
                    MetadataOptions { enabled: false, tokens_required: false, hop_limit: 64, tags: false };
            }
        }
        Drift::DropTag(which) => {
            if let Some(instance) = instance(world) {
                instance.tags.remove(TAGS[which]);
            }
        }
        Drift::DropUserTag => {
            if let Some(group) = group(world) {
                group.tags.remove("team");
            }
        }
        Drift::PostponeTheEnd => {
            if let Some(instance) = instance(world).filter(|i| i.tags.contains_key(tags::EXPIRES)) {
                instance.tags.insert(tags::EXPIRES.to_owned(), "2099-01-01T00:00:00Z".to_owned());
            }
        }
        Drift::ForeignGroup => {
            if let Some(instance) = instance(world).filter(|i| i.vpc == "vpc-1") {
                instance.groups.push("sg-000000d1".to_owned());
            }
        }
        Drift::Disassociate => {
            if let Some(id) = instance(world).map(|i| i.id.clone()) {
                world.disassociate(&id);
            }
        }
        Drift::Release => {
            world.all.addresses.retain(|a| a.tags.get(BASTION).is_none_or(|owner| owner != BASTION_NAME));
        }
        Drift::SecondAddress => {
            let allocation = world.id("eipalloc");
            let tags = [(BASTION.to_owned(), BASTION_NAME.to_owned())].into();
            world.all.addresses.push(ElasticIp {
                counts: true,
                border_group: None,
                allocation,
                ip: "203.0.113.230".parse().ok(),
                attached: None,
                tags,
            });
        }
        Drift::SecondInstance => {
            if let Some(twin) = instance(world).map(|i| i.clone()) {
                let id = world.id("i");
                let terminates = world.terminates_on_shutdown.get(&twin.id).copied();
                world.terminates_on_shutdown.extend(terminates.map(|terminates| (id.clone(), terminates)));
                world.all.instances.push(Instance { id, ..twin });
            }
        }
        Drift::NewImage => publish(world),
    }
}

/// One of our instances that are there.
fn instance(world: &mut World) -> Option<&mut Instance> {
    let ours = |i: &&mut Instance| i.tags.get(BASTION).is_some_and(|owner| owner == BASTION_NAME) && i.state.is_there();
    world.all.instances.iter_mut().find(ours)
}

fn group(world: &mut World) -> Option<&mut Group> {
    world.all.groups.iter_mut().find(|g| g.tags.get(BASTION).is_some_and(|owner| owner == BASTION_NAME))
}
