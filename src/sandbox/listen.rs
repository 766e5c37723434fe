//! A sandbox on loopback, for programs that are not this one: one port for the clouds' calls, and one for each machine's SSH.

mod foreign;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::HeaderValue,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval, sleep, timeout},
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
/// How long a connection waits for a machine that nothing leads to any more.
const DIAL: Duration = Duration::from_secs(30);
/// After a connection that could not be taken: too many are open, most likely.
const BREATH: Duration = Duration::from_millis(100);

/// Binds a port of this machine that nobody else can reach; 0 takes a free one.
///
/// # Errors
/// What the operating system says, a port in use among it.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Answers calls and SSH until it is dropped. `opened` hears of each machine: its id, the public address and port that lead to
/// it, and where that answers on this machine. Writes are kept as they come; what time alone has done is kept with the next of
/// them, or follows from what was kept.
pub async fn serve(
    sandbox: Sandbox,
    listener: TcpListener,
    here: SocketAddr,
    opened: impl Fn(&str, SocketAddr, SocketAddr),
) {
    let mut machines: BTreeMap<(String, SocketAddr), tokio::task::JoinHandle<()>> = BTreeMap::new();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            stream = accept(&listener) => {
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
                    // Without a free port it is tried again at the next look.
                    let Ok(listener) = bind(0).await else { continue };
                    let Ok(here) = listener.local_addr() else { continue };
                    opened(&vm, to, here);
                    machines.insert((vm, to), tokio::spawn(ssh(sandbox.clone(), listener, to)));
                }
            }
        }
    }
}

/// The next connection. One that is gone before it is taken is not the listener's end, nor are too many at once.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => sleep(BREATH).await,
        }
    }
}

/// Leads every connection to a machine of the sandbox.
async fn ssh(sandbox: Sandbox, listener: TcpListener, to: SocketAddr) {
    loop {
        let mut near = accept(&listener).await;
        let sandbox = sandbox.clone();
        tokio::spawn(async move {
            if let Ok(Ok(Dialed { mut stream, .. })) = timeout(DIAL, sandbox.dial(to, None)).await {
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

/// Whether a request was sent by a program on this machine, and not by a page that a browser shows: pages may come under a
/// name of their own (`Host`), from elsewhere (`Origin`), or as what a page embeds ("Fetch Metadata Request Headers", W3C).
fn from_here(headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all("host").iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return Err("a request needs one Host");
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !["127.0.0.1", "localhost"].contains(&name) {
        return Err("ask 127.0.0.1");
    }
    let own_site = |value: &HeaderValue| ["none", "same-origin"].iter().any(|own| value.as_bytes() == own.as_bytes());
    if headers.contains_key("origin") || !headers.get_all("sec-fetch-site").iter().all(own_site) {
        return Err("requests of other sites are refused");
    }
    Ok(())
}

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
    if let Err(why) = from_here(&parts.headers) {
        return plain(StatusCode::FORBIDDEN, why);
    }
    let headers: HashMap<String, String> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
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
    // Whoever signs is AWS's, where EC2 has one path; everything else is Azure's.
    let served = match foreign::service(&ask) {
        Some(service) if !["ec2", "cloudtrail", "sts"].contains(&service) => {
            Served::Reply(foreign::refuse(service, &ask))
        }
        Some(_) => sandbox.door(Cloud::Aws).serve(ask),
        // SDKs sign each call. A page in a browser cannot send the header without asking first, which is refused: an image's
        // address or a form would be enough to change the sandbox otherwise.
        None if ask.path == "/" => Served::Reply(foreign::unsigned()),
        None => sandbox.door(Cloud::Azure).serve(ask),
    };
    match served {
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
