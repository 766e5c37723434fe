//! The SDK's transport without a network: a request goes to whoever serves it, and the answer comes back at once.

use std::sync::Arc;

use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;

use crate::sandbox::http::{Ask, Reply, Serve, Served};

/// An HTTP client of the SDK whose other end is in this process.
#[derive(Clone, Debug)]
pub struct Direct(Arc<dyn Serve>);

impl Direct {
    pub fn new(server: Arc<dyn Serve>) -> Self {
        Self(server)
    }
}

impl HttpClient for Direct {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Direct {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = match ask(&request).map(|ask| self.0.serve(ask)) {
            Ok(Served::Reply(reply)) => response(reply),
            Ok(Served::Lost) => Err(ConnectorError::io("the connection closed without an answer".into())),
            Ok(Served::Never) => return HttpConnectorFuture::new(std::future::pending()),
            Err(error) => Err(error),
        };
        HttpConnectorFuture::ready(answer)
    }
}

/// What is on the wire, taken apart.
fn ask(request: &HttpRequest) -> Result<Ask, ConnectorError> {
    let uri = request.uri();
    let (head, query) = uri.split_once('?').unwrap_or((uri, ""));
    // `scheme://host/path`
    let path_at = head.find("://").map_or(0, |at| at + 3);
    let path_at = head[path_at..].find('/').map_or(head.len(), |at| path_at + at);
    let (origin, path) = head.split_at(path_at);
    // EC2's requests are forms in memory; a stream is none of its.
    let body = request.body().bytes().ok_or_else(|| ConnectorError::user("the body is a stream".into()))?;
    Ok(Ask {
        method: request.method().to_owned(),
        path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: request.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: body.to_vec(),
        origin: origin.to_owned(),
    })
}

fn response(reply: Reply) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(reply.status).map_err(|error| ConnectorError::other(error.into(), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(reply.body));
    for (name, value) in reply.headers {
        response.headers_mut().try_append(name, value).map_err(|error| ConnectorError::other(error.into(), None))?;
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use jiff::Timestamp;

    use super::*;
    use crate::{
        changeset::StepId,
        cloud_error::{CloudError, ErrorKind},
        drift::Act,
        event::{Event, Watcher},
        provider::{
            Progress,
            aws::{api::Ec2, history, observe, retry::Repeat},
        },
        sandbox::ec2::World,
    };

    #[derive(Debug)]
    struct Alone(Mutex<World>);

    impl Serve for Alone {
        fn serve(&self, ask: Ask) -> Served {
            let mut world = self.0.lock().expect("no test panics with it");
            Served::Reply(world.answer(Timestamp::UNIX_EPOCH, &ask))
        }
    }

    /// The same world at another time.
    #[derive(Debug)]
    struct Later(Arc<Alone>, Timestamp);

    impl Serve for Later {
        fn serve(&self, ask: Ask) -> Served {
            let mut world = self.0.0.lock().expect("no test panics with it");
            Served::Reply(world.answer(self.1, &ask))
        }
    }

    struct Nobody;

    impl Watcher for Nobody {
        fn event(&self, _: Event) {}
    }

    #[derive(Debug)]
    struct Trouble(Served);

    impl Serve for Trouble {
        fn serve(&self, _: Ask) -> Served {
            self.0.clone()
        }
    }

    fn world() -> Ec2 {
        Ec2::over(Direct::new(Arc::new(Alone(Mutex::new(World::company("us-east-1"))))), "us-east-1")
    }

    async fn create(ec2: &Ec2, name: &str) -> Result<String, CloudError> {
        let step = StepId(String::new());
        let progress = &Progress { step: &step, watcher: &Nobody };
        let vpc = observe::subnets(ec2, progress).await?.remove(0).vpc;
        let send = || ec2.client.create_security_group().group_name(name).description("d").vpc_id(&vpc).send();
        let made = ec2.call("CreateSecurityGroup", Repeat::SAFE, progress, send).await?;
        Ok(made.group_id().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn the_sdk_cannot_tell() {
        let ec2 = world();
        let id = create(&ec2, "one").await.expect("made");
        assert!(id.starts_with("sg-0"), "{id}");
        let error = create(&ec2, "one").await.expect_err("a second of this name");
        assert_eq!((error.code.as_deref(), error.kind), (Some("InvalidGroup.Duplicate"), ErrorKind::Conflict));
        assert!(error.request_id.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_leaves_the_outcome_open_and_a_dead_caller_hears_nothing() {
        let lost = Ec2::over(Direct::new(Arc::new(Trouble(Served::Lost))), "us-east-1");
        let step = StepId(String::new());
        let progress = Progress { step: &step, watcher: &Nobody };
        let send = || lost.client.allocate_address().send();
        let error = lost.call("AllocateAddress", Repeat::ONCE, &progress, send).await.expect_err("lost");
        assert_eq!((error.kind, error.residue), (ErrorKind::Unreachable, crate::cloud_error::Residue::Unknown));
        let never = Ec2::over(Direct::new(Arc::new(Trouble(Served::Never))), "us-east-1");
        let day = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, never.client.allocate_address().send()).await.is_err());
    }

    /// Through the SDK of CloudTrail, whose identity, transport and region are those of EC2's.
    #[tokio::test]
    async fn the_history_tells_and_may_refuse() {
        let (early, late) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(3600).expect("a time"));
        let alone = Arc::new(Alone(Mutex::new(World::company("eu-west-1"))));
        let ec2 = Ec2::over(Direct::new(alone.clone()), "eu-west-1");
        let id = create(&ec2, "one").await.expect("made");
        assert_eq!(ec2.events(&id, early, late).await.expect("told"), [""; 0], "not yet");
        let later = Later(alone, late);
        let events = Ec2::over(Direct::new(Arc::new(later)), "eu-west-1").events(&id, early, late).await.expect("told");
        let acts = history::read(events.iter().map(String::as_str), None);
        assert_eq!(acts.iter().map(Act::by).collect::<Vec<_>>(), ["gangplank, as user operator from 198.51.100.20"]);
        assert_eq!(acts[0].what, "CreateSecurityGroup");

        let body = r#"{"__type": "AccessDeniedException", "Message": "User: ana is not authorized to perform: cloudtrail:LookupEvents"}"#;
        let no = Reply::text(400, body.to_owned()).with("content-type", "application/x-amz-json-1.1");
        let refused = Ec2::over(Direct::new(Arc::new(Trouble(Served::Reply(no)))), "eu-west-1");
        let error = refused.events(&id, early, late).await.expect_err("refused");
        assert_eq!(
            history::refusal(&error),
            "CloudTrail may not be asked (cloudtrail:LookupEvents): User: ana is not authorized to perform: \
             cloudtrail:LookupEvents"
        );
    }

    /// What the simulation pays for a call: `cargo test --lib -- --ignored --nocapture what_a_call_costs`.
    #[tokio::test]
    #[ignore = "a measurement"]
    async fn what_a_call_costs() {
        let ec2 = world();
        let step = StepId(String::new());
        let progress = Progress { step: &step, watcher: &Nobody };
        for round in 0..2 {
            let began = std::time::Instant::now();
            for _ in 0..1000 {
                observe::subnets(&ec2, &progress).await.expect("read");
            }
            let describe = began.elapsed() / 1000;
            let began = std::time::Instant::now();
            for n in 0..300 {
                create(&ec2, &format!("g{round}-{n}")).await.expect("made");
            }
            let both = began.elapsed() / 300;
            println!("describe {describe:?}, create {:?}", both.saturating_sub(describe));
        }
        let mut alone = World::company("us-east-1");
        let body = b"Action=DescribeSubnets&Version=2016-11-15&MaxResults=1000".to_vec();
        let ask = Ask { method: "POST".to_owned(), body, ..Ask::default() };
        let began = std::time::Instant::now();
        for _ in 0..1000 {
            assert_eq!(alone.answer(Timestamp::UNIX_EPOCH, &ask).status, 200);
        }
        println!("the world alone: {:?}", began.elapsed() / 1000);
    }
}
