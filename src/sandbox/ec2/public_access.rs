//! VPC Block Public Access: what it stops, whatever routes say ("Block public access to VPCs and subnets" in the Amazon VPC User Guide).

use super::{
    form::Form,
    kind::Kind,
    listing::{Page, USUAL},
    model::{Exclusion, Region},
    refusal::{Outcome, bad_value, refuse},
    tags::Specified,
    world::{ACCOUNT, Context},
    xml::Xml,
};

const OFF: &str = "off";
const MODES: [&str; 3] = [OFF, "block-bidirectional", "block-ingress"];
const BOTH_WAYS: &str = "allow-bidirectional";
const OUTWARD: &str = "allow-egress";

impl Region {
    pub(super) fn modify_public_access(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let mode = form.need("InternetGatewayBlockMode")?;
        form.done()?;
        if !MODES.contains(&mode.as_str()) {
            return Err(bad_value(
                "internetGatewayBlockMode",
                &mode,
                "Expected off, block-bidirectional or block-ingress.",
            ));
        }
        self.public_access_block = Some(mode).filter(|mode| mode != OFF);
        Ok(self.public_access(context.region))
    }

    pub(super) fn describe_public_access(&self, context: &Context<'_>, form: Form) -> Outcome<Xml> {
        form.done()?;
        Ok(self.public_access(context.region))
    }

    fn public_access(&self, region: &str) -> Xml {
        let mut xml = Xml::default();
        xml.node("vpcBlockPublicAccessOptions", |xml| {
            xml.leaf("awsAccountId", ACCOUNT);
            xml.leaf("awsRegion", region);
            xml.leaf("state", if self.public_access_block.is_some() { "update-complete" } else { "default-state" });
            xml.leaf("internetGatewayBlockMode", self.public_access_block.as_deref().unwrap_or(OFF));
        });
        xml
    }

    pub(super) fn create_public_access_exclusion(&mut self, context: &mut Context<'_>, mut form: Form) -> Outcome<Xml> {
        let (subnet, vpc) = (form.text("SubnetId"), form.text("VpcId"));
        let mode = form.need("InternetGatewayExclusionMode")?;
        let _ = Specified::take(&mut form, &[])?;
        form.done()?;
        let resource = match (subnet, vpc) {
            (Some(subnet), None) => {
                self.subnet(&subnet)?;
                subnet
            }
            (None, Some(vpc)) => {
                self.vpc(&vpc)?;
                vpc
            }
            _ => return refuse("InvalidParameterCombination", "Give either a subnet or a VPC"),
        };
        if ![BOTH_WAYS, OUTWARD].contains(&mode.as_str()) {
            return Err(bad_value(
                "internetGatewayExclusionMode",
                &mode,
                "Expected allow-bidirectional or allow-egress.",
            ));
        }
        let id = context.mint.id_with("vpcbpa-exclude");
        let made = Exclusion { resource, mode };
        let mut xml = Xml::default();
        xml.node("vpcBlockPublicAccessExclusion", |xml| write(xml, &id, &made, context.region));
        self.public_access_exclusions.insert(id, made);
        Ok(xml)
    }

    pub(super) fn describe_public_access_exclusions(&self, context: &Context<'_>, mut form: Form) -> Outcome<Xml> {
        let page = Page::take(&mut form, &USUAL)?;
        form.done()?;
        let (shown, next) = page.cut(self.public_access_exclusions.iter().map(|(id, e)| (id.as_str(), e)).collect());
        let mut xml = Xml::default();
        xml.items("vpcBlockPublicAccessExclusionSet", shown, |xml, (id, e)| write(xml, id, e, context.region));
        xml.maybe("nextToken", next);
        Ok(xml)
    }

    /// Whether connections through the internet gateway are stopped: those that come in, or those that go out. `block-ingress` stops
    /// both as well: it lets NAT gateways and egress-only gateways through, and nothing else.
    pub(super) fn is_blocked(&self, subnet: &str, inward: bool) -> bool {
        let vpc = self.subnets.get(subnet).map(|subnet| subnet.vpc.as_str());
        let excluded =
            self.public_access_exclusions.values().filter(|e| e.resource == subnet || Some(&*e.resource) == vpc);
        self.public_access_block.is_some() && !excluded.into_iter().any(|e| e.mode == BOTH_WAYS || !inward)
    }
}

fn write(xml: &mut Xml, id: &str, exclusion: &Exclusion, region: &str) {
    let kind = Kind::of(&exclusion.resource).map(Kind::name).unwrap_or_default();
    xml.leaf("exclusionId", id);
    xml.leaf("internetGatewayExclusionMode", &exclusion.mode);
    xml.leaf("resourceArn", format!("arn:aws:ec2:{region}:{ACCOUNT}:{kind}/{}", exclusion.resource));
    xml.leaf("state", "create-complete");
}
