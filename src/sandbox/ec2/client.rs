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
