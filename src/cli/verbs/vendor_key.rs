//! `gangplank vendor-key`: the public key that a vendor's documented API tells. It asks the vendor once and changes nothing.
//!
//! Fivetran: <https://fivetran.com/docs/rest-api/api-reference/groups/group-ssh-public-key>. Its Terraform provider reads the same
//! variables.

use std::{env, slice, time::Duration};

use azure_core::http::{self, Url};
use base64ct::{Base64, Encoding};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    cli::{
        args::VendorKey,
        exit::{Error, Exit, print},
    },
    cloud_error::{CloudError, ErrorKind, Residue},
    plan::{self, Plan, PublicKey, Vendor},
    provider::{azure::arm::is_loopback, endpoint_setting},
    text::clean,
};

const VENDOR: &str = "fivetran";
const KEY: &str = "FIVETRAN_APIKEY";
const SECRET: &str = "FIVETRAN_APISECRET";
const ENDPOINT: &str = "FIVETRAN_APIURL";
const PUBLIC: &str = "https://api.fivetran.com/v1";
const TIMEOUT: Duration = Duration::from_secs(60);

pub async fn run(args: &VendorKey, in_sandbox: bool) -> Result<Exit, Error> {
    let usage = |why: String| Err(Error::Usage(format!("nothing was asked: {why}")));
    if in_sandbox {
        return usage("no vendor is in a sandbox".to_owned());
    }
    let plans = plan::load(slice::from_ref(&args.path))?;
    let places: Vec<String> = plans.iter().flat_map(places).collect();
    if places.is_empty() {
        return usage(format!("{} has no tunnel for Fivetran, whose key alone can be fetched", args.path.display()));
    }
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(key), Some(secret)) = (set(KEY), set(SECRET)) else {
        return usage(format!("{KEY} and {SECRET} are needed in the environment: Fivetran's API key and its secret"));
    };
    if args.group.is_empty() || !args.group.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
        return usage(format!("{:?} is not the id of a group of Fivetran's, such as decent_dropsy", args.group));
    }
    endpoint_setting::check("Fivetran", &[ENDPOINT], &|name| env::var(name).ok())?;
    let base = set(ENDPOINT).unwrap_or_else(|| PUBLIC.to_owned());
    let url = format!("{}/groups/{}/public-key", base.trim_end_matches('/'), args.group);
    let url = Url::parse(&url).map_err(|error| failure(ErrorKind::Invalid, format!("{ENDPOINT}: {error}")))?;
    if url.scheme() != "https" && !is_loopback(&url) {
        return usage(format!("{ENDPOINT} is neither https nor on this machine: the API key is not sent there"));
    }
    let found = ask(&url, &format!("{key}:{secret}")).await?;
    let mut tunnels = plans.iter().flat_map(|plan| &plan.tunnels);
    let known = tunnels.find(|tunnel| tunnel.keys.iter().any(|key| key.base64 == found.base64));
    print(&match known {
        Some(tunnel) => {
            format!("the plan has it already, at tunnel {}: {}\n", clean(&tunnel.user.to_string()), found.fingerprint)
        }
        None => format!(
            "Fivetran's key for {}, {}:\n    keys:\n      - \"{}\"\n",
            places.join(" or "),
            found.fingerprint,
            found.text()
        ),
    })?;
    Ok(Exit::Done)
}

/// Each tunnel of Fivetran's, with the place where its keys belong.
fn places(plan: &Plan) -> Vec<String> {
    let of = |vendor: &Vendor| vendor.known.is_some_and(|known| known.id == VENDOR);
    let tunnels = plan.tunnels.iter().enumerate().filter(|(_, tunnel)| tunnel.vendor.as_ref().is_some_and(of));
    tunnels
        .map(|(i, tunnel)| {
            let place = plan.origin.place(&format!("tunnels[{i}].keys"));
            format!("tunnel {} ({}, line {})", tunnel.user, clean(&place.source.path), place.line_column().0)
        })
        .collect()
}

async fn ask(url: &Url, credentials: &str) -> Result<PublicKey, CloudError> {
    let mut request = http::Request::new(url.clone(), http::Method::Get);
    request.insert_header("user-agent", concat!("gangplank/", env!("CARGO_PKG_VERSION")));
    request.insert_header("accept", "application/json");
    request.insert_header("authorization", format!("Basic {}", Base64::encode_string(credentials.as_bytes())));
    let client = http::new_http_client(None);
    let exchanged = timeout(TIMEOUT, async { client.execute_request(&request).await?.try_into_raw_response().await });
    let host = endpoint_setting::host(url.as_str());
    let answer = exchanged
        .await
        .map_err(|_| failure(ErrorKind::Unreachable, format!("no answer from {host} within {} s", TIMEOUT.as_secs())))?
        .map_err(|error| failure(ErrorKind::Unreachable, format!("no answer from {host}: {error}")))?;
    let (status, _, body) = answer.deconstruct();
    read(status.into(), &body)
}

/// `data.public_key` of the answer, or the `code` and `message` of a refusal.
fn read(status: u16, body: &[u8]) -> Result<PublicKey, CloudError> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    if status != 200 {
        let kind = match status {
            401 => ErrorKind::Credentials,
            403 => ErrorKind::Permission,
            404 => ErrorKind::NotFound,
            429 => ErrorKind::Throttled,
            500.. => ErrorKind::Fault,
            _ => ErrorKind::Invalid,
        };
        let said = body["message"].as_str().unwrap_or("no reason is given");
        let code = body["code"].as_str().map(str::to_owned);
        return Err(CloudError { code, ..failure(kind, format!("HTTP status {status}: {said}")) });
    }
    // It goes into a plan, so it has to be what a plan takes.
    let text = body["data"]["public_key"].as_str().unwrap_or_default();
    plan::parse_key(text)
        .map_err(|why| failure(ErrorKind::Invalid, format!("the answer holds no key that a plan takes: {why}")))
}

fn failure(kind: ErrorKind, message: String) -> CloudError {
    let remedy = match kind {
        ErrorKind::Credentials | ErrorKind::Permission => Some(format!("check {KEY} and {SECRET}")),
        ErrorKind::NotFound => {
            Some("--group takes the id of the destination's group, which Fivetran's dashboard shows".to_owned())
        }
        _ => None,
    };
    let operation = "Fivetran's GET /v1/groups/{groupId}/public-key".to_owned();
    CloudError { operation, kind, code: None, request_id: None, message, residue: Residue::Nothing, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU";

    #[test]
    fn an_answer_is_a_key_that_a_plan_takes_or_a_failure() {
        let answer = |key: &str| format!(r#"{{"code": "Success", "data": {{"public_key": "{key}"}}}}"#);
        let found = read(200, answer(&format!("{ED25519} fivetran user key\\n")).as_bytes()).expect("a key");
        assert_eq!(found.text(), ED25519);
        for odd in ["", "command=\\\"sh\\\" ssh-ed25519 AAAA", "ssh-dss AAAA"] {
            assert_eq!(read(200, answer(odd).as_bytes()).expect_err(odd).kind, ErrorKind::Invalid);
        }
        for (status, kind) in [(401, ErrorKind::Credentials), (404, ErrorKind::NotFound), (503, ErrorKind::Fault)] {
            let error =
                read(status, br#"{"code": "NotFound_Group", "message": "no such group"}"#).expect_err("refused");
            assert_eq!((error.kind, error.code.as_deref()), (kind, Some("NotFound_Group")));
            assert!(error.message.contains("no such group"), "{error}");
        }
        assert_eq!(read(200, b"<html>").expect_err("no JSON").kind, ErrorKind::Invalid);
    }
}
