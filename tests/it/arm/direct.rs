//! The client over the world without a network: time stands still but for the client's own pauses, which are free.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request, headers::Headers};
use gangplank::provider::azure::arm::Arm;

use super::{fault::Served, http::ask, world::World};

const ENDPOINT: &str = "https://management.azure.com";

#[derive(Clone, Default)]
pub struct Direct(Arc<Mutex<World>>);

impl Direct {
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As if towards the public cloud, without a token.
    pub fn arm(&self) -> Arm {
        Arm::new(ENDPOINT.parse().expect("an address"), Arc::new(self.clone()), None)
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Direct")
    }
}

impl HttpClient for Direct {
    fn execute_request<'a, 'b, 'async_trait>(
        &'a self,
        request: &'b Request,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'async_trait>>
    where
        'a: 'async_trait,
        'b: 'async_trait,
        Self: 'async_trait,
    {
        let headers: BTreeMap<String, String> =
            request.headers().iter().map(|(n, v)| (n.as_str().to_owned(), v.as_str().to_owned())).collect();
        let Body::Bytes(body) = request.body().clone() else { unreachable!("bodies are bytes") };
        let url = request.url();
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let ask = ask(request.method().as_ref(), &target, headers, &body, ENDPOINT.to_owned());
        let answer = match self.world().serve(&ask) {
            Served::Reply(reply) => {
                let mut headers = Headers::new();
                for (name, value) in reply.headers {
                    headers.insert(name.to_lowercase(), value);
                }
                Ok(AsyncRawResponse::from_bytes(reply.status.into(), headers, reply.body))
            }
            Served::Garbage => Ok(AsyncRawResponse::from_bytes(200.into(), Headers::new(), "<html>hello</html>")),
            Served::Lost | Served::Kill => {
                Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Io, "connection closed"))
            }
        };
        Box::pin(async move { answer })
    }
}
