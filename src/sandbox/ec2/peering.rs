//! Peering connections between networks of one region.

use super::{
    form::Form,
    kind::Kind,
    listing::{Listing, USUAL},
    model::{Peering, PeeringSide, Region},
    refusal::{Outcome, refuse},
    tags::{self, Specified, done},
    world::{ACCOUNT, Context},
    xml::Xml,
};

impl Region {
    pub(super) fn create_vpc_peering_connection(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (vpc, peer) = (form.need("VpcId")?, form.need("PeerVpcId")?);
        let owner = form.text("PeerOwnerId").unwrap_or_else(|| ACCOUNT.to_owned());
        let region = form.text("PeerRegion").unwrap_or_else(|| context.region.to_owned());
        let specified = Specified::take(&mut form, &[Kind::Peering])?;
        form.done()?;
        if region != context.region {
            return refuse("InvalidParameterValue", "This sandbox knows peering within one region");
        }
        let requester = PeeringSide { vpc: vpc.clone(), owner: ACCOUNT.to_owned(), cidr: Some(self.vpc(&vpc)?.cidr) };
        // What is in another account can't be looked at.
        let cidr = if owner == ACCOUNT { Some(self.vpc(&peer)?.cidr) } else { None };
        let id = context.mint.id(Kind::Peering);
        let accepter = PeeringSide { vpc: peer, owner, cidr };
        let made = Peering { requester, accepter, active: false, tags: specified.of(Kind::Peering) };
        self.peerings.insert(id.clone(), made);
        let mut xml = Xml::default();
        xml.node("vpcPeeringConnection", |xml| self.write_peering(xml, &id, context.region));
        Ok(xml)
    }

    pub(super) fn accept_vpc_peering_connection(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("VpcPeeringConnectionId")?;
        form.done()?;
        Kind::Peering.check(&id)?;
        match self.peerings.get_mut(&id) {
            None => return Err(Kind::Peering.missing(&id)),
            Some(peering) if peering.accepter.owner != ACCOUNT => {
                return refuse("OperationNotPermitted", format!("User {ACCOUNT} cannot accept peering {id}"));
            }
            Some(peering) => peering.active = true,
        }
        let mut xml = Xml::default();
        xml.node("vpcPeeringConnection", |xml| self.write_peering(xml, &id, context.region));
        Ok(xml)
    }

    pub(super) fn delete_vpc_peering_connection(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("VpcPeeringConnectionId")?;
        form.done()?;
        Kind::Peering.check(&id)?;
        self.peerings.remove(&id).map(|_| done()).ok_or_else(|| Kind::Peering.missing(&id))
    }

    pub(super) fn describe_vpc_peering_connections(&self, context: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = [
            "accepter-vpc-info.vpc-id",
            "requester-vpc-info.vpc-id",
            "status-code",
            "vpc-peering-connection-id",
            "tag",
        ];
        let listing = Listing::take(form, "VpcPeeringConnectionId", &filters, Some(USUAL))?;
        let field = |id: &str, peering: &Peering, name: &str| {
            vec![match name {
                "accepter-vpc-info.vpc-id" => peering.accepter.vpc.clone(),
                "requester-vpc-info.vpc-id" => peering.requester.vpc.clone(),
                "status-code" => status(peering).to_owned(),
                _ => id.to_owned(),
            }]
        };
        let (shown, next) = listing.of(Kind::Peering, &self.peerings, |p| &p.tags, field)?;
        let mut xml = Xml::default();
        xml.items("vpcPeeringConnectionSet", shown, |xml, (id, _)| self.write_peering(xml, id, context.region));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    fn write_peering(&self, xml: &mut Xml, id: &str, region: &str) {
        let Some(peering) = self.peerings.get(id) else { return };
        xml.leaf("vpcPeeringConnectionId", id);
        for (name, side) in [("requesterVpcInfo", &peering.requester), ("accepterVpcInfo", &peering.accepter)] {
            xml.node(name, |xml| {
                xml.leaf("ownerId", &side.owner);
                xml.leaf("vpcId", &side.vpc);
                xml.leaf("region", region);
                xml.maybe("cidrBlock", side.cidr.map(|cidr| cidr.to_string()));
            });
        }
        xml.node("status", |xml| xml.leaf("code", status(peering)));
        tags::write(xml, &peering.tags);
    }

    /// The active connection of a network with another network, or with any of an account.
    pub(super) fn peering_of(&self, vpc: &str, is_other: impl Fn(&PeeringSide) -> bool) -> Option<(&String, &Peering)> {
        self.peerings.iter().filter(|(_, peering)| peering.active).find(|(_, peering)| {
            let Peering { requester, accepter, .. } = peering;
            (requester.vpc == vpc && is_other(accepter)) || (accepter.vpc == vpc && is_other(requester))
        })
    }

    pub(super) fn is_peered(&self, one: &str, other: &str) -> bool {
        self.peering_of(one, |side| side.vpc == other).is_some()
    }
}

/// "VPC peering connection lifecycle".
fn status(peering: &Peering) -> &'static str {
    if peering.active { "active" } else { "pending-acceptance" }
}
