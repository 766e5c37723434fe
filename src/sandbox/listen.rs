//! A sandbox on loopback, for programs that are not this one: one port for the clouds' calls, and one for each machine's SSH.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval},
};

use super::{
    call::Cloud,
    cloud::Sandbox,
    http::{Ask, Served},
};
use crate::verify::network::dial::{Dialed, Dialer};

/// The largest request: Azure takes bodies of up to 4 MB ("Azure subscription and service limits", Azure Resource Manager).
const LARGEST: usize = 4 << 20;
/// How often machines are looked for, and live.
const LOOK: Duration = Duration::from_secs(1);

/// Binds a port of this machine that nobody else can reach; 0 takes a free one.
///
/// # Errors
/// What the operating system says, a port in use among it.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Answers calls and SSH until it is dropped. `opened` hears of each machine: its id, the public address and port that lead to
/// it, and where that answers on this machine.
///
/// # Errors
/// What the operating system says of the listener.
pub async fn serve(
    sandbox: Sandbox,
    listener: TcpListener,
    opened: impl Fn(&str, SocketAddr, SocketAddr),
) -> io::Result<()> {
    let here = listener.local_addr()?;
    let mut machines: BTreeMap<(String, SocketAddr), tokio::task::JoinHandle<()>> = BTreeMap::new();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(calls(sandbox.clone(), stream, here));
            }
            _ = looks.tick() => {
                let listeners = sandbox.listeners();
                machines.retain(|key, task| {
                    let stays = listeners.contains(key);
                    if !stays {
                        task.abort();
                    }
                    stays
                });
                for (vm, to) in listeners {
                    if machines.contains_key(&(vm.clone(), to)) {
                        continue;
                    }
                    let listener = bind(0).await?;
                    opened(&vm, to, listener.local_addr()?);
                    machines.insert((vm, to), tokio::spawn(ssh(sandbox.clone(), listener, to)));
                }
                sandbox.keep()?;
            }
        }
    }
}

/// Leads every connection to a machine of the sandbox.
async fn ssh(sandbox: Sandbox, listener: TcpListener, to: SocketAddr) {
    while let Ok((mut near, _)) = listener.accept().await {
        let sandbox = sandbox.clone();
        tokio::spawn(async move {
            if let Ok(Dialed { mut stream, .. }) = sandbox.dial(to, None).await {
                // Either side may end it as it likes.
                let _ = copy_bidirectional(&mut near, &mut stream).await;
            }
        });
    }
}

/// Answers the requests of one connection.
async fn calls(sandbox: Sandbox, stream: TcpStream, here: SocketAddr) {
    let service = service_fn(|request| answer(&sandbox, request, here));
    // A client that goes away, or talks something else, ends its own connection only.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// The connection was to close without an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed")
    }
}

impl std::error::Error for Closed {}

async fn answer(
    sandbox: &Sandbox,
    request: Request<Incoming>,
    here: SocketAddr,
) -> Result<Response<Full<Bytes>>, Closed> {
    let plain = |status: StatusCode, text: &str| {
        let mut response = Response::new(Full::from(format!("{text}\n")));
        *response.status_mut() = status;
        Ok(response)
    };
    let (parts, body) = request.into_parts();
    let headers: HashMap<String, String> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    // A page in a browser must not reach it under a name of its own.
    let host = headers.get("host").map(String::as_str).unwrap_or_default();
    if !["127.0.0.1", "localhost"].contains(&host.rsplit_once(':').map_or(host, |(name, _)| name)) {
        return plain(StatusCode::FORBIDDEN, "ask 127.0.0.1");
    }
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is larger than 4 MB, or has not come to its end");
    };
    let decoded = format!("p={}", parts.uri.path().replace('+', "%2B"));
    let path = form_urlencoded::parse(decoded.as_bytes()).next().map(|(_, path)| path.into_owned()).unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default();
    let ask = Ask {
        method: parts.method.as_str().to_owned(),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: headers.into_iter().collect(),
        body: body.to_bytes().to_vec(),
        origin: format!("http://{here}"),
        path,
    };
    // EC2 has one path; everything else is Azure's.
    let cloud = if ask.path == "/" { Cloud::Aws } else { Cloud::Azure };
    match sandbox.door(cloud).serve(ask) {
        Served::Reply(reply) => {
            let mut response = Response::builder().status(reply.status);
            for (name, value) in &reply.headers {
                response = response.header(name, value);
            }
            Ok(response
                .body(Full::from(reply.body))
                .unwrap_or_else(|_: hyper::http::Error| Response::new(Full::default())))
        }
        Served::Lost | Served::Never => Err(Closed),
    }
}
