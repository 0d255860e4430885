//! The services. Each arrival is in the log, on the disk, before its answer.

use crate::chance::Chance;
use crate::log::Log;
use blobgate::contract::header;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

/// The service's behaviour.
pub(crate) struct Behaviour {
    /// The maximum time before the answer, in milliseconds.
    pub(crate) max_delay: AtomicU64,
    /// The percentage of 500 answers.
    pub(crate) fails: AtomicU64,
    /// While true, no request gets an answer.
    pub(crate) waits: AtomicBool,
}

#[derive(Clone)]
pub(crate) struct LoggingReceiver {
    log: Arc<Log>,
    pub(crate) behaviour: Arc<Behaviour>,
}

static ARRIVALS: AtomicU64 = AtomicU64::new(0);

impl LoggingReceiver {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        let behaviour = Behaviour {
            max_delay: AtomicU64::new(12),
            fails: AtomicU64::new(6),
            waits: AtomicBool::new(false),
        };
        Self { log, behaviour: Arc::new(behaviour) }
    }

    /// Listens on a port for one run of an inbox, which identifies the run of each arrival.
    pub(crate) fn listen(&self, run: u64) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let this = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let this = this.clone();
                thread::spawn(move || this.serve(stream, run));
            }
        });
        address
    }

    /// Serves until the peer closes.
    fn serve(&self, stream: TcpStream, run: u64) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut answers = stream.try_clone().ok()?;
        let mut requests = BufReader::new(stream);
        loop {
            let (head, body) = read(&mut requests)?;
            let number = ARRIVALS.fetch_add(1, Ordering::Relaxed);
            let value = |name: &str| {
                let found = head.iter().find(|(found, _)| found == name);
                found.map_or("-", |(_, value)| value.as_str())
            };
            let at = self.log.line(format_args!(
                "begin\t{number}\t{run}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                hex::encode(Sha256::digest(&body)),
                value(header::GENERATION_ID),
                value(header::EVENT),
                value(header::ATTEMPT),
                value(header::SUPERSEDES),
                value(header::VERDICT),
                value(header::IDEMPOTENCY_KEY),
            ));
            let mut chance = Chance::new(at ^ number << 32);
            let max_delay = self.behaviour.max_delay.load(Ordering::Relaxed);
            sleep(Duration::from_millis(chance.between(0, max_delay)));
            while self.behaviour.waits.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(5));
            }
            let fails = chance.percent(self.behaviour.fails.load(Ordering::Relaxed));
            let (status, phrase) = if fails { (500, "Internal Server Error") } else { (200, "OK") };
            self.log.line(format_args!("end\t{number}\t{status}"));
            let answer = format!("HTTP/1.1 {status} {phrase}\r\ncontent-length: 3\r\n\r\nok\n");
            answers.write_all(answer.as_bytes()).ok()?;
        }
    }
}

type HeaderLines = Vec<(String, String)>;

/// The headers and the body of one whole request.
fn read(requests: &mut BufReader<TcpStream>) -> Option<(HeaderLines, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            head.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }
    let length = head.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    requests.read_exact(&mut body).ok()?;
    Some((head, body))
}
