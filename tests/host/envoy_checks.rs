//! Requests that Envoy accepts or refuses before the gate: each row of the book's table.

use crate::support::delivery::GENERATION;
use crate::support::{EnvoyProcess, H1, H2, TestDelivery, TestGate, on_every_envoy, repository};
use crate::trust::{good, with_token};
use blobgate::contract::{Verdict, header};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

/// The bytes of a delivery with a valid token.
#[derive(Clone, Copy)]
struct RawRequest {
    line: &'static str,
    host: &'static [u8],
    more: &'static [u8],
    /// The text before and after the body of a chunked request, which has no `content-length`.
    chunk: Option<(&'static str, &'static str)>,
}

const PLAIN: RawRequest =
    RawRequest { line: "POST {path} HTTP/1.1", host: b"host: gate.test\r\n", more: b"", chunk: None };

const fn more(more: &'static [u8]) -> RawRequest {
    RawRequest { more, ..PLAIN }
}

const fn line(line: &'static str) -> RawRequest {
    RawRequest { line, ..PLAIN }
}

const fn host(host: &'static [u8]) -> RawRequest {
    RawRequest { host, ..PLAIN }
}

const fn chunked(before: &'static str, behind: &'static str) -> RawRequest {
    RawRequest { more: b"transfer-encoding: chunked\r\n", chunk: Some((before, behind)), ..PLAIN }
}

impl RawRequest {
    fn bytes(self, path: &str, number: usize) -> Vec<u8> {
        // Each request has its own generation, so that none is a repeat.
        let body = String::from_utf8(TestDelivery::completed().body()).unwrap();
        let body = body.replace(GENERATION, &format!("5f1c8c1e-7c0c-4b0a-9a5e-{number:012x}"));
        let length = format!("content-length: {}\r\n", body.len());
        let (length, body) = match self.chunk {
            None => (length, body),
            Some((size, behind)) => {
                let size = size.replace("{size}", &format!("{:x}", body.len()));
                (String::new(), format!("{size}\r\n{body}\r\n{behind}"))
            }
        };
        let line = self.line.replace("{path}", path);
        let head = [line.as_bytes(), b"\r\n", self.host, b"content-type: application/json\r\n"].concat();
        [&head, length.as_bytes(), self.more, b"\r\n", body.as_bytes()].concat()
    }
}

#[test]
fn accepts_unusual_valid_requests() {
    const END: &str = "0\r\n\r\n";
    let rows = [
        PLAIN,
        more(b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n"),
        more(b"Connection: keep-alive, Upgrade\r\nUpgrade: TLS/1.2, HTTP/2.0\r\n"),
        more(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"),
        more(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        more(b"Connection: Upgrade\r\nUpgrade: \xe9\r\n"),
        more(b"Connection: Upgrade\r\n"),
        more(b"Upgrade: TLS/1.2\r\n"),
        more(b"Expect: 100-continue\r\n"),
        more(b"Expect: anything\r\n"),
        more(b"TE: gzip, trailers;q=0.5\r\nConnection: TE\r\n"),
        more(b"Connection: Keep-Alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"),
        more(b"Connection: close, content-type\r\n"),
        more(b"x_y: 1\r\n"),
        more(b"x-empty:\r\nx-blank: \r\n"),
        more(b"x-folded: a\r\n b\r\n"),
        more(b"x-bytes: \xe9\xff\t\"\\{}\r\n"),
        more(b"x!#$%&'*+.^`|~: a\r\n"),
        more(b"Forwarded: for=x\r\nX-Forwarded-For: none, ,\r\nX-Request-Id: \xff\r\ngrpc-timeout: 1n\r\n"),
        more(b"x-envoy-retry-on: 5xx\r\nx-envoy-upstream-rq-timeout-ms: 1\r\n"),
        line("POST {path}?a=\"b\" HTTP/1.1"),
        line("POST {path}?a={b}|^`<>\\%zz%? HTTP/1.1"),
        line("POST http://gate.test{path} HTTP/1.1"),
        line("POST https://gate.test:8443{path} HTTP/1.1"),
        line("POST {path} HTTP/1.0"),
        RawRequest { host: b"", ..line("POST {path} HTTP/1.0") },
        RawRequest { more: b"Connection: keep-alive\r\n", ..line("POST {path} HTTP/1.0") },
        line("\r\nPOST {path} HTTP/1.1"),
        host(b"Host: Hooks.Example.COM:8443\r\n"),
        host(b"Host: [::1]:8443\r\n"),
        host(b"Host: \r\n"),
        host(b"Host: a\r\nHost: b\r\n"),
        chunked("{size}", END),
        chunked("000{size}", END),
        chunked("{size};a=\"b c\"", END),
        chunked("{size}", "0\r\nx-trailer: a\r\n\r\n"),
    ];
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let path = with_token(TestDelivery::completed(), &good()).path;
        for (number, row) in rows.iter().enumerate() {
            let bytes = row.bytes(&path, number);
            let shown = String::from_utf8_lossy(&bytes).replace(&path, "PATH");
            let answer = gate.tls(H1).open().raw(&bytes).unwrap_or_else(|error| panic!("{shown}: {error}"));
            assert_eq!((answer.status, answer.reason()), (200, None), "{shown}");
            let arrival = gate.video.take_one();
            assert_eq!(arrival.path, "/hooks/veo3", "{shown}");
            assert_eq!(arrival.header(header::VERDICT).as_deref(), Some(Verdict::Accepted.name()), "{shown}");
            assert_eq!(arrival.header("upgrade"), None, "{shown}");
        }
    });
}

/// A row of the page's table, and requests of its kind.
type PageRow = (&'static str, u16, Vec<RawRequest>);

fn refused() -> Vec<PageRow> {
    const END: &str = "0\r\n\r\n";
    let coding = |coding| RawRequest { more: coding, ..chunked("{size}", END) };
    vec![
        (
            "`transfer-encoding` is not `chunked`",
            501,
            vec![
                coding(b"transfer-encoding: gzip, chunked\r\n"),
                coding(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
            ],
        ),
        (
            "both `transfer-encoding` and `content-length`",
            400,
            vec![more(b"transfer-encoding: chunked\r\n"), more(b"transfer-encoding: identity\r\n")],
        ),
        (
            "`content-length` twice, or not a number",
            400,
            vec![
                more(b"content-length: 3\r\n"),
                coding(b"content-length: +3\r\n"),
                coding(b"content-length: -1\r\n"),
                coding(b"content-length: 99999999999999999999999\r\n"),
            ],
        ),
        (
            "a method that is not in HTTP's registry, such as `post` or `FROB`",
            400,
            vec![line("post {path} HTTP/1.1"), line("FROB {path} HTTP/1.1")],
        ),
        (
            "HTTP/1.1 without a `host`, or with an invalid one",
            400,
            vec![host(b""), host(b"host: a\"b\r\n"), host(b"host: \xc3\xa9\r\n")],
        ),
        (
            "`#`, `%00` or, on HTTP/1.1, a byte beyond ASCII in the path; `#` or such a byte in the query",
            400,
            vec![
                line("POST {path}#x HTTP/1.1"),
                line("POST {path}%00 HTTP/1.1"),
                line("POST {path}?a=é HTTP/1.1"),
            ],
        ),
        (
            "a target that is not a path: `*`, `host:port`",
            400,
            vec![line("POST * HTTP/1.1"), line("POST gate.test:443 HTTP/1.1")],
        ),
        (
            "a header name that is not a token, or a blank before its colon",
            400,
            vec![
                more(b"x(a): b\r\n"),
                more("xé: b\r\n".as_bytes()),
                more(b"x-a : b\r\n"),
                more(b": b\r\n"),
                more(b"x-a\r\n"),
            ],
        ),
        (
            "a control character in a header's value",
            400,
            vec![more(b"x-a: a\0b\r\n"), more(b"x-a: a\x01b\r\n"), more(b"x-a: a\x7fb\r\n")],
        ),
        (
            "a version in the request line that is not `HTTP/` and two numbers",
            400,
            vec![line("POST {path} http/1.1")],
        ),
    ]
}

#[test]
fn refuses_each_row_of_the_page() {
    let page = std::fs::read_to_string(repository("docs/explanation/before-the-gate.md")).unwrap();
    let listed = |what: &str, status: u16| {
        let row = format!("| {what} | {status} |");
        assert!(page.contains(&row), "docs/explanation/before-the-gate.md has no row {row}");
    };
    listed("more than 100 headers, or more than 32 KiB of them", 431);
    listed("a head or a body that takes longer than 5 s", 408);
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        let path = with_token(TestDelivery::completed(), &good()).path;
        let open = || gate.tls(H1).open();
        for (what, status, raws) in refused() {
            listed(what, status);
            for raw in raws {
                let answer = gate.nothing_arrives(|| open().raw(&raw.bytes(&path, 0)));
                let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!((answer.status, answer.reason()), (status, None), "{what}: {answer:?}");
            }
        }
        let with = |delivery: TestDelivery, names: usize, bytes: usize| {
            (0..names).fold(delivery, |all, n| all.header(&format!("x-{n}"), "a".repeat(bytes)))
        };
        for (names, bytes) in [(101, 1), (2, 17_000)] {
            let delivery = with(with_token(TestDelivery::completed(), &good()), names, bytes);
            let answer = gate.nothing_arrives(|| gate.send(H1, &delivery));
            assert_eq!((answer.status, answer.reason()), (431, None), "{answer:?}");
            // Over HTTP/2 Envoy resets the stream and keeps the connection.
            let mut client = gate.tls(H2).open();
            client.try_send(&delivery).expect_err("a stream that is reset");
            assert_eq!(client.send(&TestDelivery::completed()).status, 200);
            gate.forget();
        }
    });
}

#[test]
fn keeps_other_streams_after_a_refused_head() {
    on_every_envoy(|envoy| {
        let gate = TestGate::start(envoy);
        for bad in [&[("connection", "close")][..], &[("te", "gzip")], &[("x-A", "b")], &[("x-a", "\u{1}")]] {
            assert_eq!(second_stream_is_answered(&gate.envoy, bad), Ok(()), "{bad:?}");
        }
    });
}

/// Sends a head with these headers, then a valid one, on one plaintext connection. An error if the second gets no
/// response. The client of the other tests cannot send such a head.
fn second_stream_is_answered(envoy: &EnvoyProcess, headers: &[(&str, &str)]) -> Result<(), String> {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const WHOLE: u8 = 5; // END_STREAM and END_HEADERS
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }
    fn head(more: &[(&str, &str)]) -> Vec<u8> {
        let first =
            [(":method", "POST"), (":scheme", "http"), (":authority", "gate.test"), (":path", "/webhook")];
        // HPACK literals without indexing or compression.
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        first
            .iter()
            .chain(more)
            .flat_map(|(name, value)| [vec![0], text(name), text(value)].concat())
            .collect()
    }
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, envoy.port("plaintext"))).unwrap();
    stream.set_read_timeout(Some(crate::support::MAX_WAIT)).unwrap();
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    let bad = frame(HEADERS, WHOLE, 1, &head(headers));
    let good = frame(HEADERS, WHOLE, 3, &head(&[]));
    stream.write_all(&[begin, bad, good].concat()).unwrap();
    let mut reset = false;
    loop {
        let mut start = [0; 9];
        stream.read_exact(&mut start).map_err(|error| error.to_string())?;
        let mut payload = vec![0; usize::from_be_bytes([0, 0, 0, 0, 0, start[0], start[1], start[2]])];
        stream.read_exact(&mut payload).map_err(|error| error.to_string())?;
        match (start[3], start[8]) {
            (RST_STREAM, 1) => reset = true,
            (HEADERS, 3) => {
                return if reset { Ok(()) } else { Err("the first stream was not reset".to_owned()) };
            }
            _ => {}
        }
    }
}
