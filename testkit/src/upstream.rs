//! A service behind the gate. It records every whole request, then sends the configured reply.

use super::{answer, block, eventually, spawn};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Sleep;

/// A whole request that the service got.
#[derive(Clone)]
pub struct ServiceRequest {
    pub method: String,
    pub path: String,
    /// Names in lower case, values unchanged.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// In the form of `headers`. Envoy sends trailers over HTTP/2 only.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// The number of the service's connection, from 0.
    pub connection: usize,
    /// The time of its last byte.
    pub at: Instant,
}

impl ServiceRequest {
    /// The value of a header. Panics if the header is repeated.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<String> {
        answer::one(&self.headers, name)
    }
}

impl fmt::Debug for ServiceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (connection {})", self.method, self.path, self.connection)?;
        answer::show(&self.headers, &self.body, f)
    }
}

/// The service's reply.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Option<Vec<u8>>,
    },
    /// 200 with a body and, over HTTP/2, this trailer.
    Trailer(&'static str, &'static str),
    /// 200 with half of its body, then a reset of the connection.
    Cut,
    /// 200 with half of its body, and nothing more.
    Stall,
    /// No reply.
    Hang,
    /// A reset of the connection.
    Reset,
    /// This reply, after a time.
    After(Duration, Box<Reply>),
}

impl Reply {
    /// A response without a body. With a `content-length` header the connection ends before the body.
    pub fn status(status: u16) -> Self {
        Reply::Answer { status, headers: Vec::new(), body: None }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        if let Reply::Answer { headers, .. } = &mut self {
            headers.push((name, value.to_string()));
        }
        self
    }

    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Reply::Answer { body, .. } = &mut self {
            *body = Some(bytes.into());
        }
        self
    }
}

/// A plaintext server on a free port of loopback, for HTTP/1.1 and for HTTP/2 with prior knowledge.
pub struct Upstream {
    pub port: u16,
    seen: Arc<Mutex<UpstreamRecord>>,
    /// Bound, but never listening: it reserves the port, and the port refuses connections while the service is off.
    _reserved: TcpSocket,
    running: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct UpstreamRecord {
    connections: usize,
    /// Requests whose head arrived, with or without a whole body.
    heads: usize,
    arrivals: Vec<ServiceRequest>,
    reply: Option<Reply>,
    reply_by: Option<ReplyChooser>,
}

/// Chooses the reply to a request. None means the service's usual reply.
type ReplyChooser = Arc<dyn Fn(&ServiceRequest) -> Option<Reply> + Send + Sync>;

impl Upstream {
    /// A running service that replies 200 with a small JSON body.
    pub fn start() -> Self {
        let mut upstream = Self::off();
        upstream.on();
        upstream
    }

    /// A service that is down: its port refuses connections.
    pub fn off() -> Self {
        let reserved = bind(0);
        let port = reserved.local_addr().unwrap().port();
        Self { port, seen: Arc::default(), _reserved: reserved, running: None }
    }

    pub fn on(&mut self) {
        assert!(self.running.is_none(), "the service is off");
        let socket = bind(self.port);
        let listener = block(async { socket.listen(1024).unwrap() });
        self.running = Some(spawn(serve(listener, Arc::clone(&self.seen))));
    }

    /// Stops listening and drops every connection.
    pub fn stop(&mut self) {
        let running = self.running.take().expect("the service is on");
        running.abort();
        let _cancelled = block(running);
    }

    /// Sets the reply to all further requests.
    pub fn reply(&self, reply: Reply) {
        self.seen.lock().unwrap().reply = Some(reply);
    }

    /// Sets a function that chooses the reply to each further request.
    pub fn reply_by(&self, reply: impl Fn(&ServiceRequest) -> Option<Reply> + Send + Sync + 'static) {
        self.seen.lock().unwrap().reply_by = Some(Arc::new(reply));
    }

    /// The whole requests so far.
    pub fn arrivals(&self) -> Vec<ServiceRequest> {
        self.seen.lock().unwrap().arrivals.clone()
    }

    /// The whole requests since the last call.
    pub fn take(&self) -> Vec<ServiceRequest> {
        std::mem::take(&mut self.seen.lock().unwrap().arrivals)
    }

    /// Drops the recorded requests at this path.
    pub fn forget(&self, path: &str) {
        self.seen.lock().unwrap().arrivals.retain(|arrival| arrival.path != path);
    }

    /// The only request since the last call. Waits for it.
    #[track_caller]
    pub fn take_one(&self) -> ServiceRequest {
        let mut arrivals =
            eventually("arrival", || Some(self.take()).filter(|arrivals| !arrivals.is_empty()));
        let arrival = arrivals.pop().unwrap();
        assert!(arrivals.is_empty(), "more than one arrival: {arrivals:?}, {arrival:?}");
        arrival
    }

    /// The number of requests whose head arrived.
    pub fn heads(&self) -> usize {
        self.seen.lock().unwrap().heads
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// SO_REUSEADDR: the reservation and the listener share the port, since only one of them listens.
fn bind(port: u16) -> TcpSocket {
    block(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
        socket
    })
}

async fn serve(listener: TcpListener, seen: Arc<Mutex<UpstreamRecord>>) {
    let mut connections = JoinSet::new(); // dropping it ends every connection
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.connections += 1;
            seen.connections - 1
        };
        connections.spawn(connection(stream, number, Arc::clone(&seen)));
    }
}

async fn connection(stream: TcpStream, number: usize, seen: Arc<Mutex<UpstreamRecord>>) {
    stream.set_nodelay(true).unwrap();
    let stream = stream.into_std().unwrap();
    let twin = Arc::new(TcpStream::from_std(stream.try_clone().unwrap()).unwrap());
    let io = TokioIo::new(TcpStream::from_std(stream).unwrap());
    let service = service_fn(|request| {
        let (seen, twin) = (Arc::clone(&seen), Arc::clone(&twin));
        async move {
            let reply = record(request, number, &seen).await?;
            answer(reply, &twin).await
        }
    });
    let _broken = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
}

async fn record(
    request: Request<Incoming>,
    connection: usize,
    seen: &Mutex<UpstreamRecord>,
) -> io::Result<Reply> {
    seen.lock().unwrap().heads += 1;
    let (head, body) = request.into_parts();
    let whole = body.collect().await.map_err(io::Error::other)?;
    let trailers = whole.trailers().map(lines).unwrap_or_default();
    let body = whole.to_bytes().to_vec();
    let arrival = ServiceRequest {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: lines(&head.headers),
        body,
        trailers,
        connection,
        at: Instant::now(),
    };
    let mut seen = seen.lock().unwrap();
    let chosen = seen.reply_by.as_ref().and_then(|reply_by| reply_by(&arrival));
    seen.arrivals.push(arrival);
    if let Some(chosen) = chosen {
        return Ok(chosen);
    }
    let received =
        || Reply::status(200).header("content-type", "application/json").body(r#"{"status":"received"}"#);
    Ok(seen.reply.clone().unwrap_or_else(received))
}

fn lines(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

/// An error ends the connection. `twin`, a second handle of its socket, turns that end into a reset.
async fn answer(reply: Reply, twin: &TcpStream) -> io::Result<Response<BoxBody<Bytes, io::Error>>> {
    match reply {
        // hyper drops the `content-length` of an empty body.
        Reply::Answer { status, headers, body: None }
            if headers.iter().any(|(n, _)| *n == "content-length") =>
        {
            let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
            let lines: String = lines.collect();
            let head = format!("HTTP/1.1 {status} -\r\n{lines}connection: close\r\n\r\n");
            twin.writable().await?;
            assert_eq!(twin.try_write(head.as_bytes())?, head.len());
            Err(io::Error::other("answered by hand"))
        }
        Reply::Answer { status, headers, body } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = Full::new(Bytes::from(body.unwrap_or_default()));
            Ok(response.body(body.map_err(|never: Infallible| match never {}).boxed()).unwrap())
        }
        Reply::Trailer(name, value) => {
            let trailers =
                HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            let body = Full::new(Bytes::from_static(b"own")).with_trailers(async move { Some(Ok(trailers)) });
            Ok(Response::new(body.map_err(|never: Infallible| match never {}).boxed()))
        }
        Reply::Cut => {
            twin.set_zero_linger()?;
            Ok(half_body(Duration::from_millis(50)))
        }
        Reply::Stall => Ok(half_body(Duration::MAX)),
        Reply::Hang => std::future::pending().await,
        Reply::Reset => {
            twin.set_zero_linger()?;
            Err(io::Error::other("reset"))
        }
        Reply::After(time, reply) => {
            tokio::time::sleep(time).await;
            Box::pin(answer(*reply, twin)).await
        }
    }
}

/// A response with half of its body, and an error after this time.
fn half_body(time: Duration) -> Response<BoxBody<Bytes, io::Error>> {
    let half = HalfBody { sent: false, cut: Box::pin(tokio::time::sleep(time)) };
    Response::builder().header("content-length", 8).body(half.boxed()).unwrap()
}

/// Half a body, and an error later, when the half is on the wire.
struct HalfBody {
    sent: bool,
    cut: Pin<Box<Sleep>>,
}

impl Body for HalfBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !std::mem::replace(&mut self.sent, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"half")))));
        }
        ready!(self.cut.as_mut().poll(context));
        Poll::Ready(Some(Err(io::Error::other("cut"))))
    }
}
