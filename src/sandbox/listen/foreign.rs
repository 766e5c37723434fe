//! What clients of AWS's other services are told, each in its own protocol: that nobody is here.

use serde_json::json;

use crate::sandbox::http::{Ask, Reply};

/// The service that a request is signed for: of `Credential=KEY/DATE/REGION/SERVICE/aws4_request`, the fourth part ("Elements
/// of an AWS API request signature" in the IAM User Guide).
pub fn service(ask: &Ask) -> Option<&str> {
    let authorization = ask.header("authorization").filter(|text| text.starts_with("AWS4-"))?;
    let (_, credential) = authorization.split_once("Credential=")?;
    // A key may hold anything, a slash too: it is counted from the end.
    credential.split([',', ' ']).next()?.rsplit('/').nth(1)
}

/// The refusal in the form that the service's client reads: JSON, S3's XML, or the query services' XML.
pub fn refuse(service: &str, ask: &Ask) -> Reply {
    const CODE: &str = "NotInTheSandbox";
    let service: String = service.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).take(64).collect();
    let message = format!("The sandbox has EC2 and Azure Resource Manager, and no {service}");
    let sent = ask.header("content-type").unwrap_or_default();
    let xml = |text: String| Reply::text(400, text).with("content-type", "text/xml");
    if sent.starts_with("application/x-www-form-urlencoded") {
        xml(format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{CODE}</Code><Message>{message}</Message></Error></ErrorResponse>"
        ))
    } else if service.starts_with("s3") {
        xml(format!("<Error><Code>{CODE}</Code><Message>{message}</Message></Error>"))
    } else {
        Reply::text(400, json!({ "__type": CODE, "message": message }).to_string())
            .with("content-type", "application/json")
            .with("x-amzn-errortype", CODE)
    }
}

/// What EC2 says to a call that nobody signed ("Common errors", EC2 API Reference).
pub fn unsigned() -> Reply {
    let (code, message) = (
        "MissingAuthenticationToken",
        "The request must contain either a valid (registered) AWS access key ID or X.509 certificate.",
    );
    Reply::text(
        403,
        format!("<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"),
    )
    .with("content-type", "text/xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(authorization: &str) -> Ask {
        Ask { headers: [("authorization".to_owned(), authorization.to_owned())].into(), ..Ask::default() }
    }

    #[test]
    fn the_service_is_in_the_signature() {
        let text = "AWS4-HMAC-SHA256 Credential=any/thing/20261122/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";
        assert_eq!(service(&signed(text)), Some("s3"));
        for text in ["Bearer eyJ", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=", ""] {
            assert_eq!(service(&signed(text)), None, "{text}");
        }
        assert_eq!(service(&Ask::default()), None);
    }

    #[test]
    fn the_refusal_repeats_nothing_that_could_be_markup() {
        let reply = refuse("s3<x>&", &Ask::default());
        let text = String::from_utf8(reply.body).unwrap();
        assert!(text.contains("no s3x<"), "{text}");
    }
}
