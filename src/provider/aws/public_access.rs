//! VPC Block Public Access: it stops what goes through internet gateways, whatever routes say. Pure.

use super::network::Subnet;

/// The account's setting in the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicAccess {
    /// `off`, `block-bidirectional` or `block-ingress`. The last one, too, lets nothing through but NAT and egress-only gateways.
    pub mode: String,
    /// ARNs of the networks and subnets that are excluded in both directions.
    pub excluded: Vec<String>,
}

pub const OFF: &str = "off";

impl PublicAccess {
    pub fn off() -> Self {
        Self { mode: OFF.to_owned(), excluded: Vec::new() }
    }

    /// Whether nothing from the internet arrives in a subnet.
    pub fn blocks(&self, subnet: &Subnet) -> bool {
        let is = |arn: &String, id: &str| arn.rsplit_once('/').is_some_and(|(_, of)| of == id);
        self.mode != OFF && !self.excluded.iter().any(|arn| is(arn, &subnet.id) || is(arn, &subnet.vpc))
    }
}

/// What lets a subnet's packets through.
pub fn remedy(cli: &str, subnet: &str) -> String {
    format!(
        "`{cli} ec2 create-vpc-block-public-access-exclusion --subnet-id {subnet} --internet-gateway-exclusion-mode allow-bidirectional`"
    )
}
