//! The plan's `aws:` block.

use super::{
    Aws, AwsAddress, AwsImage, DatabaseAccess, Host, ImageAlias, SubnetRef, Tunnel,
    fields::{Field, Shape, excerpt, near},
    report::{Read, Report},
};
use crate::location::AccountId;

pub(super) const AWS: Shape = Shape {
    what: "`aws`",
    fields: &[
        "region",
        "account",
        "profile",
        "subnet",
        "image",
        "image_update",
        "instance_type",
        "address",
        "database_access",
        "rules_per_group",
    ],
};
/// EC2's default quota for each direction, of IPv4 and of IPv6 ("Amazon VPC quotas", Security groups, in the Amazon VPC User Guide).
const DEFAULT_RULES_PER_GROUP: usize = 60;

pub(super) const SUBNET: Shape = Shape { what: "`subnet`", fields: &["tag"] };
pub(super) const DATABASE_ACCESS: Shape = Shape { what: "a database access", fields: &["security_group", "port"] };

pub(super) fn aws(field: &Field<'_>, report: &mut Report) -> Read<Aws> {
    let block = field.block(&AWS, report)?;
    let region = block.optional("region", report, region);
    let account = block.optional("account", report, account);
    let profile = block.optional("profile", report, profile);
    let subnet = block.required("subnet", report, subnet);
    let image = block.required("image", report, image);
    let image_update = block.optional("image_update", report, |field, report| {
        let update = field.boolean(report)?;
        if update && matches!(image, Ok(AwsImage::Id(_))) {
            let problem = field.problem(report, "an image that cannot be updated", "the image is one fixed ami");
            return Err(report.push(problem.fix("name an alias such as debian-13, or remove `image_update`")));
        }
        Ok(update)
    });
    let instance_type = block.required("instance_type", report, instance_type);
    let address = block.optional("address", report, address);
    let database_access = block.optional("database_access", report, database_access);
    // "The quota for security groups per network interface multiplied by the quota for rules per security group can't exceed 1,000"
    // ("Amazon VPC quotas").
    let rules_per_group = block.optional("rules_per_group", report, |field, report| field.integer(1..=1000, report));
    Ok(Aws {
        region: region?,
        account: account?,
        profile: profile?,
        subnet: subnet?,
        image: image?,
        image_update: image_update?.unwrap_or(false),
        instance_type: instance_type?,
        address: address?.unwrap_or(AwsAddress::Elastic),
        database_access: database_access?.unwrap_or_default(),
        rules_per_group: rules_per_group?.map_or(DEFAULT_RULES_PER_GROUP, |rules| rules as usize),
        // They stand with the users: the reader of the plan adds them.
        prefix_lists: Vec::new(),
    })
}

/// Every target needs a destination for its egress rule: an address, networks, or the database's security group.
pub(super) fn check_egress(aws: &Aws, tunnels: &[Tunnel], report: &mut Report) {
    for (i, tunnel) in tunnels.iter().enumerate() {
        for (j, target) in tunnel.targets.iter().enumerate() {
            let known = matches!(target.host, Host::Address(_))
                || !target.networks.is_empty()
                || aws.database_access.iter().any(|access| access.port == target.port);
            if known {
                continue;
            }
            let path = format!("tunnels[{i}].targets[{j}].host");
            let place = report.fields.get(&path).cloned().unwrap_or_default();
            let problem = report
                .at(&place, "a target without an egress rule", "nothing in the plan says where this name leads")
                .because("The bastion may connect to its targets only, and a security group knows addresses and groups, not names.")
                .fix(format!(
                    "add `{{security_group: sg-..., port: {0}}}` to `aws.database_access`, or `networks: [10.0.0.0/24]` to the target",
                    target.port
                ));
            report.push(problem);
        }
    }
}

/// A tunnel whose signatures the image would refuse all the same.
pub(super) fn check_sha1(aws: &Aws, tunnels: &[Tunnel], report: &mut Report) {
    if !matches!(aws.image, AwsImage::Alias(ImageAlias::AmazonLinux2023)) {
        return;
    }
    for (i, _) in tunnels.iter().enumerate().filter(|(_, tunnel)| tunnel.legacy_rsa_sha1 == Some(true)) {
        let place = report.fields.get(&format!("tunnels[{i}].legacy_rsa_sha1")).cloned().unwrap_or_default();
        let problem = report
            .at(&place, "signatures that the image refuses", "`aws.image` is amazon-linux-2023")
            .because("According to AWS's documentation Amazon Linux 2023 accepts SHA-1 signatures only where its LEGACY crypto policy is set, for all users.")
            .fix("choose a Debian or Ubuntu image");
        report.push(problem);
    }
}

fn region(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    let parts: Vec<&str> = text.split('-').collect();
    let word = |part: &&str| part.len() >= 2 && part.bytes().all(|b| b.is_ascii_lowercase());
    let shaped = match parts.as_slice() {
        [words @ .., number] => words.len() >= 2 && words.iter().all(word) && number.parse::<u8>().is_ok(),
        [] => false,
    };
    if shaped {
        return Ok(text.to_owned());
    }
    let label = format!("`{}` is not a region", excerpt(text));
    let problem = field.problem(report, "not a region", label);
    let is_zone =
        text.strip_suffix(|c: char| c.is_ascii_lowercase()).filter(|rest| rest.ends_with(|c: char| c.is_ascii_digit()));
    Err(report.push(match is_zone {
        Some(region) => problem.fix(format!("this is an availability zone; the region is `{region}`")),
        None => problem.fix("regions are written like us-east-1"),
    }))
}

/// Twelve digits, with or without quotes; what begins with a zero needs them, since YAML 1.1 takes it for an octal number.
fn account(field: &Field<'_>, report: &mut Report) -> Read<AccountId> {
    let scalar = field.scalar("an AWS account: twelve digits", report)?;
    let text = scalar.text.as_str();
    let zero = scalar.plain && text.starts_with('0');
    if let (Some(id), false) = (AccountId::new(text), zero) {
        return Ok(id);
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let grouped = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | ' ' | '_'));
    let label = format!("`{}` is not twelve digits", excerpt(text));
    let (label, fix) = match digits.len() {
        12 if grouped && digits == text => (
            "an account that begins with a zero, without quotes".to_owned(),
            format!("put it in quotes, since YAML versions read leading zeros differently: `account: \"{digits}\"`"),
        ),
        12 if grouped => (label, format!("write the digits only: `account: \"{digits}\"`")),
        1..=11 if digits == text => {
            (label, format!("an account has twelve digits; were zeros lost at its front? `account: \"{digits:0>12}\"`"))
        }
        _ => (label, "`aws sts get-caller-identity --query Account --output text` prints it".to_owned()),
    };
    let problem = field.problem(report, "not an AWS account", label);
    Err(report.push(problem.fix(fix)))
}

fn profile(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    // It is printed with everything that is done in its name.
    let printable = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if (1..=128).contains(&text.len()) && printable && !text.contains(['[', ']']) && text.trim() == text {
        return Ok(text.to_owned());
    }
    let problem = field.problem(report, "not a profile", "this cannot be a profile of the AWS configuration files");
    Err(report.push(problem.fix("a profile's name has at most 128 printable ASCII characters, and no brackets")))
}

/// EC2's ids are a prefix and 8 (older) or 17 hexadecimal digits.
fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

pub(super) fn id(field: &Field<'_>, prefix: &str, what: &str, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    if is_id(text, prefix) {
        return Ok(text.to_owned());
    }
    let label = format!("`{}` is not the id of {what}", excerpt(text));
    let problem = field.problem(report, "not an id", label);
    Err(report.push(problem.fix(format!("an id is `{prefix}` and 8 or 17 hexadecimal digits"))))
}

/// `sg-...`, or `ACCOUNT/sg-...` where the group is in another account, as EC2's console writes it.
fn database_group(field: &Field<'_>, report: &mut Report) -> Read<(Option<String>, String)> {
    let text = field.text(report)?;
    match text.split_once('/') {
        None => Ok((None, id(field, "sg-", "a security group", report)?)),
        Some((account, group)) if AccountId::new(account).is_some() && is_id(group, "sg-") => {
            Ok((Some(account.to_owned()), group.to_owned()))
        }
        Some(_) => {
            let label = format!("`{}` is not an account and a security group", excerpt(text));
            let problem = field.problem(report, "not an id", label);
            Err(report.push(problem.fix("a group of another account is written 123456789012/sg-...")))
        }
    }
}

fn subnet(field: &Field<'_>, report: &mut Report) -> Read<SubnetRef> {
    if !field.is_map() {
        return id(field, "subnet-", "a subnet", report).map(SubnetRef::Id);
    }
    let block = field.block(&SUBNET, report)?;
    let tag = block.require("tag", report)?;
    let tags = tag.entries("one tag", report)?;
    let [(key, _, value)] = tags.as_slice() else {
        let problem = tag.problem(report, "not one tag", format!("there are {} tags here", tags.len()));
        return Err(report.push(problem.fix("name exactly one tag: {tag: {Name: public-a}}")));
    };
    let value = value.text(report)?;
    if key.is_empty() || value.is_empty() {
        let problem = tag.problem(report, "not one tag", "a tag needs a key and a value");
        return Err(report.push(problem));
    }
    Ok(SubnetRef::Tag { key: (*key).to_owned(), value: value.to_owned() })
}

fn image(field: &Field<'_>, report: &mut Report) -> Read<AwsImage> {
    let text = field.text(report)?;
    if text.starts_with("ami-") {
        return id(field, "ami-", "an image", report).map(AwsImage::Id);
    }
    image_alias(field, "the alias of an image, nor an `ami-...`", report).map(AwsImage::Alias)
}

pub(super) fn image_alias(field: &Field<'_>, expected: &str, report: &mut Report) -> Read<ImageAlias> {
    let text = field.text(report)?;
    if let Some((_, alias)) = ImageAlias::ALL.iter().find(|(name, _)| *name == text) {
        return Ok(*alias);
    }
    let label = format!("`{}` is not {expected}", excerpt(text));
    let problem = field.problem(report, "an unknown image", label);
    let names = || ImageAlias::ALL.iter().map(|(name, _)| *name);
    let known = names().collect::<Vec<_>>().join(", ");
    let fix = match near(text, names()) {
        Some(near) => format!("did you mean `{near}`? The aliases are {known}"),
        None => format!("the aliases are {known}"),
    };
    Err(report.push(problem.fix(fix)))
}

fn instance_type(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if text.split_once('.').is_some_and(|(family, size)| part(family) && part(size)) && text.len() <= 64 {
        return Ok(text.to_owned());
    }
    let label = format!("`{}` is not an instance type", excerpt(text));
    let problem = field.problem(report, "not an instance type", label);
    Err(report.push(problem.fix("types are written like t4g.nano")))
}

fn address(field: &Field<'_>, report: &mut Report) -> Read<AwsAddress> {
    let text = field.text(report)?;
    if text == "elastic" {
        return Ok(AwsAddress::Elastic);
    }
    if is_id(text, "eipalloc-") {
        return Ok(AwsAddress::Existing(text.to_owned()));
    }
    let label = format!("`{}` is neither `elastic` nor the id of an allocated address", excerpt(text));
    let problem = field.problem(report, "not an address", label);
    Err(report.push(problem.fix("write `elastic` for a new one, or an existing one's `eipalloc-...`")))
}

fn database_access(field: &Field<'_>, report: &mut Report) -> Read<Vec<DatabaseAccess>> {
    let mut known: Vec<(DatabaseAccess, usize)> = Vec::new();
    field.list(report, |item, report| {
        let block = item.block(&DATABASE_ACCESS, report)?;
        let group = block.required("security_group", report, database_group);
        let port = block.required("port", report, Field::port);
        let (account, security_group) = group?;
        let access = DatabaseAccess { account, security_group, port: port? };
        if let Some((_, line)) = known.iter().find(|(first, _)| *first == access) {
            let problem = item.problem(report, "a database access twice", format!("it already stands on line {line}"));
            return Err(report.push(problem.fix("remove one of them")));
        }
        known.push((access.clone(), report.line(&item.place)));
        Ok(access)
    })
}
