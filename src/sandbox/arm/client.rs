//! An HTTP client of the Azure SDK without a network: whoever serves the sandbox answers.

use std::{fmt::Debug, future::pending, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    error::{Error, ErrorKind},
    http::{AsyncRawResponse, Body, HttpClient, Request, headers::Headers},
};

use crate::sandbox::http::{Ask, Reply, Serve, Served};

/// A client towards `cloud`, whatever the host of a request's address.
pub fn client(cloud: Arc<dyn Serve>) -> Arc<dyn HttpClient> {
    Arc::new(Client(cloud))
}

#[derive(Debug)]
struct Client(Arc<dyn Serve>);

#[async_trait]
impl HttpClient for Client {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.0.serve(ask(request)?) {
            Served::Reply(reply) => Ok(answer(reply)),
            Served::Lost => Err(Error::with_message(ErrorKind::Io, "connection closed")),
            Served::Never => pending().await,
        }
    }
}

fn ask(request: &Request) -> azure_core::Result<Ask> {
    let Body::Bytes(body) = request.body() else {
        return Err(Error::with_message(ErrorKind::Io, "the sandbox takes no streams"));
    };
    let url = request.url();
    // A plus in a path is a plus.
    let path = format!("p={}", url.path().replace('+', "%2B"));
    let path = form_urlencoded::parse(path.as_bytes()).next().map(|(_, path)| path.into_owned());
    Ok(Ask {
        method: request.method().as_ref().to_owned(),
        path: path.unwrap_or_default(),
        query: url.query_pairs().into_owned().collect(),
        headers: request.headers().iter().map(|(n, v)| (n.as_str().to_lowercase(), v.as_str().to_owned())).collect(),
        body: body.to_vec(),
        origin: url.origin().ascii_serialization(),
    })
}

fn answer(reply: Reply) -> AsyncRawResponse {
    let mut headers = Headers::new();
    for (name, value) in reply.headers {
        headers.insert(name.to_lowercase(), value);
    }
    AsyncRawResponse::from_bytes(reply.status.into(), headers, reply.body)
}
