//! The calls that are known, by name. Any other is refused.

use super::{form::Form, model::Region, refusal::Outcome, world::Context, xml::Xml};

#[derive(Clone, Copy)]
pub enum Call {
    Read(fn(&Region, &Context<'_>, Form) -> Outcome<Xml>),
    Write(fn(&mut Region, &mut Context<'_>, Form) -> Outcome<Xml>),
}

pub fn find(action: &str) -> Option<Call> {
    use Call::{Read, Write};
    let call = match action {
        "AllocateAddress" => Write(Region::allocate_address),
        "AssociateAddress" => Write(Region::associate_address),
        "AssociateRouteTable" => Write(Region::associate_route_table),
        "AttachInternetGateway" => Write(Region::attach_internet_gateway),
        "AuthorizeSecurityGroupEgress" => Write(Region::authorize_egress),
        "AuthorizeSecurityGroupIngress" => Write(Region::authorize_ingress),
        "CreateInternetGateway" => Write(Region::create_internet_gateway),
        "CreateNetworkAclEntry" => Write(Region::create_network_acl_entry),
        "CreateNetworkInterface" => Write(Region::create_network_interface),
        "CreateRoute" => Write(Region::create_route),
        "CreateRouteTable" => Write(Region::create_route_table),
        "CreateSecurityGroup" => Write(Region::create_security_group),
        "CreateSubnet" => Write(Region::create_subnet),
        "CreateTags" => Write(Region::create_tags),
        "CreateVpc" => Write(Region::create_vpc),
        "DeleteInternetGateway" => Write(Region::delete_internet_gateway),
        "DeleteNetworkAclEntry" => Write(Region::delete_network_acl_entry),
        "DeleteNetworkInterface" => Write(Region::delete_network_interface),
        "DeleteRoute" => Write(Region::delete_route),
        "DeleteRouteTable" => Write(Region::delete_route_table),
        "DeleteSecurityGroup" => Write(Region::delete_security_group),
        "DeleteSubnet" => Write(Region::delete_subnet),
        "DeleteTags" => Write(Region::delete_tags),
        "DeleteVolume" => Write(Region::delete_volume),
        "DeleteVpc" => Write(Region::delete_vpc),
        "DescribeAddresses" => Read(Region::describe_addresses),
        "DescribeAvailabilityZones" => Read(Region::describe_availability_zones),
        "DescribeImages" => Read(Region::describe_images),
        "DescribeInstanceAttribute" => Read(Region::describe_instance_attribute),
        "DescribeInstanceTypes" => Read(Region::describe_instance_types),
        "DescribeInstances" => Read(Region::describe_instances),
        "DescribeInternetGateways" => Read(Region::describe_internet_gateways),
        "DescribeKeyPairs" => Read(Region::describe_key_pairs),
        "DescribeNetworkAcls" => Read(Region::describe_network_acls),
        "DescribeNetworkInterfaces" => Read(Region::describe_network_interfaces),
        "DescribeRegions" => Read(Region::describe_regions),
        "DescribeRouteTables" => Read(Region::describe_route_tables),
        "DescribeSecurityGroupRules" => Read(Region::describe_security_group_rules),
        "DescribeSecurityGroups" => Read(Region::describe_security_groups),
        "DescribeSubnets" => Read(Region::describe_subnets),
        "DescribeTags" => Read(Region::describe_tags),
        "DescribeVolumes" => Read(Region::describe_volumes),
        "DescribeVpcs" => Read(Region::describe_vpcs),
        "DetachInternetGateway" => Write(Region::detach_internet_gateway),
        "DisassociateAddress" => Write(Region::disassociate_address),
        "DisassociateRouteTable" => Write(Region::disassociate_route_table),
        "GetConsoleOutput" => Read(Region::get_console_output),
        "ModifyInstanceAttribute" => Write(Region::modify_instance_attribute),
        "ModifyInstanceMetadataOptions" => Write(Region::modify_instance_metadata_options),
        "ModifyNetworkInterfaceAttribute" => Write(Region::modify_network_interface_attribute),
        "ReleaseAddress" => Write(Region::release_address),
        "RevokeSecurityGroupEgress" => Write(Region::revoke_egress),
        "RevokeSecurityGroupIngress" => Write(Region::revoke_ingress),
        "RunInstances" => Write(Region::run_instances),
        "StartInstances" => Write(Region::start_instances),
        "StopInstances" => Write(Region::stop_instances),
        "TerminateInstances" => Write(Region::terminate_instances),
        _ => return None,
    };
    Some(call)
}
