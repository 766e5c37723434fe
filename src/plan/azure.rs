//! The plan's `azure:` block. Names follow Azure's "Naming rules and restrictions for Azure resources".

use ipnet::IpNet;

use super::{
    Azure, AzureNetwork, Edge, FirewallSku, ImageAlias, Name, ResourceGroup,
    aws::image_alias,
    fields::{Block, Field, Shape, excerpt},
    net,
    report::{Read, Report},
    tunnel::choice,
};

pub(super) const AZURE: Shape = Shape {
    what: "`azure`",
    fields: &["subscription", "location", "resource_group", "network", "edge", "size", "image"],
};
pub(super) const RESOURCE_GROUP: Shape = Shape { what: "`resource_group`", fields: &["existing"] };
pub(super) const NETWORK: Shape = Shape {
    what: "`network`",
    fields: &["address_space", "bastion_subnet", FIREWALL_SUBNET, MANAGEMENT_SUBNET, PEER_WITH, "existing", "subnet"],
};
const FIREWALL_SUBNET: &str = "firewall_subnet";
const MANAGEMENT_SUBNET: &str = "firewall_management_subnet";
const PEER_WITH: &str = "peer_with";
pub(super) const EDGE: Shape = Shape { what: "`edge`", fields: &["firewall"] };
pub(super) const FIREWALL: Shape = Shape { what: "`firewall`", fields: &["sku", "existing", "policy"] };

pub(super) const SKUS: [(&str, FirewallSku); 3] =
    [("basic", FirewallSku::Basic), ("standard", FirewallSku::Standard), ("premium", FirewallSku::Premium)];

pub(super) fn azure(field: &Field<'_>, report: &mut Report) -> Read<Azure> {
    let block = field.block(&AZURE, report)?;
    let subscription = block.required("subscription", report, subscription);
    let location = block.required("location", report, location);
    let resource_group = block.required("resource_group", report, resource_group);
    let edge = block.required("edge", report, edge);
    let network = block.required("network", report, |field, report| network(field, edge.as_ref().ok(), report));
    if let (Ok(subscription), Ok(network), Some(field)) = (&subscription, &network, block.get("network")) {
        check_network(field, subscription, network, report)?;
    }
    let size = block.required("size", report, size);
    let image = block.required("image", report, image);
    Ok(Azure {
        subscription: subscription?,
        location: location?,
        resource_group: resource_group?,
        network: network?,
        edge: edge?,
        size: size?,
        image: image?,
    })
}

/// What is called after the bastion must not have Microsoft's trademarks in its name ("Resolve errors for reserved resource names":
/// these two as a part of it, the others as the whole of it or as its beginning, which `gangplank-` is).
pub(super) fn check_name(field: &Field<'_>, name: &Name, report: &mut Report) -> Read<()> {
    let Some(word) = ["microsoft", "windows"].into_iter().find(|word| name.as_str().contains(word)) else {
        return Ok(());
    };
    let problem = field.problem(report, "a name that Azure refuses", format!("`{word}` is reserved"));
    let problem =
        problem.because("The bastion's resources are called after it, and Azure reserves the word in their names.");
    Err(report.push(problem.fix("choose a name without it")))
}

/// "NAT rules only support ports in the 1-63999 range" ("Azure Firewall known issues and limitations").
const LAST_PORT_OF_A_FIREWALL: u16 = 63_999;

/// A firewall has fewer ports than a machine.
pub(super) fn check_port(azure: &Azure, port: u16, report: &mut Report) {
    if azure.edge == Edge::PublicAddress || port <= LAST_PORT_OF_A_FIREWALL {
        return;
    }
    let place = report.fields.get("ssh.port").cloned().unwrap_or_default();
    let problem = report.at(&place, "a port that Azure Firewall refuses", format!("{port} is above 63999"));
    let problem = problem.because("A DNAT rule takes the ports 1 to 63999.");
    report.push(problem.fix("choose a lower port; with `edge: public_address` every port can be used"));
}

fn subscription(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    if groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Ok(text.to_lowercase());
    }
    let label = format!("`{}` is not a subscription's id", excerpt(text));
    let problem = field.problem(report, "not an id", label);
    Err(report.push(problem.fix("`az account show --query id` prints it: 00000000-0000-0000-0000-000000000000")))
}

fn location(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if is_name(text) {
        return Ok(text.to_owned());
    }
    let label = format!("`{}` is not a location's name", excerpt(text));
    let problem = field.problem(report, "not a location", label);
    let name = text.to_lowercase().replace([' ', '-', '_'], "");
    let fix = if is_name(&name) {
        format!("write `{}`", excerpt(&name))
    } else {
        "names are written like westeurope".to_owned()
    };
    Err(report.push(problem.fix(fix)))
}

fn size(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    let ok = text.split_once('_').is_some_and(|(tier, size)| {
        matches!(tier, "Standard" | "Basic")
            && !size.is_empty()
            && size.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    });
    if ok && text.len() <= 64 {
        return Ok(text.to_owned());
    }
    let label = format!("`{}` is not a virtual machine's size", excerpt(text));
    let problem = field.problem(report, "not a size", label);
    Err(report.push(problem.fix("sizes are written like Standard_B2ats_v2")))
}

fn image(field: &Field<'_>, report: &mut Report) -> Read<ImageAlias> {
    let alias = image_alias(field, "the alias of an image", report)?;
    if alias == ImageAlias::AmazonLinux2023 {
        let problem = field.problem(report, "no such image on Azure", "Amazon Linux is published on AWS only");
        return Err(report.push(problem.fix("write debian-13, debian-12, ubuntu-24.04 or ubuntu-26.04")));
    }
    Ok(alias)
}

fn resource_group(field: &Field<'_>, report: &mut Report) -> Read<ResourceGroup> {
    if !field.is_map() {
        return group_name(field, report).map(ResourceGroup::Owned);
    }
    let block = field.block(&RESOURCE_GROUP, report)?;
    block.required("existing", report, group_name).map(ResourceGroup::Existing)
}

fn group_name(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    let ok = (1..=90).contains(&text.chars().count())
        && text.chars().all(|c| c.is_alphanumeric() || "_-.()".contains(c))
        && !text.ends_with('.');
    if ok {
        return Ok(text.to_owned());
    }
    let label = format!("`{}` cannot be a resource group's name", excerpt(text));
    let problem = field.problem(report, "a name that Azure refuses", label);
    Err(report.push(problem.fix("use 1 to 90 letters, digits and _ - . ( ), not ending with a dot")))
}

/// The names of networks, subnets, firewalls and policies, which differ in length only.
fn name(field: &Field<'_>, what: &str, lengths: std::ops::RangeInclusive<usize>, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    let ok = lengths.contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if ok {
        return Ok(text.to_owned());
    }
    let label = format!("`{}` cannot be the name of {what}", excerpt(text));
    let problem = field.problem(report, "a name that Azure refuses", label);
    Err(report.push(problem.fix(format!(
        "use {} to {} of a-z, A-Z, 0-9, _ - and ., beginning with a letter or digit, ending with one or `_`",
        lengths.start(),
        lengths.end()
    ))))
}

/// A name, or the id of a resource of that type.
fn name_or_id(
    field: &Field<'_>,
    (what, kind): (&str, &str),
    lengths: std::ops::RangeInclusive<usize>,
    report: &mut Report,
) -> Read<String> {
    let text = field.text(report)?;
    if !text.starts_with('/') {
        return name(field, what, lengths, report);
    }
    let parts: Vec<&str> = text.split('/').collect();
    let fixed = |at: usize, word: &str| parts.get(at).is_some_and(|part| part.eq_ignore_ascii_case(word));
    let shaped = parts.len() == 9 && fixed(1, "subscriptions") && fixed(3, "resourceGroups") && fixed(5, "providers");
    if shaped && fixed(6, "Microsoft.Network") && fixed(7, kind) && parts.iter().skip(1).all(|part| !part.is_empty()) {
        return Ok(text.to_owned());
    }
    let label = format!("`{}` is not the id of {what}", excerpt(text));
    let problem = field.problem(report, "not a resource's id", label);
    Err(report.push(problem.fix(format!(
        "write its name, or /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Network/{kind}/NAME"
    ))))
}

/// "You can only assign a network interface to a virtual network that exists in the same subscription and location" ("Create, change,
/// or delete a network interface").
fn check_network(field: &Field<'_>, subscription: &str, network: &AzureNetwork, report: &mut Report) -> Read<()> {
    let AzureNetwork::Existing { vnet, .. } = network else { return Ok(()) };
    let other = vnet.split('/').nth(2).filter(|other| !other.eq_ignore_ascii_case(subscription));
    let Some(other) = other else { return Ok(()) };
    let problem = field.problem(report, "a network of another subscription", format!("it is in {}", excerpt(other)));
    let problem = problem.because("Azure puts a network interface into networks of its own subscription only.");
    Err(report.push(problem.fix("put the bastion into the network's subscription, or name a network of this one")))
}

fn edge(field: &Field<'_>, report: &mut Report) -> Read<Edge> {
    if !field.is_map() {
        return match field.text(report)? {
            "public_address" => Ok(Edge::PublicAddress),
            other => {
                let label = format!("`{}` is not an edge that gangplank knows", excerpt(other));
                let problem = field.problem(report, "an unknown word", label);
                Err(report.push(problem.fix("write `public_address`, or `{firewall: {sku: standard}}`")))
            }
        };
    }
    let block = field.block(&EDGE, report)?;
    let firewall = block.require("firewall", report)?.clone();
    let block = firewall.block(&FIREWALL, report)?;
    let sku = block.optional("sku", report, |field, report| choice(field, "a firewall's sku", &SKUS, report));
    let existing = block.optional("existing", report, |field, report| {
        name_or_id(field, ("a firewall", "azureFirewalls"), 1..=56, report)
    });
    let policy = block.optional("policy", report, |field, report| {
        name_or_id(field, ("a firewall policy", "firewallPolicies"), 1..=80, report)
    });
    match (sku?, existing?, policy?) {
        (Some(sku), None, None) => Ok(Edge::Firewall(sku)),
        (None, Some(existing), None) => Ok(Edge::ExistingFirewall(existing)),
        (None, None, Some(policy)) => Ok(Edge::ExistingPolicy(policy)),
        _ => {
            let problem = firewall.problem(
                report,
                "not one firewall",
                "exactly one of `sku`, `existing` and `policy` stands here",
            );
            Err(report.push(problem.fix("`sku` creates a firewall, `existing` names one, `policy` names one's policy")))
        }
    }
}

fn network(field: &Field<'_>, edge: Option<&Edge>, report: &mut Report) -> Read<AzureNetwork> {
    let block = field.block(&NETWORK, report)?;
    if block.get("existing").is_none() {
        return created(field, &block, edge, report);
    }
    let vnet = block.required("existing", report, |field, report| {
        name_or_id(field, ("a virtual network", "virtualNetworks"), 2..=64, report)
    });
    let subnet = block.required("subnet", report, machine_subnet);
    let foreign = ["address_space", "bastion_subnet", FIREWALL_SUBNET, MANAGEMENT_SUBNET, PEER_WITH].map(|name| {
        match block.get(name) {
            Some(field) => {
                let problem = field.problem(
                    report,
                    "a field of another kind of network",
                    format!("`{name}` is for a network that gangplank creates"),
                );
                Err(report.push(problem.fix("remove it, or remove `existing` and `subnet`")))
            }
            None => Ok(()),
        }
    });
    foreign.into_iter().collect::<Read<Vec<()>>>()?;
    Ok(AzureNetwork::Existing { vnet: vnet?, subnet: subnet? })
}

/// Subnets that Azure keeps for services of its own: no machine may stand there ("Virtual network for Azure services", "About Azure
/// Bastion configuration settings", "About VPN Gateway configuration settings").
const SERVICES: [(&str, &str); 5] = [
    ("AzureFirewallSubnet", "firewalls"),
    ("AzureFirewallManagementSubnet", "firewalls"),
    ("GatewaySubnet", "gateways"),
    ("AzureBastionSubnet", "Azure Bastion"),
    ("RouteServerSubnet", "route servers"),
];

fn machine_subnet(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let name = name(field, "a subnet", 1..=80, report)?;
    let Some((_, service)) = SERVICES.iter().find(|(reserved, _)| name.eq_ignore_ascii_case(reserved)) else {
        return Ok(name);
    };
    let problem = field.problem(report, "no machine may be in this subnet", format!("it is for {service} only"));
    Err(report.push(problem.fix("name another subnet of the network")))
}

fn created(field: &Field<'_>, block: &Block<'_>, edge: Option<&Edge>, report: &mut Report) -> Read<AzureNetwork> {
    let foreign = match block.get("subnet") {
        Some(subnet) => {
            let problem = subnet.problem(
                report,
                "a field of another kind of network",
                "`subnet` goes with an `existing` network",
            );
            Err(report.push(problem.fix("remove it, or name the network in `existing`")))
        }
        None => Ok(()),
    };
    let space = block.required("address_space", report, |field, report| space(field, 8..=29, report));
    let inside = |field: &Field<'_>, smallest: u8, report: &mut Report| {
        let net = self::space(field, 8..=smallest, report)?;
        match space {
            Ok(space) if !space.contains(&net) => {
                let problem =
                    field.problem(report, "a subnet outside its network", format!("{net} is not inside {space}"));
                Err(report.push(problem.fix("choose a range inside `address_space`")))
            }
            _ => Ok(net),
        }
    };
    let bastion = block.required("bastion_subnet", report, |field, report| inside(field, 29, report));
    let mut taken: Vec<(&str, Read<IpNet>)> = vec![("bastion_subnet", bastion)];
    let mut firewalls = |name: &'static str, report: &mut Report| {
        let net = block.optional(name, report, |field, report| {
            let net = inside(field, 26, report)?;
            let overlaps = |other: &IpNet| other.contains(&net) || net.contains(other);
            match taken.iter().find_map(|(name, other)| other.ok().filter(overlaps).map(|net| (name, net))) {
                Some((other, range)) => {
                    let label = format!("{net} overlaps `{other}`, {range}");
                    let problem = field.problem(report, "overlapping subnets", label);
                    Err(report.push(problem.fix("choose another range inside `address_space`")))
                }
                None => Ok(net),
            }
        });
        if let Ok(Some(net)) = net {
            taken.push((name, Ok(net)));
        }
        net
    };
    let firewall = firewalls(FIREWALL_SUBNET, report);
    let management = firewalls(MANAGEMENT_SUBNET, report);
    let needed = firewall_subnets(field, block, edge, report);
    let peers = block.optional(PEER_WITH, report, peer_with);
    foreign?;
    needed?;
    Ok(AzureNetwork::Created {
        address_space: space?,
        bastion_subnet: bastion?,
        firewall_subnet: firewall?,
        management_subnet: management?,
        peer_with: peers?.unwrap_or_default(),
    })
}

/// The networks that the created one is peered with.
fn peer_with(field: &Field<'_>, report: &mut Report) -> Read<Vec<String>> {
    let mut known: Vec<String> = Vec::new();
    field.list(report, |item, report| {
        let name = name_or_id(item, ("a virtual network", "virtualNetworks"), 2..=64, report)?;
        if known.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
            let problem = item.problem(report, "a network twice", format!("`{}` is named above", excerpt(&name)));
            return Err(report.push(problem.fix("remove one of them")));
        }
        known.push(name.clone());
        Ok(name)
    })
}

/// A firewall that is created brings a subnet; a Basic one brings two: Azure manages it through a second interface.
fn firewall_subnets(field: &Field<'_>, block: &Block<'_>, edge: Option<&Edge>, report: &mut Report) -> Read<()> {
    let missing = |name: &str, who: &str, azure: &str, report: &mut Report| {
        let problem = field
            .problem(report, "a field is missing", format!("{who} in this network needs `{name}`"))
            .because(format!("It becomes the {azure}, which Azure requires."));
        Err(report.push(problem.fix(format!("add `{name}`, a /26 or larger inside `address_space`"))))
    };
    let unused = |subnet: &Field<'_>, label: &str, fix: &str, report: &mut Report| {
        let problem = subnet.problem(report, "a subnet without a firewall", label);
        Err(report.push(problem.fix(fix)))
    };
    let Some(edge) = edge else { return Ok(()) };
    let creates = matches!(edge, Edge::Firewall(_));
    let firewall = match block.get(FIREWALL_SUBNET) {
        None if creates => missing(FIREWALL_SUBNET, "a firewall", "AzureFirewallSubnet", report),
        Some(subnet) if !creates => unused(
            subnet,
            "no firewall is created in this network",
            "remove `firewall_subnet`, or write `edge: {firewall: {sku: standard}}`",
            report,
        ),
        _ => Ok(()),
    };
    let basic = *edge == Edge::Firewall(FirewallSku::Basic);
    let management = match block.get(MANAGEMENT_SUBNET) {
        None if basic => missing(MANAGEMENT_SUBNET, "a Basic firewall", "AzureFirewallManagementSubnet", report),
        Some(subnet) if !basic => {
            let label = if creates {
                "only a Basic firewall has a subnet for its management"
            } else {
                "no firewall is created in this network"
            };
            unused(
                subnet,
                label,
                "remove `firewall_management_subnet`, or write `edge: {firewall: {sku: basic}}`",
                report,
            )
        }
        _ => Ok(()),
    };
    firewall.and(management)
}

/// An IPv4 range of a size that Azure allows.
fn space(field: &Field<'_>, prefixes: std::ops::RangeInclusive<u8>, report: &mut Report) -> Read<IpNet> {
    let net = net::range(field, report)?;
    if matches!(net, IpNet::V4(_)) && prefixes.contains(&net.prefix_len()) {
        return Ok(net);
    }
    let label = format!("{net} is not an IPv4 range from /{} to /{}", prefixes.start(), prefixes.end());
    let problem = field.problem(report, "a range of the wrong size", label);
    Err(report.push(problem))
}
