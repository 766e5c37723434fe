//! What EC2's error codes mean to us: which failures pass, which stay, and what a person can do about them.
//!
//! Codes: docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html.

use crate::cloud_error::{CloudError, ErrorKind, Residue};

/// What came back from a failed call, stripped of the SDK's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Option<String>,
    pub status: Option<u16>,
    pub message: String,
    pub request_id: Option<String>,
}

pub fn kind(refusal: &Refusal) -> ErrorKind {
    let code = refusal.code.as_deref().unwrap_or_default();
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "ConcurrentTagAccess"
        | "SlowDown" => ErrorKind::Throttled,
        "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "MissingAuthenticationToken"
        | "IncompleteSignature" => ErrorKind::Credentials,
        "OptInRequired" | "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => ErrorKind::Permission,
        "DependencyViolation"
        | "IncorrectInstanceState"
        | "IncorrectState"
        | "OperationNotPermitted"
        | "Resource.AlreadyAssociated"
        | "VolumeInUse" => ErrorKind::Conflict,
        "InternalError" | "InternalFailure" | "ServiceUnavailable" | "Unavailable" | "RequestTimeout" => {
            ErrorKind::Fault
        }
        _ if code.ends_with("LimitExceeded")
            || code.ends_with("CapacityExceeded")
            || code.starts_with("Insufficient") =>
        {
            ErrorKind::Quota
        }
        _ if code.ends_with(".NotFound") => ErrorKind::NotFound,
        _ if code.ends_with(".Duplicate") || code.ends_with(".InUse") => ErrorKind::Conflict,
        _ => match refusal.status {
            Some(429) => ErrorKind::Throttled,
            Some(500..) => ErrorKind::Fault,
            Some(401) => ErrorKind::Credentials,
            Some(403) => ErrorKind::Permission,
            _ => ErrorKind::Invalid,
        },
    }
}

pub fn cloud_error(operation: &str, refusal: Refusal) -> CloudError {
    let kind = kind(&refusal);
    // A fault may strike after the effect; every other refusal comes instead of it.
    let residue = if kind == ErrorKind::Fault { Residue::Unknown } else { Residue::Nothing };
    let remedy = remedy(operation, kind, refusal.code.as_deref().unwrap_or_default(), &refusal.message);
    let Refusal { code, message, request_id, .. } = refusal;
    CloudError { operation: operation.to_owned(), kind, code, request_id, message, residue, remedy }
}

fn remedy(operation: &str, kind: ErrorKind, code: &str, message: &str) -> Option<String> {
    let text = match (kind, code) {
        (ErrorKind::Credentials, "ExpiredToken" | "ExpiredTokenException" | "RequestExpired") => {
            "the session has ended or the clock is wrong: log in again, check the time, run the command again"
                .to_owned()
        }
        (ErrorKind::Permission, "OptInRequired") if operation == "RunInstances" => {
            "the image is a product of AWS Marketplace: accept its terms there with this account, or name another image in `aws.image`"
                .to_owned()
        }
        (ErrorKind::Permission, "OptInRequired") => {
            "the account is not subscribed to the service: sign up for it in the console, and wait until the sign-up is complete"
                .to_owned()
        }
        // EC2 tells an image that is not shared by the code of bad keys.
        (ErrorKind::Credentials, "AuthFailure") if message.contains("Not authorized for images") => {
            "this account may not use the image: its owner has not shared it; name another in `aws.image`, or let it be shared".to_owned()
        }
        // EC2 says the same to a key that it does not know, and to a good one in a region that its account has not enabled.
        (ErrorKind::Credentials, "AuthFailure") => {
            let image = if operation == "RunInstances" { ", or may not use the image" } else { "" };
            format!(
                "AWS does not accept these credentials, or the account has not enabled this region{image}: `aws sts \
                 get-caller-identity` tells whether they are good, `aws ec2 describe-regions --all-regions` which regions are enabled"
            )
        }
        (ErrorKind::Credentials, _) => {
            "AWS does not accept these credentials: see `aws sts get-caller-identity`".to_owned()
        }
        // "No permissions are required to perform this operation" (AWS STS API Reference, GetCallerIdentity).
        (ErrorKind::Permission, _) if operation == "GetCallerIdentity" => {
            "AWS refuses this call to nobody: check AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_STS and the proxy, what answers is not STS"
                .to_owned()
        }
        (ErrorKind::Permission, _) if message.contains("explicit deny") => {
            let encoded = match message.contains("Encoded authorization failure message:") {
                true => "; `aws sts decode-authorization-message --encoded-message TEXT` shows which one",
                false => "",
            };
            format!(
                "a policy denies ec2:{operation} explicitly, and no permission of this identity can allow it: see the account's service \
                 control policies and permission boundaries{encoded}"
            )
        }
        (ErrorKind::Permission, _) => {
            format!(
                "allow ec2:{operation} for this identity (docs/iam.md has the whole policy), then run the command again"
            )
        }
        (ErrorKind::Quota, "RulesPerSecurityGroupLimitExceeded") => {
            "raise the quota \"Inbound or outbound rules per security group\" of Amazon VPC, or list fewer and wider ranges"
                .to_owned()
        }
        (ErrorKind::Quota, "AddressLimitExceeded") => {
            "release an Elastic IP, raise the quota \"EC2-VPC Elastic IPs\", or name an existing one in `aws.address`"
                .to_owned()
        }
        (ErrorKind::Quota, "InsufficientInstanceCapacity") => {
            "the zone has none of this type left: try later, or change `aws.instance_type` or `aws.subnet`".to_owned()
        }
        (ErrorKind::Quota, "InsufficientFreeAddressesInSubnet") => {
            "the subnet has no free address: choose another in `aws.subnet`".to_owned()
        }
        (ErrorKind::Quota, "TagLimitExceeded") => {
            "EC2 allows 50 tags on a resource: remove some of its other tags, or of the plan's".to_owned()
        }
        (ErrorKind::Invalid, "InvalidParameterCombination") if message.contains("Free Tier") => {
            "the account is on the free plan, which allows some types only (t4g.micro, t4g.small, t3.micro and t3.small among them): \
             change `aws.instance_type`, or upgrade the account to the paid plan"
                .to_owned()
        }
        (ErrorKind::Invalid, "Unsupported") => {
            "the subnet's zone does not have this instance type: change `aws.instance_type` or `aws.subnet`".to_owned()
        }
        (ErrorKind::Quota, _) => {
            "raise the quota in Service Quotas or remove what is unused, then run the command again".to_owned()
        }
        (ErrorKind::Throttled, _) => {
            "EC2 kept asking to slow down: run the command again later, it continues where it stopped".to_owned()
        }
        (ErrorKind::Fault, _) => {
            "EC2 kept failing: run the command again later, it continues where it stopped".to_owned()
        }
        (_, "InvalidInstanceID") if message.contains("network interface") => {
            "somebody has attached a second network interface to the machine: detach it, then run the command again".to_owned()
        }
        (ErrorKind::Conflict, "OperationNotPermitted") => {
            "it may be protected from termination; take the protection away if it shall go".to_owned()
        }
        (ErrorKind::Conflict, "DependencyViolation") => {
            "something still uses it; remove that first, then run the command again".to_owned()
        }
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(code: &str, status: u16) -> ErrorKind {
        kind(&Refusal { code: Some(code.to_owned()), status: Some(status), message: String::new(), request_id: None })
    }

    #[test]
    fn codes_tell_kinds_apart() {
        assert_eq!(
            kind_of("RequestLimitExceeded", 503),
            ErrorKind::Throttled,
            "not a quota, whatever its name ends in"
        );
        assert_eq!(kind_of("VcpuLimitExceeded", 400), ErrorKind::Quota);
        assert_eq!(kind_of("AddressLimitExceeded", 400), ErrorKind::Quota);
        assert_eq!(kind_of("InsufficientInstanceCapacity", 500), ErrorKind::Quota);
        assert_eq!(kind_of("UnauthorizedOperation", 403), ErrorKind::Permission);
        assert_eq!(kind_of("AuthFailure", 401), ErrorKind::Credentials);
        assert_eq!(kind_of("InvalidGroup.Duplicate", 400), ErrorKind::Conflict);
        assert_eq!(kind_of("InvalidInstanceID.NotFound", 400), ErrorKind::NotFound);
        assert_eq!(kind_of("InvalidParameterValue", 400), ErrorKind::Invalid);
        assert_eq!(kind_of("SomethingNew", 502), ErrorKind::Fault);
        assert_eq!(kind_of("ConcurrentTagAccess", 400), ErrorKind::Throttled, "another caller tags it just now");
    }

    #[test]
    fn what_a_person_can_do_fits_the_cause() {
        let told = |code: &str| remedy("RunInstances", kind_of(code, 400), code, "").unwrap_or_default();
        assert!(told("Unsupported").contains("aws.instance_type"));
        assert!(told("InsufficientFreeAddressesInSubnet").contains("aws.subnet"));
        assert!(told("TagLimitExceeded").contains("50 tags"), "no quota to raise");
        assert!(told("VcpuLimitExceeded").contains("Service Quotas"));
        assert!(remedy("GetCallerIdentity", ErrorKind::Permission, "", "").unwrap_or_default().contains("not STS"));
        let refused =
            |operation: &str| remedy(operation, ErrorKind::Credentials, "AuthFailure", "").unwrap_or_default();
        assert!(refused("DescribeInstances").contains("has not enabled this region"), "a good key gets the same code");
        assert!(!refused("DescribeInstances").contains("image") && refused("RunInstances").contains("image"));
    }

    /// The same code means several things: EC2's sentence tells them apart.
    #[test]
    fn a_cause_that_only_the_message_tells_has_its_own_remedy() {
        let told =
            |code: &str, message: &str| remedy("RunInstances", kind_of(code, 400), code, message).unwrap_or_default();
        let free = "The specified instance type is not eligible for Free Tier.";
        assert!(told("InvalidParameterCombination", free).contains("t4g.micro"));
        assert_eq!(told("InvalidParameterCombination", "Network interfaces and ..."), "");
        assert!(told("AuthFailure", "Not authorized for images: [ami-1]").contains("shared"));
        assert!(told("OptInRequired", "In order to use this AWS Marketplace product ...").contains("Marketplace"));
        let denied = "You are not authorized ... with an explicit deny in a service control policy. Encoded authorization failure message: X";
        let denied = told("UnauthorizedOperation", denied);
        assert!(denied.contains("decode-authorization-message") && denied.contains("service control"), "{denied}");
        assert!(told("UnauthorizedOperation", "You are not authorized").starts_with("allow ec2:RunInstances"));
    }

    #[test]
    fn a_fault_leaves_the_outcome_open() {
        let refusal = |code: &str, status| Refusal {
            code: Some(code.to_owned()),
            status: Some(status),
            message: String::new(),
            request_id: None,
        };
        assert_eq!(cloud_error("RunInstances", refusal("InternalError", 500)).residue, Residue::Unknown);
        assert_eq!(cloud_error("RunInstances", refusal("UnauthorizedOperation", 403)).residue, Residue::Nothing);
    }
}
