//! Text → [`Plan`]: pure, and every problem of the file at once.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Cloud, Deadline, KeyUpdates, MaxStartups, Name, Origin, Plan, Ssh,
    aws::{aws, check_egress, check_sha1},
    azure::{azure, check_name, check_port},
    fields::{Block, Field, Shape, excerpt},
    net,
    report::{Read, Report},
    tags::{self, Bearer, tags},
    time, tree,
    tunnel::{Census, operator, tunnel},
};
use crate::diagnostic::{Diagnostics, Source};

pub(super) const PLAN: Shape = Shape {
    what: "a plan",
    fields: &[
        "version",
        "name",
        "lifetime",
        "expires",
        "tags",
        "aws",
        "azure",
        "ssh",
        "key_updates",
        "tunnels",
        "operators",
    ],
};
pub(super) const SSH: Shape = Shape { what: "`ssh`", fields: &["port", "max_sessions", "max_startups", "open_files"] };

/// Reads and checks one plan.
///
/// # Errors
///
/// Every problem of the file, in the order of the file, each with its place.
pub fn read(source: Arc<Source>) -> Result<Plan, Diagnostics> {
    let mut report = Report::new(source);
    let text = Arc::clone(report.source());
    let root = tree::parse(&text.text, &mut report);
    report.report_secrets();
    let plan = root.and_then(|root| plan(&Field::root(&root), &mut report));
    match plan {
        Ok(plan) if report.is_clean() => Ok(Plan { origin: Origin { source: text, fields: report.fields }, ..plan }),
        _ => Err(report.into_problems()),
    }
}

fn plan(root: &Field<'_>, report: &mut Report) -> Read<Plan> {
    let block = root.block(&PLAN, report)?;
    let version = block.required("version", report, version);
    let name = block.required("name", report, name);
    let deadline = deadline(&block, report);
    let key_updates = block.optional("key_updates", report, key_updates);
    let bearer = match (block.get("aws"), block.get("azure")) {
        (None, Some(_)) => Bearer::Azure,
        _ if matches!(key_updates, Ok(Some(KeyUpdates::Replace)) | Err(_)) && matches!(deadline, Ok(None) | Err(_)) => {
            Bearer::Ec2
        }
        _ => Bearer::Ec2Metadata,
    };
    let tags = block.optional("tags", report, |field, report| tags(field, bearer, report));
    let ssh = block.optional("ssh", report, ssh);
    let mut census = Census::default();
    let tunnels = block.required("tunnels", report, |field, report| {
        let tunnels = field.list(report, |item, report| tunnel(item, &mut census, report))?;
        if tunnels.is_empty() {
            let problem = field.problem(report, "a plan without a tunnel", "the list is empty");
            return Err(report.push(problem.fix("describe at least one tunnel; `gangplank init` shows how")));
        }
        Ok(tunnels)
    });
    let operators = block.optional("operators", report, |field, report| {
        field.list(report, |item, report| operator(item, &mut census, report))
    });
    let exposure = net::judge(&census.sources, report);
    let mut cloud = cloud(&block, report);
    let allowed = match (block.get("name"), &name, bearer) {
        (Some(field), Ok(name), Bearer::Azure) => check_name(field, name, report),
        _ => Ok(()),
    };
    if let (Ok(Cloud::Aws(aws)), Ok(tunnels)) = (&cloud, &tunnels) {
        check_egress(aws, tunnels, report);
        check_sha1(aws, tunnels, report);
    }
    if let (Ok(Cloud::Azure(azure)), Ok(Some(ssh))) = (&cloud, &ssh) {
        check_port(azure, ssh.port, report);
    }
    if let Ok(Cloud::Azure(_)) = &cloud {
        for (list, place) in &census.lists {
            let label = format!("{} is a list that AWS keeps", list.id);
            let problem = report.at(place, "a prefix list in a plan for Azure", label);
            report.push(problem.fix("list the addresses themselves"));
        }
    }
    if let Ok(Cloud::Aws(aws)) = &mut cloud {
        aws.prefix_lists = census.lists.into_iter().map(|(list, _)| list).collect();
    }
    version?;
    exposure?;
    allowed?;
    let plan = Plan {
        name: name?,
        deadline: deadline?,
        tags: tags?.unwrap_or_default(),
        ssh: ssh?.unwrap_or_default(),
        key_updates: key_updates?.unwrap_or_default(),
        tunnels: tunnels?,
        operators: operators?.unwrap_or_default(),
        cloud: cloud?,
        origin: Origin { source: Arc::clone(report.source()), fields: BTreeMap::new() },
    };
    tags::check_room(&plan, report)?;
    Ok(plan)
}

fn key_updates(field: &Field<'_>, report: &mut Report) -> Read<KeyUpdates> {
    let text = field.text(report)?;
    if let Some((_, updates)) = KeyUpdates::ALL.iter().find(|(name, _)| *name == text) {
        return Ok(*updates);
    }
    let label = format!("`{}` is neither `live` nor `replace`", excerpt(text));
    let problem = field.problem(report, "an unknown way of key updates", label);
    Err(report.push(problem.fix("write `live` (the running machine takes new keys) or `replace` (a new machine does)")))
}

fn version(field: &Field<'_>, report: &mut Report) -> Read<()> {
    match field.integer(0..=u32::MAX, report)? {
        1 => Ok(()),
        other => {
            let problem =
                field.problem(report, "an unknown version", format!("this gangplank reads version 1, not {other}"));
            Err(report.push(problem.fix("write `version: 1`, or use a gangplank that knows this version")))
        }
    }
}

fn name(field: &Field<'_>, report: &mut Report) -> Read<Name> {
    let text = field.text(report)?;
    Name::new(text).ok_or_else(|| {
        let label = format!("`{}` cannot name a bastion", excerpt(text));
        let problem = field.problem(report, "not a name", label);
        report.push(problem.fix("use 3 to 32 of a-z, 0-9 and `-`, beginning with a letter and not ending with `-`"))
    })
}

fn deadline(block: &Block<'_>, report: &mut Report) -> Read<Option<Deadline>> {
    let lifetime = block.optional("lifetime", report, time::lifetime);
    let expires = block.optional("expires", report, time::expires);
    if let (Some(_), Some(second)) = (block.get("lifetime"), block.get("expires")) {
        let problem = second.problem(report, "two deadlines", "`lifetime` already says when the bastion ends");
        return Err(report.push(problem.fix("keep `lifetime` or `expires`")));
    }
    Ok(lifetime?.map(Deadline::Lifetime).or(expires?.map(Deadline::Expires)))
}

fn cloud(block: &Block<'_>, report: &mut Report) -> Read<Cloud> {
    match (block.get("aws"), block.get("azure")) {
        (Some(field), None) => aws(field, report).map(Cloud::Aws),
        (None, Some(field)) => azure(field, report).map(Cloud::Azure),
        (Some(aws), Some(azure)) => {
            let later = if aws.place.start < azure.place.start { azure } else { aws };
            let problem = later.problem(report, "two clouds", "a plan describes one bastion, in one cloud");
            Err(report.push(problem.fix("move one of `aws` and `azure` to a plan of its own")))
        }
        (None, None) => {
            let problem = report.at(block.place(), "a field is missing", "a plan needs `aws` or `azure`");
            Err(report.push(problem.fix("`gangplank init aws` and `gangplank init azure` show what stands there")))
        }
    }
}

fn ssh(field: &Field<'_>, report: &mut Report) -> Read<Ssh> {
    let defaults = Ssh::default();
    let block = field.block(&SSH, report)?;
    let port = block.optional("port", report, Field::port);
    let max_sessions = block.optional("max_sessions", report, |field, report| field.integer(1..=10_000, report));
    let max_startups = block.optional("max_startups", report, max_startups);
    // The upper bound is the kernel's usual fs.nr_open.
    let open_files = block.optional("open_files", report, |field, report| field.integer(1024..=1_048_576, report));
    Ok(Ssh {
        port: port?.unwrap_or(defaults.port),
        max_sessions: max_sessions?.unwrap_or(defaults.max_sessions),
        max_startups: max_startups?.unwrap_or(defaults.max_startups),
        open_files: open_files?.unwrap_or(defaults.open_files),
    })
}

fn max_startups(field: &Field<'_>, report: &mut Report) -> Read<MaxStartups> {
    let text = &field.scalar("a text like \"50:30:200\"", report)?.text;
    let parts: Vec<Option<u32>> = text
        .split(':')
        .map(|part| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten())
        .collect();
    if let [Some(start), Some(rate), Some(full)] = parts.as_slice()
        && (1..=*full).contains(start)
        && (1..=100).contains(rate)
        && *full <= 10_000
    {
        return Ok(MaxStartups { start: *start, rate: *rate, full: *full });
    }
    let label = format!("`{}` is not start:rate:full", excerpt(text));
    let problem = field.problem(report, "not a MaxStartups value", label).because(
        "From `start` unauthenticated connections on, sshd refuses `rate` percent of new ones, and all of them at `full`.",
    );
    Err(report.push(problem.fix("write three numbers like \"50:30:200\": 1 to full, 1 to 100, up to 10000")))
}
