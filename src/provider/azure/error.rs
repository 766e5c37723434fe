//! What Azure Resource Manager's error codes mean to us: which failures pass, which stay, and what a person can do about them.
//!
//! Codes: "Troubleshoot common Azure deployment errors"; RetryableErrorDueToAnotherOperation: "Understand how Azure Resource Manager
//! throttles requests"; those in use and in progress, and ServerTimeout, as recorded traffic has them. The allocation codes, those of
//! quotas, NicReservedForAnotherVm and CanceledAndSupersededDueToAnotherOperation were seen in others' logs only, and where an
//! unknown code comes its status and its words decide.

use serde_json::Value;

use super::request::{Answer, Request};
use crate::cloud_error::{CloudError, ErrorKind, Residue};

/// Whose resources a bastion consists of: a subscription must be registered for each.
const NAMESPACES: [&str; 3] = ["Microsoft.Network", "Microsoft.Compute", super::auto_shutdown::NAMESPACE];

/// What came back from a failed call or a failed long operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub status: Option<u16>,
    pub code: Option<String>,
    /// With the messages of the errors inside it.
    pub message: String,
    pub request_id: Option<String>,
}

impl Refusal {
    pub fn of(answer: &Answer) -> Self {
        let mut refusal = Self::in_body(&answer.body);
        refusal.status = Some(answer.status);
        refusal.request_id = answer.headers.request_id.clone();
        if answer.status == 401 && answer.headers.challenge.as_ref().is_some_and(|header| header.contains("claims=")) {
            let said = std::mem::take(&mut refusal.message);
            refusal.message = if said.is_empty() { CLAIMS.to_owned() } else { format!("{said} ({CLAIMS})") };
        }
        if refusal.message.is_empty() {
            refusal.message = format!("Azure answered {} and gave no reason", answer.status);
        }
        refusal
    }

    /// `{"error": {"code", "message", "details", "innererror"}}`, or the same without the envelope.
    pub fn in_body(body: &Value) -> Self {
        let error = body.get("error").filter(|e| e.is_object()).unwrap_or(body);
        let mut lines = Vec::new();
        tell(error, 0, &mut lines);
        let code = error.get("code").and_then(Value::as_str).map(str::to_owned);
        Self { status: None, code, message: lines.join("\n  "), request_id: None }
    }
}

/// The error's message, then those of the errors inside it that say something else; Azure nests the cause.
fn tell(error: &Value, depth: u8, lines: &mut Vec<String>) {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().trim();
    let (code, message) = (text("code"), text("message"));
    let line = match depth {
        0 => message.to_owned(),
        _ if message.is_empty() => code.to_owned(),
        _ if code.is_empty() => message.to_owned(),
        _ => format!("{code}: {message}"),
    };
    if !line.is_empty() && !lines.iter().any(|l| l.contains(message) && l.contains(code)) {
        lines.push(line);
    }
    // Deeper than this nothing new is said, and an answer's depth is not ours to trust.
    if depth == 4 {
        return;
    }
    for inner in error.get("details").and_then(Value::as_array).into_iter().flatten() {
        tell(inner, depth + 1, lines);
    }
    for name in ["innererror", "innerError"] {
        if let Some(inner) = error.get(name).filter(|e| e.is_object()) {
            tell(inner, depth + 1, lines);
        }
    }
}

pub fn kind(refusal: &Refusal) -> ErrorKind {
    let code = refusal.code.as_deref().unwrap_or_default();
    match code {
        "InvalidAuthenticationToken"
        | "InvalidAuthenticationTokenTenant"
        | "InvalidAuthenticationTokenAudience"
        | "InvalidAuthenticationInfo"
        | "ExpiredAuthenticationToken"
        | "AuthenticationFailed" => ErrorKind::Credentials,
        // A subscription that is not there, or that these credentials can't see: never "what you asked for is gone".
        "SubscriptionNotFound"
        | "InvalidSubscriptionId"
        | "ReadOnlyDisabledSubscription"
        | "DisallowedOperation"
        | "MissingSubscriptionRegistration"
        | "SubscriptionNotRegistered"
        | "AuthorizationFailed"
        | "LinkedAuthorizationFailed"
        | "RequestDisallowedByPolicy"
        | "RequestDisallowedByAzure" => ErrorKind::Permission,
        "QuotaExceeded"
        | "ResourceQuotaExceeded"
        | "PublicIPCountLimitReached"
        | "SkuNotAvailable"
        | "NotAvailableForSubscription"
        | "AllocationFailed"
        | "ZonalAllocationFailed"
        | "OverconstrainedAllocationRequest"
        | "OverconstrainedZonalAllocationRequest" => ErrorKind::Quota,
        // Compute says "not allowed" when the cores run out.
        "OperationNotAllowed" if refusal.message.to_ascii_lowercase().contains("quota") => ErrorKind::Quota,
        _ if code.ends_with("LimitReached") || code.ends_with("LimitExceeded") => ErrorKind::Quota,
        "RetryableError" | "RetryableErrorDueToAnotherOperation" | "ReferencedResourceNotProvisioned" => {
            ErrorKind::Throttled
        }
        // What a request refers to is missing: the request is wrong, its own resource is not gone.
        "InvalidResourceReference"
        | "LinkedInvalidPropertyId"
        | "InvalidResourceType"
        | "NoRegisteredProviderFound"
        | "LocationNotAvailableForResourceType"
        | "ReservedResourceName"
        | "PlatformImageNotFound"
        | "ImageNotFound" => ErrorKind::Invalid,
        _ if is_in_use(code) || is_busy(code) || is_superseded(code) => ErrorKind::Conflict,
        "InternalServerError"
        | "InternalExecutionError"
        | "ServerTimeout"
        | "GatewayTimeout"
        | "ServiceUnavailable" => ErrorKind::Fault,
        _ => match refusal.status {
            Some(401) => ErrorKind::Credentials,
            Some(403) => ErrorKind::Permission,
            Some(404) => ErrorKind::NotFound,
            Some(409 | 412) => ErrorKind::Conflict,
            Some(408 | 500..) => ErrorKind::Fault,
            Some(429) => ErrorKind::Throttled,
            _ => ErrorKind::Invalid,
        },
    }
}

/// Something else still refers to it: `InUseSubnetCannotBeDeleted`, `NicInUse`.
pub fn is_in_use(code: &str) -> bool {
    code.starts_with("InUse")
        || code.ends_with("InUse")
        || code.ends_with("CannotBeDeleted")
        || code.ends_with("References")
        || code == "NicReservedForAnotherVm"
}

/// It, or what it stands in, is at work: the same call is taken later. A firewall's policy says it with 400
/// (terraform-provider-azurerm#15440).
pub fn is_busy(code: &str) -> bool {
    let policy = code.starts_with("FirewallPolicy") && code.ends_with("NotAllowedWhenUpdatingOrDeleting");
    policy || ["AnotherOperationInProgress", "FirewallPolicyRuleCollectionGroupUpdateNotAllowed"].contains(&code)
}

/// An operation that has made way for another.
fn is_superseded(code: &str) -> bool {
    ["OperationPreempted", "CanceledAndSupersededDueToAnotherOperation"].contains(&code)
}

/// Whether an operation that has ended so may be begun again: nothing is wrong with what was asked
/// (Azure/azure-spring-apps-landing-zone-accelerator#115 shows the first of these for a firewall).
pub fn ends_in_passing(code: &str) -> bool {
    let others = [
        "RetryableError",
        "RetryableErrorDueToAnotherOperation",
        "ReferencedResourceNotProvisioned",
        "InternalServerError",
    ];
    is_busy(code) || is_superseded(code) || others.contains(&code)
}

/// The call's error: Azure refused it.
pub fn cloud_error(request: &Request, refusal: Refusal) -> CloudError {
    let kind = kind(&refusal);
    let reads = request.method == super::request::Method::Get;
    // A fault may strike after the effect; every other refusal comes instead of it.
    let residue = if kind == ErrorKind::Fault && !reads { Residue::Unknown } else { Residue::Nothing };
    let remedy = remedy(request, kind, refusal.code.as_deref().unwrap_or_default(), &refusal.message);
    let Refusal { code, message, request_id, .. } = refusal;
    CloudError { operation: request.operation(), kind, code, request_id, message, residue, remedy }
}

/// A long operation that Azure accepted, and that failed.
pub fn operation_error(request: &Request, refusal: Refusal) -> CloudError {
    let kind = match refusal.code.as_deref() {
        Some("Canceled") => ErrorKind::Conflict,
        // An operation's error comes without a status: nothing says that the request was wrong, unless the code does.
        _ => match kind(&refusal) {
            ErrorKind::Invalid if refusal.code.as_deref().is_none_or(|c| c == "Failed") => ErrorKind::Fault,
            kind => kind,
        },
    };
    let code = refusal.code.as_deref().unwrap_or_default();
    let remedy = remedy(request, kind, code, &refusal.message)
        .or_else(|| Some("the resource is left unfinished; run the command again, it looks and continues".to_owned()));
    let Refusal { code, message, request_id, .. } = refusal;
    CloudError { operation: request.operation(), kind, code, request_id, message, residue: Residue::Unfinished, remedy }
}

fn remedy(request: &Request, kind: ErrorKind, code: &str, message: &str) -> Option<String> {
    let advice = advice(request, kind, code, message);
    // The one thing that a bastion can do without.
    let schedule = format!("/providers/{}/schedules/", super::auto_shutdown::NAMESPACE);
    if request.method != super::request::Method::Put || !request.path.contains(&schedule) {
        return advice;
    }
    let how = advice.unwrap_or_else(|| "see what the message names, and run the command again".to_owned());
    Some(format!(
        "the bastion works without it, and at its end still admits nobody and stops itself; only Azure does not deallocate its \
         machine then, so that is billed until `gangplank destroy` or `gangplank reap`. To have it: {how}"
    ))
}

fn advice(request: &Request, kind: ErrorKind, code: &str, message: &str) -> Option<String> {
    let text = match (kind, code) {
        (ErrorKind::Credentials, "ExpiredAuthenticationToken") => {
            "the session has ended or the clock is wrong: `az login`, check the time, run the command again".to_owned()
        }
        (ErrorKind::Credentials, "InvalidAuthenticationTokenTenant") => {
            "the credentials are of another tenant than the subscription: `az login --tenant TENANT`".to_owned()
        }
        (ErrorKind::Credentials, "InvalidAuthenticationTokenAudience") => {
            "the token is for another cloud: check AZURE_RESOURCE_MANAGER_ENDPOINT and AZURE_AUTHORITY_HOST".to_owned()
        }
        (ErrorKind::Credentials, _) if message.contains(CLAIMS) => MFA.to_owned(),
        (ErrorKind::Credentials, _) => "Azure does not accept these credentials: see `az account show`".to_owned(),
        (_, "SubscriptionNotFound" | "InvalidSubscriptionId") => {
            "check `azure.subscription` in the plan; it does not exist, was deleted, or these credentials can't see it \
             (`az account list -o table` shows what they see)"
                .to_owned()
        }
        (_, "DisallowedOperation") => {
            "this subscription may not do that, by its type or its state: see it in the portal (Subscriptions), or use \
             another one"
                .to_owned()
        }
        (_, "ReadOnlyDisabledSubscription") => {
            "the subscription is disabled and can only be read: re-enable it in the portal (Subscriptions), then run \
             the command again"
                .to_owned()
        }
        (_, "MissingSubscriptionRegistration" | "SubscriptionNotRegistered") => {
            let namespace =
                namespace_in(message).or_else(|| namespace_in(&request.path)).unwrap_or("Microsoft.Network");
            format!(
                "register it once: `az provider register --wait --namespace {namespace}`, and likewise the others of {} that \
                 `az provider show --query registrationState --namespace NAMESPACE` calls NotRegistered; then run the command again",
                NAMESPACES.join(", ")
            )
        }
        (_, "RequestDisallowedByPolicy" | "RequestDisallowedByAzure") if wants_mfa(message) => MFA.to_owned(),
        (_, "RequestDisallowedByPolicy" | "RequestDisallowedByAzure") => {
            "a policy of the subscription forbids it: the message names the policy; fulfil it (tags, location, size) \
             or ask whoever assigned it for an exemption"
                .to_owned()
        }
        (ErrorKind::Permission, _) => {
            "give this identity the action that the message names (docs/azure.md lists all of them), wait a few minutes, \
             then run the command again"
                .to_owned()
        }
        (_, "SkuNotAvailable" | "NotAvailableForSubscription") => {
            "this subscription can't have that size in that location: change `azure.size` or `azure.location` \
             (`az vm list-skus -l LOCATION -o table`)"
                .to_owned()
        }
        (
            _,
            "AllocationFailed"
            | "ZonalAllocationFailed"
            | "OverconstrainedAllocationRequest"
            | "OverconstrainedZonalAllocationRequest",
        ) => "the location has none of this size left: try later, or change `azure.size`".to_owned(),
        (_, "PublicIPCountLimitReached") => {
            "release a public address or raise the quota \"Public IP Addresses\" of the location".to_owned()
        }
        (ErrorKind::Quota, _) => "raise the quota in the portal (Quotas) or remove what is unused, then run the \
             command again"
            .to_owned(),
        (ErrorKind::Throttled, _) => {
            "Azure kept asking to slow down: run the command again later, it continues where it stopped".to_owned()
        }
        (ErrorKind::Fault, _) => {
            "Azure kept failing: run the command again later, it continues where it stopped".to_owned()
        }
        (_, "PreconditionFailed") => {
            "somebody changed it between our look and our write: run the command again, it looks anew".to_owned()
        }
        (_, code) if is_busy(code) => {
            "somebody else's change is under way: run the command again when it has ended".to_owned()
        }
        (_, "ResourceGroupBeingDeleted") => {
            "the resource group is being deleted: wait until it is gone, then run the command again".to_owned()
        }
        (_, "ScopeLocked") => {
            "it is protected by a lock, which gangplank leaves as it is: remove the lock if it should go (`az lock list`), then run \
             the command again"
                .to_owned()
        }
        (_, "InvalidResourceReference" | "LinkedInvalidPropertyId") => {
            "something that it refers to is not there: check the existing resources that the plan names".to_owned()
        }
        (_, "PlatformImageNotFound" | "ImageNotFound") => {
            "this location has no such image: change `azure.image`".to_owned()
        }
        (_, "ReservedResourceName") => "Azure reserves a word in it: choose another `name` in the plan".to_owned(),
        (_, "LocationNotAvailableForResourceType" | "NoRegisteredProviderFound") => {
            "check `azure.location`: `az account list-locations -o table`".to_owned()
        }
        (ErrorKind::Conflict, code) if is_in_use(code) => {
            "something still uses it; remove that first, then run the command again".to_owned()
        }
        _ => return None,
    };
    Some(text)
}

/// Since autumn 2025 people need a second factor for whatever creates, changes or deletes ("Plan for mandatory Microsoft Entra
/// multifactor authentication"): a policy says so (azure-docs-cli#5403), or a claims challenge (azure-dev#5425).
const MFA: &str = "Azure wants a second factor from people: log in with it (`az login`, in a browser), or use a service principal or a \
                   managed identity, which need none";
const CLAIMS: &str = "Azure asks for another token, with claims";

fn wants_mfa(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    message.contains("MFA") || ["multifactor", "multi-factor"].iter().any(|word| lower.contains(word))
}

/// `Microsoft.Network` in a sentence or a path.
fn namespace_in(text: &str) -> Option<&str> {
    let from = text.get(text.find("Microsoft.")?..)?;
    let end = from.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(from.len());
    from.get(..end).map(|name| name.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::azure::request::Headers;

    fn kind_of(code: &str, status: u16) -> ErrorKind {
        kind(&Refusal { code: Some(code.to_owned()), status: Some(status), ..Refusal::default() })
    }

    #[test]
    fn codes_tell_kinds_apart() {
        assert_eq!(kind_of("ResourceNotFound", 404), ErrorKind::NotFound);
        assert_eq!(kind_of("ResourceGroupNotFound", 404), ErrorKind::NotFound);
        assert_eq!(kind_of("ParentResourceNotFound", 404), ErrorKind::NotFound);
        assert_eq!(kind_of("SubscriptionNotFound", 404), ErrorKind::Permission, "nothing of ours is thereby gone");
        assert_eq!(kind_of("InvalidResourceReference", 404), ErrorKind::Invalid, "what it refers to is missing");
        assert_eq!(kind_of("AuthorizationFailed", 403), ErrorKind::Permission);
        assert_eq!(kind_of("ReadOnlyDisabledSubscription", 409), ErrorKind::Permission);
        assert_eq!(kind_of("AnotherOperationInProgress", 409), ErrorKind::Conflict);
        assert_eq!(kind_of("FirewallPolicyUpdateNotAllowedWhenUpdatingOrDeleting", 400), ErrorKind::Conflict);
        assert_eq!(kind_of("PreconditionFailed", 412), ErrorKind::Conflict);
        assert_eq!(kind_of("InUseSubnetCannotBeDeleted", 400), ErrorKind::Conflict);
        assert_eq!(kind_of("PublicIPAddressCannotBeDeleted", 400), ErrorKind::Conflict);
        assert_eq!(kind_of("NicInUse", 400), ErrorKind::Conflict);
        assert_eq!(kind_of("SubscriptionRequestsThrottled", 429), ErrorKind::Throttled);
        assert_eq!(kind_of("RetryableError", 429), ErrorKind::Throttled);
        assert_eq!(kind_of("PublicIPCountLimitReached", 400), ErrorKind::Quota);
        assert_eq!(kind_of("SomethingNew", 502), ErrorKind::Fault);
        assert_eq!(kind_of("SomethingNew", 400), ErrorKind::Invalid);
    }

    #[test]
    fn cores_that_run_out_are_a_quota_whatever_azure_calls_it() {
        let refusal = |message: &str| Refusal {
            code: Some("OperationNotAllowed".to_owned()),
            status: Some(409),
            message: message.to_owned(),
            request_id: None,
        };
        let cores = "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.";
        assert_eq!(kind(&refusal(cores)), ErrorKind::Quota);
        assert_eq!(kind(&refusal("Disk is attached to a virtual machine.")), ErrorKind::Conflict);
    }

    #[test]
    fn errors_inside_errors_are_kept_and_nothing_is_said_twice() {
        let refusal = Refusal::in_body(&json!({"error": {
            "code": "RetryableError", "message": "A retryable error occurred.",
            "details": [
                {"code": "ReferencedResourceNotProvisioned", "message": "nic-a is Updating."},
                {"code": "RetryableError", "message": "A retryable error occurred."},
            ],
            "innererror": {"code": "X", "message": "", "innerError": {"message": "at last"}},
        }}));
        assert_eq!(refusal.code.as_deref(), Some("RetryableError"));
        assert_eq!(
            refusal.message,
            "A retryable error occurred.\n  ReferencedResourceNotProvisioned: nic-a is Updating.\n  \
             RetryableError: A retryable error occurred.\n  X\n  at last"
        );
    }

    #[test]
    fn an_error_without_its_envelope_is_read_too() {
        let refusal = Refusal::in_body(&json!({"code": "NotFound", "message": "The entity was not found."}));
        assert_eq!(
            (refusal.code.as_deref(), refusal.message.as_str()),
            (Some("NotFound"), "The entity was not found.")
        );
    }

    #[test]
    fn what_is_no_error_at_all_says_so() {
        let answer = Answer { status: 400, headers: Default::default(), body: Value::Null };
        assert_eq!(Refusal::of(&answer).message, "Azure answered 400 and gave no reason");
    }

    #[test]
    fn what_a_person_can_do_fits_the_cause() {
        let request = Request::put(
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v",
            "1",
            Value::Null,
        );
        let told = |code: &str, message: &str| {
            let refusal = Refusal {
                code: Some(code.to_owned()),
                status: Some(409),
                message: message.to_owned(),
                request_id: None,
            };
            cloud_error(&request, refusal).remedy.unwrap_or_default()
        };
        assert!(
            told(
                "MissingSubscriptionRegistration",
                "The subscription is not registered to use namespace 'Microsoft.Compute'."
            )
            .contains("--namespace Microsoft.Compute`")
        );
        assert!(told("SkuNotAvailable", "").contains("azure.size"));
        assert!(told("SubscriptionNotFound", "").contains("azure.subscription"));
        assert!(told("QuotaExceeded", "").contains("Quotas"));
    }

    #[test]
    fn a_second_factor_is_asked_for_in_two_ways() {
        let request = Request::put("/x", "1", Value::Null);
        let challenge =
            "Bearer authorization_uri=\"https://login.windows.net/t\", error=\"insufficient_claims\", claims=\"eyJ9\"";
        let headers = Headers { challenge: Some(challenge.to_owned()), ..Headers::default() };
        let body = json!({"error": {"code": "RequestDisallowedByPolicy", "message": "Reasons: MFA is required."}});
        for answer in [
            Answer { status: 401, headers, body: json!({"error": {"code": "AuthenticationFailed", "message": "No."}}) },
            Answer { status: 403, headers: Headers::default(), body },
        ] {
            let remedy = cloud_error(&request, Refusal::of(&answer)).remedy.unwrap_or_default();
            assert!(remedy.contains("service principal"), "{remedy}");
        }
    }

    #[test]
    fn a_failed_operation_leaves_something_unfinished() {
        let request = Request::put("/x", "1", Value::Null);
        let error =
            operation_error(&request, Refusal { code: Some("AllocationFailed".to_owned()), ..Refusal::default() });
        assert_eq!((error.kind, error.residue), (ErrorKind::Quota, Residue::Unfinished));
    }
}
