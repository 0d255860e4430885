//! Load balancers that a cloud has and a test machine has not. Each is a server that forwards as the cloud documents it.

use super::tls::{Certificate, FIRST, acceptor};
use super::{block, spawn};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The headers of an HTTP balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeaders {
    /// AWS ALB: appends the client's address.
    Alb,
    /// AWS ALB with `routing.http.xff_client_port.enabled`: appends the address and the port.
    AlbWithPort,
    /// Azure Application Gateway: appends the address and the port, and adds the path.
    ApplicationGateway,
    /// Google Cloud: appends the client's address and its own.
    Google,
}

/// Google's own address in `x-forwarded-for`.
const FORWARDING_RULE: &str = "192.0.2.80";

impl ForwardedHeaders {
    /// What the balancer appends to `x-forwarded-for`.
    fn appended(self, client: SocketAddr) -> String {
        match self {
            ForwardedHeaders::Alb => client.ip().to_string(),
            ForwardedHeaders::AlbWithPort | ForwardedHeaders::ApplicationGateway => client.to_string(),
            ForwardedHeaders::Google => format!("{},{FORWARDING_RULE}", client.ip()),
        }
    }

    fn apply(self, head: &mut http::request::Parts, client: SocketAddr, scheme: &'static str) {
        let headers = &mut head.headers;
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        let sent = headers.get_all("x-forwarded-for").iter().map(|sent| sent.to_str().unwrap_or("-"));
        let mut addresses: Vec<String> = sent.map(str::to_owned).collect();
        addresses.push(self.appended(client));
        headers.insert("x-forwarded-for", value(&addresses.join(", ")));
        headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
        let port = if scheme == "https" { "443" } else { "80" };
        headers.insert("x-forwarded-port", HeaderValue::from_static(port));
        if self == ForwardedHeaders::ApplicationGateway {
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
            headers.insert("x-original-url", value(path));
            headers.insert("x-original-host", HeaderValue::from_static("hooks.example.com"));
        }
        headers.remove("connection");
        headers.remove("transfer-encoding");
    }
}

/// A balancer that ends TLS, and forwards over HTTP/1.1 in plaintext.
pub struct HttpBalancer {
    /// Its listener with TLS, with the certificate [`FIRST`].
    pub https: u16,
    /// Its listener without TLS.
    pub http: u16,
    running: [JoinHandle<()>; 2],
}

impl HttpBalancer {
    /// Forwards to this port of loopback.
    pub fn start(headers: ForwardedHeaders, to: u16) -> Self {
        Self::started(headers, to, None)
    }

    /// Takes this address for each client's. Loopback has only one IPv6 address.
    pub fn seeing(client: IpAddr, headers: ForwardedHeaders, to: u16) -> Self {
        Self::started(headers, to, Some(client))
    }

    fn started(headers: ForwardedHeaders, to: u16, client: Option<IpAddr>) -> Self {
        let hop = HttpHop { headers, to, client };
        let (https, encrypted) = serve(move |stream, from| async move {
            let stream = acceptor(&FIRST, &["h2", "http/1.1"]).accept(stream).await?;
            hop.serve(stream, from, "https").await
        });
        let (http, plain) = serve(move |stream, from| hop.serve(stream, from, "http"));
        Self { https, http, running: [encrypted, plain] }
    }
}

impl Drop for HttpBalancer {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}

#[derive(Clone, Copy)]
struct HttpHop {
    headers: ForwardedHeaders,
    to: u16,
    client: Option<IpAddr>,
}

impl HttpHop {
    async fn serve<S>(self, stream: S, from: SocketAddr, scheme: &'static str) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let client = SocketAddr::new(self.client.unwrap_or(from.ip()), from.port());
        let service = service_fn(move |request| self.forward(request, client, scheme));
        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
    }

    async fn forward(
        self,
        request: Request<Incoming>,
        client: SocketAddr,
        scheme: &'static str,
    ) -> Result<Response<Incoming>, BoxError> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        self.headers.apply(&mut head, client, scheme);
        // Over HTTP/2 the host is in the URI.
        if let Some(host) = head.uri.authority() {
            head.headers.insert("host", HeaderValue::from_str(host.as_str())?);
        }
        head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        head.version = http::Version::HTTP_11;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.to)).await?;
        let (mut target, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        spawn(connection);
        Ok(target.send_request(Request::from_parts(head, Full::<bytes::Bytes>::new(body))).await?)
    }
}

/// AWS NLB with PROXY protocol v2: passes TCP through, after a head with the client's address.
pub struct NetworkBalancer {
    pub port: u16,
    running: JoinHandle<()>,
}

impl NetworkBalancer {
    /// Forwards to this port of loopback. With a certificate it ends TLS.
    pub fn start(to: u16, certificate: Option<&'static Certificate>) -> Self {
        Self::started(to, certificate, None)
    }

    /// Takes this address for each client's.
    pub fn seeing(client: IpAddr, to: u16, certificate: Option<&'static Certificate>) -> Self {
        Self::started(to, certificate, Some(client))
    }

    fn started(to: u16, certificate: Option<&'static Certificate>, client: Option<IpAddr>) -> Self {
        let (port, running) = serve(move |mut stream, from| async move {
            let client = SocketAddr::new(client.unwrap_or(from.ip()), from.port());
            let mut target = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await?;
            target.write_all(&proxy_head(client)).await?;
            match certificate {
                None => tokio::io::copy_bidirectional(&mut stream, &mut target).await?,
                Some(certificate) => {
                    let mut stream = acceptor(certificate, &["h2", "http/1.1"]).accept(stream).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut target).await?
                }
            };
            Ok(())
        });
        Self { port, running }
    }
}

impl Drop for NetworkBalancer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The head of a connection, in PROXY protocol v2: the client's address, that of the balancer, and AWS's field of the endpoint.
pub fn proxy_head(client: SocketAddr) -> Vec<u8> {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    const PROXY: u8 = 0x21;
    const OWN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const AWS_ENDPOINT: &[u8] = b"\xea\x00\x16\x01vpce-08d2bf15fac5001c";
    let (family, addresses) = match client.ip() {
        IpAddr::V4(address) => (0x11, [address.octets(), Ipv4Addr::new(10, 0, 0, 1).octets()].concat()),
        IpAddr::V6(address) => (0x21, [address.octets(), OWN_V6.octets()].concat()),
    };
    let ports = [client.port().to_be_bytes(), 443_u16.to_be_bytes()].concat();
    let rest = [&addresses[..], &ports, AWS_ENDPOINT].concat();
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[PROXY, family], &length, &rest].concat()
}

/// Accepts connections on a free port, and drops those that fail.
fn serve<F, R>(handle: F) -> (u16, JoinHandle<()>)
where
    F: Fn(TcpStream, SocketAddr) -> R + Send + 'static,
    R: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let listener = block(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    let running = spawn(async move {
        let mut connections = JoinSet::new(); // dropping it ends every connection
        while let Ok((stream, from)) = listener.accept().await {
            connections.spawn(handle(stream, from));
        }
    });
    (port, running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_as_each_balancer_does() {
        let four: SocketAddr = "203.0.113.9:4711".parse().unwrap();
        let six: SocketAddr = "[2001:db8::9]:4711".parse().unwrap();
        for (headers, client, appended) in [
            (ForwardedHeaders::Alb, four, "203.0.113.9"),
            (ForwardedHeaders::Alb, six, "2001:db8::9"),
            (ForwardedHeaders::AlbWithPort, four, "203.0.113.9:4711"),
            (ForwardedHeaders::ApplicationGateway, six, "[2001:db8::9]:4711"),
            (ForwardedHeaders::Google, four, "203.0.113.9,192.0.2.80"),
        ] {
            assert_eq!(headers.appended(client), appended, "{headers:?}");
        }
    }
}
