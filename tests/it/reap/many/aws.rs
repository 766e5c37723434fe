//! Hundreds of bastions in ten regions: `GANGPLANK_TEST_BASTIONS=1000` makes it a thousand, which takes a debug build a minute.

use std::{collections::BTreeMap, env};

use gangplank::{
    execute,
    provider::estate::Places,
    sandbox::{
        call::Call,
        cloud::State,
        ec2::{self, DATABASE_GROUP, Pace, SUBNET, World},
        http::{Ask, Reply},
    },
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{FUTURE, NOW, PAST, Reaper};

const REGIONS: [&str; 10] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ca-central-1",
    "eu-central-1",
    "eu-west-1",
    "eu-west-2",
    "us-east-1",
    "us-east-2",
    "us-west-2",
];

const BASTIONS: usize = 150;

/// A region of a world, as somebody builds in it.
struct Builder<'a> {
    world: &'a mut World,
    region: &'a str,
    image: String,
}

/// What somebody makes: gangplank, or somebody else who calls it so.
struct Made<'a> {
    called: String,
    owner: Option<&'a str>,
    expires: &'a str,
}

impl<'a> Builder<'a> {
    fn new(world: &'a mut World, region: &'a str) -> Self {
        world.settle_company(region);
        let mut builder = Self { world, region, image: String::new() };
        let images =
            builder.call("DescribeImages", &[("Filter.1.Name", "name"), ("Filter.1.Value.1", "debian-13-arm64-*")]);
        builder.image = told(&images, "imageId");
        builder
    }

    fn call(&mut self, action: &str, fields: &[(&str, &str)]) -> String {
        let usual = [("Action", action), ("Version", "2016-11-15")];
        let mut form = form_urlencoded::Serializer::new(String::new());
        let body = form.extend_pairs(usual.iter().chain(fields)).finish().into_bytes();
        let signed = format!("AWS4-HMAC-SHA256 Credential=AKIA/20261122/{}/ec2/aws4_request", self.region);
        let headers = BTreeMap::from([("authorization".to_owned(), signed)]);
        let ask = Ask { method: "POST".to_owned(), path: "/".to_owned(), headers, body, ..Ask::default() };
        let reply = self.world.answer(NOW.parse().expect("a time"), &ask);
        let text = String::from_utf8(reply.body).expect("text");
        assert_eq!(reply.status, 200, "{action} {fields:?}\n{text}");
        text
    }

    /// A call that makes something with tags.
    fn create(&mut self, action: &str, kind: &str, made: &Made<'_>, fields: &[(&str, &str)]) -> String {
        let mut all = vec![("TagSpecification.1.ResourceType", kind), ("TagSpecification.1.Tag.1.Key", "Name")];
        all.push(("TagSpecification.1.Tag.1.Value", &made.called));
        if let Some(owner) = made.owner {
            all.push(("TagSpecification.1.Tag.2.Key", "gangplank:bastion"));
            all.push(("TagSpecification.1.Tag.2.Value", owner));
            all.push(("TagSpecification.1.Tag.3.Key", "gangplank:expires"));
            all.push(("TagSpecification.1.Tag.3.Value", made.expires));
            all.push(("TagSpecification.1.Tag.4.Key", "gangplank:boot"));
            all.push(("TagSpecification.1.Tag.4.Value", "document=0123456789ab system=0123456789ab"));
        }
        self.call(action, &[&all[..], fields].concat())
    }

    /// Everything that a bastion has.
    fn bastion(&mut self, made: &Made<'_>) {
        let (vpc, image) =
            (told(&self.call("DescribeSubnets", &[("SubnetId.1", SUBNET)]), "vpcId"), self.image.clone());
        let group = [("GroupName", &*made.called), ("GroupDescription", "x"), ("VpcId", &vpc)];
        let group = told(&self.create("CreateSecurityGroup", "security-group", made, &group), "groupId");
        let address = told(&self.create("AllocateAddress", "elastic-ip", made, &[("Domain", "vpc")]), "allocationId");
        let words = made.owner.map_or("theirs".to_owned(), |owner| format!("gangplank:{owner} port 5432"));
        let rule = [
            ("GroupId", DATABASE_GROUP),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "5432"),
            ("IpPermissions.1.ToPort", "5432"),
            ("IpPermissions.1.Groups.1.GroupId", &group),
            ("IpPermissions.1.Groups.1.Description", &words),
        ];
        self.create("AuthorizeSecurityGroupIngress", "security-group-rule", made, &rule);
        let machine = [
            ("ImageId", &*image),
            ("InstanceType", "t4g.nano"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SubnetId", SUBNET),
            ("SecurityGroupId.1", &group),
        ];
        let machine = told(&self.create("RunInstances", "instance", made, &machine), "instanceId");
        self.call("AssociateAddress", &[("AllocationId", &address), ("InstanceId", &machine)]);
    }
}

/// What the first element of a name says.
fn told(xml: &str, name: &str) -> String {
    let rest = xml.split_once(&format!("<{name}>")).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split('<').next()).unwrap_or_else(|| panic!("no {name}: {xml}")).to_owned()
}

/// In each region so many bastions that are due, one that is not, and two things of others that look like ours.
fn worlds(each: usize) -> State {
    let mut worlds = State::company();
    worlds.ec2 = World::seeded(1);
    worlds.ec2.pace = Pace::instant();
    worlds.ec2.quotas.addresses = each + 10;
    worlds.ec2.quotas.rules_per_group = each + 10;
    for region in REGIONS {
        let mut builder = Builder::new(&mut worlds.ec2, region);
        for n in 0..each {
            let name = format!("due-{n:03}");
            builder.bastion(&Made { called: format!("gangplank-{name}"), owner: Some(&name), expires: PAST });
        }
        builder.bastion(&Made { called: "gangplank-current".to_owned(), owner: Some("current"), expires: FUTURE });
        builder.bastion(&Made { called: "gangplank-nobodys".to_owned(), owner: None, expires: PAST });
        // Called as one that is due, and another's by its tag.
        builder.bastion(&Made { called: "gangplank-due-000-twin".to_owned(), owner: Some("current"), expires: FUTURE });
    }
    // From here on it takes its time.
    worlds.ec2.pace = Pace::default();
    worlds
}

/// EC2 counts calls of each kind in each region ("Request throttling for the Amazon EC2 API"): a bucket of 50 that gets 5 a second,
/// which is the page's least for calls that change something, and of 100 that gets 20 for those that do not.
struct Buckets {
    left: BTreeMap<(String, String), (f64, Timestamp)>,
}

impl Buckets {
    fn refuses(&mut self, call: &Call) -> Option<Reply> {
        let (size, rate) = if call.write { (50.0, 5.0) } else { (100.0, 20.0) };
        let (left, at) = self.left.entry((call.place.clone(), call.operation.clone())).or_insert((size, call.time));
        *left = (*left + rate * call.time.duration_since(*at).as_secs_f64()).min(size);
        *at = call.time;
        if *left >= 1.0 {
            *left -= 1.0;
            return None;
        }
        let mut reply = ec2::refuse("RequestLimitExceeded", "Request limit exceeded.");
        reply.status = 503;
        Some(reply)
    }
}

/// So many in each of the ten regions.
async fn reap(each: usize) {
    let began = std::time::Instant::now();
    let worlds = worlds(each);
    let built = began.elapsed();
    let regions = REGIONS.map(str::to_owned).to_vec();
    let places = Places { regions: Some(regions), ..Places::default() };
    let mut buckets = Buckets { left: BTreeMap::new() };
    let reaper = Reaper::new(worlds, places, str::to_owned, Box::new(move |call| buckets.refuses(call))).await;
    let foreign = reaper.sandbox.change(|worlds, _| foreign(&worlds.ec2));

    let sight = reaper.look().await;
    let looked = reaper.counted();
    for region in REGIONS {
        // Whose account it is, is asked once, wherever that is.
        let looks = looked.calls.iter().filter(|((place, call), _)| place == region && call != "GetCallerIdentity");
        let calls = looks.map(|(_, count)| count).sum::<usize>();
        // One of them asks who has launched the machine that carries a bastion's tag and is not its own, one for the machines in groups that
        // are called as bastions' and whose bastions have none, and one for all that is in such groups.
        assert_eq!(calls, 9, "{region}: {looked:#?}");
    }
    assert_eq!((looked.all(), looked.throttled), (9 * REGIONS.len() + 1, 0));
    let due = reaper.due(&sight);
    assert_eq!(due.len(), each * REGIONS.len());
    // One that stays, and two whose machines stand in groups of a bastion's name and are not proven to be its own.
    assert_eq!(sight.found.len(), due.len() + 3 * REGIONS.len());

    let (began, virtually) = (std::time::Instant::now(), Instant::now());
    reaper.destroy(&due).await;
    let (virtually, really) = (virtually.elapsed(), began.elapsed());
    let calls = reaper.counted();
    println!(
        "{} bastions in {} regions: built in {built:.1?}, taken away in {really:.1?}, {} s of the cloud's\n{} calls, told to \
         slow down {} times: {:#?}",
        due.len(),
        REGIONS.len(),
        virtually.as_secs(),
        calls.all(),
        calls.throttled,
        calls.by_operation(),
    );
    for region in REGIONS {
        // One call ends as many machines as are at it at once, and one look serves all that wait.
        let rounds = each.div_ceil(execute::IN_FLIGHT);
        assert!(calls.of(region, "TerminateInstances") <= 2 * rounds, "{region}: {calls:#?}");
        assert!(calls.of(region, "DescribeInstances") <= 30 * rounds, "{region}: {calls:#?}");
        // What a bastion has of its own takes a call each, and one or two more while EC2 still holds it.
        for operation in ["ReleaseAddress", "RevokeSecurityGroupIngress", "DeleteSecurityGroup"] {
            assert!((each..=3 * each).contains(&calls.of(region, operation)), "{region}: {calls:#?}");
        }
    }

    let left = reaper.look().await;
    let names: Vec<&str> = left.found.iter().map(|(found, _)| found.bastion.as_str()).collect();
    assert_eq!(names, ["current", "due-000-twin", "nobodys"].repeat(REGIONS.len()));
    assert_eq!(reaper.sandbox.change(|worlds, _| self::foreign(&worlds.ec2)), foreign);
}

/// Everything that is not due, by its id, as it is; without the rules of those that are due in the databases' groups.
fn foreign(world: &World) -> Vec<String> {
    let mut told = Vec::new();
    let stays = |tags: &BTreeMap<String, String>| !tags.get("gangplank:bastion").is_some_and(|b| b.starts_with("due-"));
    for (name, region) in &world.regions {
        let groups = region.groups.iter().filter(|(_, g)| stays(&g.tags)).map(|(id, group)| {
            let mut group = group.clone();
            group.rules.retain(|_, rule| stays(&rule.tags));
            format!("{name} {id} {group:?}")
        });
        told.extend(groups);
        told.extend(
            region.addresses.iter().filter(|(_, a)| stays(&a.tags)).map(|(id, a)| format!("{name} {id} {a:?}")),
        );
        told.extend(
            region
                .instances
                .iter()
                .filter(|(_, i)| !i.cleared && stays(&i.tags))
                .map(|(id, i)| format!("{name} {id} {i:?}")),
        );
    }
    told
}

#[tokio::test(start_paused = true)]
async fn bastions_in_ten_regions_go_in_a_bounded_number_of_calls() {
    let all = env::var("GANGPLANK_TEST_BASTIONS").map_or(BASTIONS, |text| text.parse().expect("a number"));
    reap(all / REGIONS.len()).await;
}
