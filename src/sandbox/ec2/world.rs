//! The account: its regions, what makes new ids, how fast things go, and the one door that requests come in by.

use std::{borrow::Cow, collections::BTreeMap, net::Ipv4Addr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    calls::{self, Call},
    form::Form,
    kind::Kind,
    model::{Region, State},
    refusal::{Outcome, Refusal, missing_parameter, refusal, refuse},
    sts,
    trail::{self, Event},
    xml::{Xml, escape},
};
use crate::sandbox::http::{Ask, Reply};

/// The account's number: nobody's, as the documentation's examples have it.
pub const ACCOUNT: &str = "123456789012";
const VERSION: &str = "2016-11-15";
const USUAL_REGION: &str = "us-east-1";

/// An account at EC2.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// Two worlds with the same seed that are asked the same give the same ids and the same stale answers.
    pub seed: u64,
    pub pace: Pace,
    pub quotas: Quotas,
    /// Reads may show the region as it was up to so long ago ("Eventual consistency in the Amazon EC2 API").
    pub lag: Option<Duration>,
    pub regions: BTreeMap<String, Region>,
    /// Ids that were given so far.
    ids: u64,
    /// Public addresses that were given so far.
    addresses: u32,
    /// Calls that came so far.
    calls: u64,
    /// What CloudTrail remembers, oldest first.
    #[serde(default)]
    pub(super) trail: Vec<Event>,
    /// By region, how it was until when, oldest first. Only what `lag` still needs.
    past: BTreeMap<String, Vec<(Timestamp, Region)>>,
}

/// How long EC2 takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// From `pending` to `running`.
    pub start: Duration,
    /// From `stopping` to `stopped`.
    pub stop: Duration,
    /// From `shutting-down` to `terminated`.
    pub end: Duration,
    /// From `terminated` until its interfaces, groups and addresses are free, and its tags gone ("Terminate Amazon EC2 instances").
    pub release: Duration,
    /// How long a terminated instance is told of.
    pub memory: Duration,
    /// How long after its creation a group is unknown to calls that change something.
    #[serde(default)]
    pub settle: Duration,
    /// How long after its creation the tags of what was made are unknown to the caller's policy, which asks for them.
    #[serde(default)]
    pub tags: Duration,
}

/// Of one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    pub addresses: usize,
    pub vpcs: usize,
    pub groups: usize,
    /// Each of inbound and outbound, and each of IPv4 and IPv6.
    pub rules_per_group: usize,
    pub groups_per_interface: usize,
    pub instances: usize,
    /// The account is on the free plan, which runs some types only.
    #[serde(default)]
    pub free_plan: bool,
}

impl Default for Pace {
    /// About what EC2 takes for a small Linux machine.
    fn default() -> Self {
        Self {
            start: Duration::from_secs(8),
            stop: Duration::from_secs(20),
            end: Duration::from_secs(30),
            release: Duration::from_secs(2),
            memory: Duration::from_secs(3600),
            settle: Duration::from_secs(1),
            // Whoever owns an account needs no tag.
            tags: Duration::ZERO,
        }
    }
}

impl Pace {
    /// Everything at once.
    pub fn instant() -> Self {
        let zero = Duration::ZERO;
        Self { start: zero, stop: zero, end: zero, release: zero, settle: zero, ..Self::default() }
    }
}

impl Default for Quotas {
    /// "Amazon VPC quotas" in the Amazon VPC User Guide; of instances, those of 1 vCPU that a new account may run.
    fn default() -> Self {
        Self {
            addresses: 5,
            vpcs: 5,
            groups: 2500,
            rules_per_group: 60,
            groups_per_interface: 5,
            instances: 1000,
            free_plan: false,
        }
    }
}

/// What a call needs beside the region's content.
pub struct Context<'a> {
    pub now: Timestamp,
    pub region: &'a str,
    pub pace: &'a Pace,
    pub quotas: &'a Quotas,
    pub mint: Mint<'a>,
}

/// Makes what is new.
pub struct Mint<'a> {
    seed: u64,
    ids: &'a mut u64,
    addresses: &'a mut u32,
}

impl Mint<'_> {
    pub fn id(&mut self, kind: Kind) -> String {
        self.id_with(kind.prefix())
    }

    /// In no order, as EC2's.
    pub fn id_with(&mut self, prefix: &str) -> String {
        *self.ids = self.ids.wrapping_add(1);
        format!("{prefix}-0{:016x}", mixed(self.seed, *self.ids))
    }

    /// Of a network for benchmarks (RFC 2544), which leads nowhere.
    pub fn address(&mut self) -> Ipv4Addr {
        *self.addresses = self.addresses.wrapping_add(1);
        let [.., high, low] = (*self.addresses % 0xffff + 1).to_be_bytes();
        Ipv4Addr::new(198, 18, high, low)
    }
}

/// SplitMix64.
pub fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub fn later(now: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| now.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

pub fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| now.checked_sub(by).ok()).unwrap_or(Timestamp::MIN)
}

impl World {
    /// An account without anything in it, not even default networks.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The `EC2 query` protocol: `Action` and its parameters in the body or in the query, XML back. Signatures are not checked.
    pub fn answer(&mut self, now: Timestamp, ask: &Ask) -> Reply {
        self.calls = self.calls.wrapping_add(1);
        if let Some(operation) = trail::operation(ask) {
            return self.history(now, ask, operation);
        }
        let request = request_id(self.seed, self.calls);
        if sts::is_asked(ask) {
            return sts::answer(ask, &request);
        }
        match self.call(now, ask) {
            Ok((action, xml, changes)) => {
                let content = xml.into_text();
                if changes {
                    self.remember(now, ask, &action, &content);
                }
                let body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response \
                     xmlns=\"http://ec2.amazonaws.com/doc/{VERSION}/\"><requestId>{request}</requestId>{content}</{action}Response>"
                );
                Reply::text(200, body)
            }
            Err(refusal) => error(&refusal, &request),
        }
        .with("content-type", "text/xml;charset=UTF-8")
        .with("x-amzn-requestid", &request)
    }

    fn call(&mut self, now: Timestamp, ask: &Ask) -> Outcome<(String, Xml, bool)> {
        let mut form = read(ask)?;
        let action = form.text("Action").ok_or_else(|| refusal("MissingAction", "The request names no Action"))?;
        let version = form.text("Version").ok_or_else(|| missing_parameter("Version"))?;
        let Some(call) = calls::find(&action) else {
            return refuse(
                "InvalidAction",
                format!(
                    "The action {action} is not valid for this web service: EC2 has none of this name, or this sandbox does \
                     not know it"
                ),
            );
        };
        if version != VERSION {
            return refuse(
                "NoSuchVersion",
                format!("The requested version ({version}) is not supported: {VERSION} is"),
            );
        }
        let dry = form.flag("DryRun")? == Some(true);
        let region = region_of(ask);
        self.advance(now);
        if dry {
            return Err(Refusal {
                status: 412,
                code: "DryRunOperation".to_owned(),
                message: "Request would have succeeded, but DryRun flag is set.".to_owned(),
            });
        }
        let changes = matches!(call, Call::Write(_));
        let xml = match call {
            Call::Read(read) => {
                let (region_then, then) = self.look(&region, now);
                let mut spare = (0, 0);
                let mint = Mint { seed: self.seed, ids: &mut spare.0, addresses: &mut spare.1 };
                let context = Context { now: then, region: &region, pace: &self.pace, quotas: &self.quotas, mint };
                read(&region_then, &context, form)?
            }
            Call::Write(write) => self.change(&region, now, |region, context| write(region, context, form))?,
        };
        Ok((action, xml, changes))
    }

    /// Changes a region wholly, or not at all.
    pub(super) fn change<T>(
        &mut self,
        name: &str,
        now: Timestamp,
        act: impl FnOnce(&mut Region, &mut Context<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut after = self.regions.get(name).cloned().unwrap_or_default();
        let mint = Mint { seed: self.seed, ids: &mut self.ids, addresses: &mut self.addresses };
        let mut context = Context { now, region: name, pace: &self.pace, quotas: &self.quotas, mint };
        let done = act(&mut after, &mut context)?;
        let before = self.regions.insert(name.to_owned(), after);
        self.keep(name, now, before.unwrap_or_default());
        Ok(done)
    }

    fn keep(&mut self, region: &str, until: Timestamp, before: Region) {
        if let Some(lag) = self.lag {
            let past = self.past.entry(region.to_owned()).or_default();
            past.retain(|(end, _)| *end >= earlier(until, lag));
            past.push((until, before));
        }
    }

    /// The region as a read sees it, and when that was.
    fn look(&self, name: &str, now: Timestamp) -> (Cow<'_, Region>, Timestamp) {
        static NOTHING: Region = Region::EMPTY;
        let age = self.lag.map_or(0, |lag| {
            let most = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
            mixed(self.seed ^ 0x1a6, self.calls) % most
        });
        let then = earlier(now, Duration::from_millis(age));
        let past = self.past.get(name).into_iter().flatten();
        // The first that lasted beyond that moment is what was there then.
        let old = past.filter(|_| age > 0).find(|(end, _)| *end > then).map(|(_, region)| region);
        (Cow::Borrowed(old.or_else(|| self.regions.get(name)).unwrap_or(&NOTHING)), then)
    }

    /// What time alone does: parts of terminated instances are freed, and in the end the instances forgotten.
    pub fn advance(&mut self, now: Timestamp) {
        let mut before = Vec::new();
        for (name, region) in &mut self.regions {
            let due = |i: &super::model::Instance| {
                i.state(now) == State::Terminated
                    && (now >= later(i.since(now), self.pace.memory)
                        || (!i.cleared && now >= later(i.since(now), self.pace.release)))
            };
            let ids: Vec<String> = region.instances.iter().filter(|(_, i)| due(i)).map(|(id, _)| id.clone()).collect();
            if ids.is_empty() {
                continue;
            }
            if self.lag.is_some() {
                before.push((name.clone(), region.clone()));
            }
            for id in ids {
                region.clear(&id);
                let forget = region.instances.get(&id).is_some_and(|i| now >= later(i.since(now), self.pace.memory));
                if forget {
                    region.instances.remove(&id);
                }
            }
        }
        for (name, region) in before {
            self.keep(&name, now, region);
        }
    }
}

impl Region {
    pub(super) const EMPTY: Self = Self {
        vpcs: BTreeMap::new(),
        subnets: BTreeMap::new(),
        gateways: BTreeMap::new(),
        route_tables: BTreeMap::new(),
        acls: BTreeMap::new(),
        groups: BTreeMap::new(),
        addresses: BTreeMap::new(),
        instances: BTreeMap::new(),
        interfaces: BTreeMap::new(),
        volumes: BTreeMap::new(),
        images: BTreeMap::new(),
        tokens: BTreeMap::new(),
        prefix_lists: BTreeMap::new(),
        dhcp_options: BTreeMap::new(),
        peerings: BTreeMap::new(),
        public_access_block: None,
        public_access_exclusions: BTreeMap::new(),
    };

    /// Frees what an ended instance had.
    fn clear(&mut self, instance: &str) {
        let ends = |attachment: &Option<super::model::Attachment>| {
            attachment.as_ref().is_some_and(|a| a.instance == instance && a.ends_with_instance)
        };
        let mine =
            |attachment: &Option<super::model::Attachment>| attachment.as_ref().is_some_and(|a| a.instance == instance);
        let interfaces: Vec<String> =
            self.interfaces.iter().filter(|(_, i)| mine(&i.attachment)).map(|(id, _)| id.clone()).collect();
        for address in self.addresses.values_mut() {
            if address.association.as_ref().is_some_and(|a| interfaces.contains(&a.interface)) {
                address.association = None;
            }
        }
        self.interfaces.retain(|_, i| !ends(&i.attachment));
        self.volumes.retain(|_, v| !ends(&v.attachment));
        let left = self.interfaces.values_mut().map(|i| &mut i.attachment);
        for attachment in left.chain(self.volumes.values_mut().map(|v| &mut v.attachment)) {
            if mine(attachment) {
                *attachment = None;
            }
        }
        if let Some(instance) = self.instances.get_mut(instance) {
            instance.cleared = true;
            instance.tags.clear();
        }
    }
}

pub(super) fn read(ask: &Ask) -> Outcome<Form> {
    match ask.method.as_str() {
        "GET" => Form::read(ask.query.iter().cloned()),
        "POST" => {
            let body = form_urlencoded::parse(&ask.body);
            Form::read(ask.query.iter().cloned().chain(body.into_owned()))
        }
        method => refuse("MalformedQueryString", format!("EC2 is asked with GET and POST, not with {method}")),
    }
}

/// `AWS4-HMAC-SHA256 Credential=AKID/20260811/eu-west-1/ec2/aws4_request, …`
pub fn region_of(ask: &Ask) -> String {
    let scope = ask.header("authorization").and_then(|header| header.split("Credential=").nth(1));
    let scope = scope.or_else(|| ask.query("X-Amz-Credential"));
    let region = scope.and_then(|scope| scope.split('/').nth(2)).filter(|region| !region.is_empty());
    region.unwrap_or(USUAL_REGION).to_owned()
}

fn request_id(seed: u64, call: u64) -> String {
    let (a, b) = (mixed(seed ^ 0x5eed, call), mixed(seed ^ 0xcafe, call));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

/// "Example error response" in the Amazon EC2 API Reference.
pub fn error(refusal: &Refusal, request: &str) -> Reply {
    let mut message = String::new();
    escape(&mut message, &refusal.message);
    let code = &refusal.code;
    Reply::text(
        refusal.status,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message>\
             </Error></Errors><RequestID>{request}</RequestID></Response>"
        ),
    )
}
