//! Internet gateways, route tables and routes.

use ipnet::IpNet;

use super::{
    form::Form,
    kind::Kind,
    listing::{Listing, SMALL, USUAL},
    model::{Gateway, Region, Route, RouteTable, Token},
    refusal::{Outcome, refuse},
    tags::{self, Specified, done},
    world::{ACCOUNT, Context},
    xml::Xml,
};

impl Region {
    pub(super) fn create_internet_gateway(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let specified = Specified::take(&mut form, &[Kind::Gateway])?;
        form.done()?;
        let id = context.mint.id(Kind::Gateway);
        self.gateways.insert(id.clone(), Gateway { vpc: None, tags: specified.of(Kind::Gateway) });
        let mut xml = Xml::default();
        xml.node("internetGateway", |xml| self.write_gateway(xml, &id));
        Ok(xml)
    }

    pub(super) fn attach_internet_gateway(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (id, vpc) = (form.need("InternetGatewayId")?, form.need("VpcId")?);
        form.done()?;
        self.vpc(&vpc)?;
        let taken = self.has_gateway(&vpc);
        let gateway = self.gateway(&id)?;
        if gateway.vpc.is_some() {
            return refuse("Resource.AlreadyAssociated", format!("resource {id} is already attached to a network"));
        }
        if taken {
            return refuse("InvalidParameterValue", format!("Network {vpc} already has an internet gateway attached"));
        }
        gateway.vpc = Some(vpc);
        Ok(done())
    }

    pub(super) fn detach_internet_gateway(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (id, vpc) = (form.need("InternetGatewayId")?, form.need("VpcId")?);
        form.done()?;
        self.vpc(&vpc)?;
        let mapped = self.addresses.values().filter_map(|a| a.association.as_ref()).any(|association| {
            let subnet = self.interfaces.get(&association.interface).and_then(|i| self.subnets.get(&i.subnet));
            subnet.is_some_and(|s| s.vpc == vpc)
        });
        let gateway = self.gateway(&id)?;
        if gateway.vpc.as_deref() != Some(&vpc) {
            return refuse("Gateway.NotAttached", format!("resource {id} is not attached to network {vpc}"));
        }
        if mapped {
            return refuse("DependencyViolation", format!("Network {vpc} has some mapped public address(es)."));
        }
        gateway.vpc = None;
        Ok(done())
    }

    pub(super) fn delete_internet_gateway(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("InternetGatewayId")?;
        form.done()?;
        if self.gateway(&id)?.vpc.is_some() {
            return refuse(
                "DependencyViolation",
                format!("The internetGateway '{id}' has dependencies and cannot be deleted."),
            );
        }
        self.gateways.remove(&id);
        Ok(done())
    }

    pub(super) fn describe_internet_gateways(&self, _: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = ["attachment.state", "attachment.vpc-id", "internet-gateway-id", "owner-id", "tag"];
        let listing = Listing::take(form, "InternetGatewayId", &filters, Some(USUAL))?;
        let field = |id: &str, gateway: &Gateway, name: &str| match name {
            "attachment.state" => gateway.vpc.iter().map(|_| "available".to_owned()).collect(),
            "attachment.vpc-id" => gateway.vpc.iter().cloned().collect(),
            "owner-id" => vec![ACCOUNT.to_owned()],
            _ => vec![id.to_owned()],
        };
        let (shown, next) = listing.of(Kind::Gateway, &self.gateways, |g| &g.tags, field)?;
        let mut xml = Xml::default();
        xml.items("internetGatewaySet", shown, |xml, (id, _)| self.write_gateway(xml, id));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    fn write_gateway(&self, xml: &mut Xml, id: &str) {
        let Some(gateway) = self.gateways.get(id) else { return };
        xml.leaf("internetGatewayId", id);
        xml.leaf("ownerId", ACCOUNT);
        xml.items("attachmentSet", &gateway.vpc, |xml, vpc| {
            xml.leaf("vpcId", vpc);
            xml.leaf("state", "available");
        });
        tags::write(xml, &gateway.tags);
    }

    fn gateway(&mut self, id: &str) -> Outcome<&mut Gateway> {
        Kind::Gateway.check(id)?;
        self.gateways.get_mut(id).ok_or_else(|| Kind::Gateway.missing(id))
    }

    pub(super) fn create_route_table(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let token = form.text("ClientToken");
        let digest = form.digest();
        let vpc = form.need("VpcId")?;
        let specified = Specified::take(&mut form, &[Kind::RouteTable])?;
        form.done()?;
        if let Some(id) = self.made_before(token.as_deref(), &digest)? {
            let mut xml = Xml::default();
            xml.node("routeTable", |xml| self.write_route_table(xml, &id));
            return Ok(xml);
        }
        self.vpc(&vpc)?;
        let id = context.mint.id(Kind::RouteTable);
        let tags = specified.of(Kind::RouteTable);
        self.route_tables
            .insert(id.clone(), RouteTable { vpc, main: None, subnets: [].into(), routes: Vec::new(), tags });
        if let Some(token) = token {
            self.tokens.insert(token, Token { made: id.clone(), digest });
        }
        let mut xml = Xml::default();
        xml.node("routeTable", |xml| self.write_route_table(xml, &id));
        Ok(xml)
    }

    pub(super) fn delete_route_table(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("RouteTableId")?;
        form.done()?;
        let table = self.route_table(&id)?;
        if table.main.is_some() || !table.subnets.is_empty() {
            return refuse(
                "DependencyViolation",
                format!("The routeTable '{id}' has dependencies and cannot be deleted."),
            );
        }
        self.route_tables.remove(&id);
        Ok(done())
    }

    pub(super) fn associate_route_table(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (id, subnet) = (form.need("RouteTableId")?, form.need("SubnetId")?);
        form.done()?;
        let vpc = self.subnet(&subnet)?.vpc.clone();
        let taken = self.route_tables.values().any(|t| t.subnets.values().any(|s| *s == subnet));
        let table = self.route_table(&id)?;
        if table.vpc != vpc {
            return refuse(
                "InvalidParameterValue",
                format!("Route table {id} and subnet {subnet} belong to different networks"),
            );
        }
        let known = table.subnets.iter().find(|(_, s)| **s == subnet).map(|(association, _)| association.clone());
        let association = match known {
            Some(association) => association,
            None if taken => {
                return refuse(
                    "Resource.AlreadyAssociated",
                    format!("the specified association for subnet {subnet} conflicts with an existing association"),
                );
            }
            None => {
                let association = context.mint.id_with("rtbassoc");
                table.subnets.insert(association.clone(), subnet);
                association
            }
        };
        let mut xml = Xml::default();
        xml.leaf("associationId", association);
        xml.node("associationState", |xml| xml.leaf("state", "associated"));
        Ok(xml)
    }

    pub(super) fn disassociate_route_table(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("AssociationId")?;
        form.done()?;
        if self.route_tables.values().any(|t| t.main.as_ref() == Some(&id)) {
            return refuse(
                "InvalidParameterValue",
                format!("cannot disassociate the main route table association {id}"),
            );
        }
        if !self.route_tables.values_mut().any(|t| t.subnets.remove(&id).is_some()) {
            return refuse("InvalidAssociationID.NotFound", format!("The association ID '{id}' does not exist"));
        }
        Ok(done())
    }

    pub(super) fn create_route(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("RouteTableId")?;
        let to = destination(&mut form)?;
        let peering = form.text("VpcPeeringConnectionId");
        let gateway = if let Some(peering) = &peering { peering.clone() } else { form.need("GatewayId")? };
        form.done()?;
        match &peering {
            None => drop(self.gateway(&gateway)?),
            Some(peering) if !self.peerings.contains_key(peering) => return Err(Kind::Peering.missing(peering)),
            Some(_) => {}
        }
        let table = self.route_table(&id)?;
        if table.routes.iter().any(|r| r.to == to) {
            return refuse("RouteAlreadyExists", format!("The route identified by {to} already exists."));
        }
        table.routes.push(Route { to, gateway: gateway.clone() });
        let vpc = table.vpc.clone();
        if peering.is_none() && self.gateway(&gateway)?.vpc.as_deref() != Some(&vpc) {
            return refuse(
                "InvalidParameterValue",
                format!("route table {id} and network gateway {gateway} belong to different networks"),
            );
        }
        Ok(done())
    }

    pub(super) fn delete_route(&mut self, _: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let id = form.need("RouteTableId")?;
        let to = destination(&mut form)?;
        form.done()?;
        let table = self.route_table(&id)?;
        let before = table.routes.len();
        table.routes.retain(|r| r.to != to);
        if table.routes.len() == before {
            return refuse(
                "InvalidRoute.NotFound",
                format!("no route with destination-cidr-block {to} in route table {id}"),
            );
        }
        Ok(done())
    }

    pub(super) fn describe_route_tables(&self, _: &Context<'_>, form: Form) -> Outcome<Xml> {
        let filters = [
            "association.main",
            "association.route-table-association-id",
            "association.subnet-id",
            "owner-id",
            "route-table-id",
            "route.destination-cidr-block",
            "route.gateway-id",
            "vpc-id",
            "tag",
        ];
        let listing = Listing::take(form, "RouteTableId", &filters, Some(SMALL))?;
        let field = |id: &str, table: &RouteTable, name: &str| match name {
            "association.main" => vec![table.main.is_some().to_string()],
            "association.route-table-association-id" => {
                table.main.iter().chain(table.subnets.keys()).cloned().collect()
            }
            "association.subnet-id" => table.subnets.values().cloned().collect(),
            "owner-id" => vec![ACCOUNT.to_owned()],
            "route.destination-cidr-block" => {
                let local = self.vpcs.get(&table.vpc).map(|v| v.cidr.to_string());
                table.routes.iter().map(|r| r.to.to_string()).chain(local).collect()
            }
            "route.gateway-id" => table.routes.iter().map(|r| r.gateway.clone()).chain(["local".to_owned()]).collect(),
            "vpc-id" => vec![table.vpc.clone()],
            _ => vec![id.to_owned()],
        };
        let (shown, next) = listing.of(Kind::RouteTable, &self.route_tables, |t| &t.tags, field)?;
        let mut xml = Xml::default();
        xml.items("routeTableSet", shown, |xml, (id, _)| self.write_route_table(xml, id));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    fn write_route_table(&self, xml: &mut Xml, id: &str) {
        let Some(table) = self.route_tables.get(id) else { return };
        xml.leaf("routeTableId", id);
        xml.leaf("vpcId", &table.vpc);
        xml.leaf("ownerId", ACCOUNT);
        let vpc = self.vpcs.get(&table.vpc);
        let local =
            vpc.into_iter().flat_map(|v| [Some(IpNet::V4(v.cidr)), v.ipv6.map(IpNet::V6)].into_iter().flatten());
        let local = local.map(|net| (net, "local", true, "CreateRouteTable"));
        let added = table.routes.iter().map(|r| (r.to, r.gateway.as_str(), self.is_active(table, r), "CreateRoute"));
        xml.items("routeSet", local.chain(added), |xml, (net, via, active, origin)| {
            let name = if matches!(net, IpNet::V4(_)) { "destinationCidrBlock" } else { "destinationIpv6CidrBlock" };
            xml.leaf(name, net.to_string());
            xml.leaf(if via.starts_with("pcx-") { "vpcPeeringConnectionId" } else { "gatewayId" }, via);
            xml.leaf("state", if active { "active" } else { "blackhole" });
            xml.leaf("origin", origin);
        });
        let main = table.main.iter().map(|association| (association, None));
        let subnets = table.subnets.iter().map(|(association, subnet)| (association, Some(subnet)));
        xml.items("associationSet", main.chain(subnets), |xml, (association, subnet)| {
            xml.leaf("routeTableAssociationId", association);
            xml.leaf("routeTableId", id);
            xml.maybe("subnetId", subnet);
            xml.flag("main", subnet.is_none());
            xml.node("associationState", |xml| xml.leaf("state", "associated"));
        });
        xml.items("propagatingVgwSet", std::iter::empty::<()>(), |_, ()| {});
        tags::write(xml, &table.tags);
    }

    fn route_table(&mut self, id: &str) -> Outcome<&mut RouteTable> {
        Kind::RouteTable.check(id)?;
        self.route_tables.get_mut(id).ok_or_else(|| Kind::RouteTable.missing(id))
    }
}

fn destination(form: &mut Form) -> Outcome<IpNet> {
    let (name, text) = match form.text("DestinationIpv6CidrBlock") {
        Some(text) => ("destinationIpv6CidrBlock", text),
        None => ("destinationCidrBlock", form.need("DestinationCidrBlock")?),
    };
    match text.parse::<IpNet>() {
        Ok(net) => Ok(net.trunc()),
        Err(_) => refuse(
            "InvalidParameterValue",
            format!("Value ({text}) for parameter {name} is invalid. This is not a valid CIDR block."),
        ),
    }
}
