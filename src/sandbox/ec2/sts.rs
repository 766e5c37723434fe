//! STS as far as gangplank calls it: `GetCallerIdentity`, in the shapes of the AWS Security Token Service API Reference (2011-06-15),
//! its example answer and "Common errors".

use super::{
    refusal::{Outcome, refuse},
    trail::user_of,
    world::{ACCOUNT, read},
    xml::escape,
};
use crate::sandbox::http::{Ask, Reply};

const VERSION: &str = "2011-06-15";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Signed for STS, as requests to it are: `Credential=KEY/DATE/REGION/sts/aws4_request`.
pub fn is_asked(ask: &Ask) -> bool {
    let scope = ask.header("authorization").and_then(|text| text.split("Credential=").nth(1));
    scope.and_then(|scope| scope.split([',', ' ']).next()?.rsplit('/').nth(1)) == Some("sts")
}

/// Whoever asks is a user of the one account that there is. A key that is in use is accepted, whichever it is.
pub fn answer(ask: &Ask, request: &str) -> Reply {
    let reply = match call(ask) {
        Ok(()) => {
            let mut user = String::new();
            escape(&mut user, &user_of(ask).0);
            let body = format!(
                "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult>\
                 <Arn>arn:aws:iam::{ACCOUNT}:user/{user}</Arn><UserId>AIDASANDBOX</UserId><Account>{ACCOUNT}</Account>\
                 </GetCallerIdentityResult><ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata>\
                 </GetCallerIdentityResponse>"
            );
            Reply::text(200, body)
        }
        Err(refusal) => {
            let mut message = String::new();
            escape(&mut message, &refusal.message);
            let code = &refusal.code;
            let body = format!(
                "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
                 <Message>{message}</Message></Error><RequestId>{request}</RequestId></ErrorResponse>"
            );
            Reply::text(refusal.status, body)
        }
    };
    reply.with("content-type", "text/xml").with("x-amzn-requestid", request)
}

fn call(ask: &Ask) -> Outcome<()> {
    let mut form = read(ask)?;
    let action = form.need("Action")?;
    let version = form.need("Version")?;
    if (action.as_str(), version.as_str()) != ("GetCallerIdentity", VERSION) {
        let message =
            format!("Could not find operation {action} for version {version}: this sandbox knows GetCallerIdentity");
        return refuse("InvalidAction", message);
    }
    form.done()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::sandbox::ec2::World;

    fn ask(service: &str, body: &str) -> Reply {
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential=AKIDMARY/20261101/us-east-1/{service}/aws4_request, Signature=0");
        let ask = Ask {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: [("authorization".to_owned(), authorization)].into(),
            body: body.as_bytes().to_vec(),
            ..Ask::default()
        };
        World::company("us-east-1").answer(Timestamp::UNIX_EPOCH, &ask)
    }

    #[test]
    fn it_tells_the_account_and_the_caller() {
        let reply = ask("sts", "Action=GetCallerIdentity&Version=2011-06-15");
        let text = String::from_utf8(reply.body).expect("XML");
        assert_eq!(reply.status, 200, "{text}");
        assert!(text.contains("<Account>123456789012</Account>"), "{text}");
        assert!(text.contains("<Arn>arn:aws:iam::123456789012:user/AKIDMARY</Arn>"), "{text}");
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        for (service, body) in [
            ("sts", "Action=AssumeRole&Version=2011-06-15"),
            ("sts", "Action=GetCallerIdentity&Version=2016-11-15"),
            ("sts", "Action=GetCallerIdentity&Version=2011-06-15&Colour=red"),
            ("ec2", "Action=GetCallerIdentity&Version=2016-11-15"),
        ] {
            assert_eq!(ask(service, body).status, 400, "{service} {body}");
        }
    }
}
