//! The DNS servers of a network, by its DHCP options. EC2's own pass no security group ("Amazon DNS server" in the Amazon VPC User
//! Guide); others are ordinary hosts, to which the machine needs a way out. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{
    judging::Known,
    rule::{Peer, Rule, Rules, description},
};

/// A network, as far as its DNS goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkDns {
    pub vpc: String,
    /// The primary range: EC2's own server is at its third address.
    pub range: Option<Ipv4Net>,
    pub dhcp_options: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpOptions {
    pub id: String,
    /// Addresses, or `AmazonProvidedDNS`.
    pub name_servers: Vec<String>,
}

/// The DNS of a region's networks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NameServers {
    pub networks: Vec<NetworkDns>,
    pub options: Vec<DhcpOptions>,
    /// Why they were not read.
    pub unread: Option<String>,
}

/// The id that stands for no options at all: Nitro machines then ask 169.254.169.253 (DHCP option set concepts).
const NO_OPTIONS: &str = "default";
const PORT: u16 = 53;

impl NameServers {
    pub fn unread(why: String) -> Self {
        Self { unread: Some(why), ..Self::default() }
    }

    /// A network's servers that are not EC2's own.
    pub fn of(&self, vpc: &str) -> Known<Vec<IpAddr>> {
        if let Some(why) = &self.unread {
            return Err(why.clone());
        }
        let network = self.networks.iter().find(|n| n.vpc == vpc);
        let network = network.ok_or_else(|| format!("EC2 did not describe {vpc}"))?;
        if network.dhcp_options == NO_OPTIONS {
            return Ok(Vec::new());
        }
        let options = self.options.iter().find(|o| o.id == network.dhcp_options);
        // A shared network's options are its owner's.
        let options = options.ok_or_else(|| format!("EC2 did not describe {}, of {vpc}", network.dhcp_options))?;
        let addresses = options.name_servers.iter().filter_map(|server| server.parse().ok());
        Ok(addresses.filter(|server| !is_own(*server, network.range)).collect())
    }

    /// What the machine's groups must let out to a network's servers. Where these are not known, what an earlier run opened stays.
    pub fn rules(&self, vpc: &str, open: &Rules) -> Rules {
        match self.of(vpc) {
            Ok(servers) => {
                servers.into_iter().filter(IpAddr::is_ipv4).flat_map(|server| rules_to(server, vpc)).collect()
            }
            Err(_) => {
                open.iter().filter(|(rule, text)| is_ours(rule, text)).map(|(r, t)| (r.clone(), t.clone())).collect()
            }
        }
    }
}

fn is_own(server: IpAddr, range: Option<Ipv4Net>) -> bool {
    match server {
        IpAddr::V4(server) => {
            let second = range.map(|range| Ipv4Addr::from(u32::from(range.network()).saturating_add(2)));
            server == Ipv4Addr::new(169, 254, 169, 253) || second == Some(server)
        }
        IpAddr::V6(server) => server == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
    }
}

fn rules_to(server: IpAddr, vpc: &str) -> [(Rule, String); 2] {
    let peer = Peer::Net(IpNet::from(server));
    [Rule::udp(PORT, peer.clone()), Rule::tcp(PORT, peer)].map(|rule| (rule, description(&format!("{PURPOSE}{vpc}"))))
}

/// How the descriptions of these rules begin.
const PURPOSE: &str = "DNS server of ";

fn is_ours(rule: &Rule, text: &str) -> bool {
    let to_servers = [Rule::udp(PORT, rule.peer.clone()), Rule::tcp(PORT, rule.peer.clone())];
    to_servers.contains(rule) && text.starts_with(PURPOSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(named: &[&str]) -> Known<Vec<IpAddr>> {
        let options =
            DhcpOptions { id: "dopt-1".to_owned(), name_servers: named.iter().map(|s| (*s).to_owned()).collect() };
        let network = NetworkDns {
            vpc: "vpc-1".to_owned(),
            range: "10.20.0.0/16".parse().ok(),
            dhcp_options: "dopt-1".to_owned(),
        };
        NameServers { networks: vec![network], options: vec![options], unread: None }.of("vpc-1")
    }

    #[test]
    fn ec2s_own_servers_need_no_rule() {
        assert_eq!(servers(&["AmazonProvidedDNS", "169.254.169.253", "10.20.0.2", "fd00:ec2::253"]), Ok(Vec::new()));
        let others = ["10.20.0.3", "10.0.0.2", "2001:db8::53"];
        assert_eq!(servers(&others), Ok(others.iter().map(|s| s.parse().unwrap()).collect()));
    }

    #[test]
    fn what_is_not_known_closes_nothing() {
        let open = rules_to("10.20.3.53".parse().unwrap(), "vpc-1").into_iter().collect::<Rules>();
        let mut more = open.clone();
        more.insert(Rule::udp(PORT, Peer::Net("10.20.3.54/32".parse().unwrap())), "somebody's".to_owned());
        assert_eq!(NameServers::unread("refused".to_owned()).rules("vpc-1", &more), open);
        assert_eq!(NameServers::default().of("vpc-1"), Err("EC2 did not describe vpc-1".to_owned()));
    }
}
