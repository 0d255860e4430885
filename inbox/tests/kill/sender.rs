//! The provider: sends until it gets 200. The log has a line before each attempt and after each answer.

use crate::chance::Chance;
use crate::load::{Message, job};
use crate::log::Log;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// The inboxes that listen now.
#[derive(Clone, Default)]
pub(crate) struct Targets(Arc<Mutex<Vec<SocketAddr>>>);

impl Targets {
    pub(crate) fn set(&self, targets: &[SocketAddr]) {
        *self.0.lock().unwrap() = targets.to_vec();
    }

    fn one(&self, chance: &mut Chance) -> Option<SocketAddr> {
        let targets = self.0.lock().unwrap();
        let last = u64::try_from(targets.len()).unwrap().checked_sub(1)?;
        targets.get(usize::try_from(chance.between(0, last)).unwrap()).copied()
    }
}

/// An inbox answers within 15 s in every case.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Milliseconds between attempts, instead of the provider's 30 s.
const PAUSE: (u64, u64) = (20, 120);
/// A sender gives up after this time without a 200.
const SEND_TIMEOUT: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendResult {
    Status(u16),
    /// The connection broke after the request.
    Lost,
    /// Nothing listens.
    Refused,
    /// The sender closed the connection.
    Closed,
}

#[derive(Clone, Copy)]
pub(crate) enum HangUp {
    Never,
    /// After this percentage of the request.
    Within(u64),
    AfterBody,
}

static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// Makes one attempt to send a message.
pub(crate) fn attempt(log: &Log, target: SocketAddr, message: &Message, hang_up: HangUp) -> SendResult {
    let number = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let Message { digest, stored_as, generation, event, expect, .. } = message;
    log.line(format_args!("try\t{number}\t{digest}\t{stored_as}\t{generation}\t{event}\t{}", expect.word()));
    let got = send(target, message, hang_up);
    let word = match got {
        SendResult::Status(status) => status.to_string(),
        SendResult::Lost => "lost".to_owned(),
        SendResult::Refused => "refused".to_owned(),
        SendResult::Closed => "closed".to_owned(),
    };
    log.line(format_args!("got\t{number}\t{word}"));
    got
}

fn send(target: SocketAddr, message: &Message, hang_up: HangUp) -> SendResult {
    let Ok(mut stream) = TcpStream::connect_timeout(&target, ANSWER_TIMEOUT) else {
        return SendResult::Refused;
    };
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
    let request = format!(
        "POST /webhook HTTP/1.1\r\nhost: inbox\r\nconnection: close\r\n{}content-length: {}\r\n\r\n{}",
        message.headers,
        message.body.len(),
        message.body
    );
    let bytes = request.as_bytes();
    let until = match hang_up {
        HangUp::Within(percent) => bytes.len() * usize::try_from(percent).unwrap() / 100,
        HangUp::Never | HangUp::AfterBody => bytes.len(),
    };
    if stream.write_all(&bytes[..until]).is_err() {
        return SendResult::Lost;
    }
    if !matches!(hang_up, HangUp::Never) {
        let _gone = stream.shutdown(Shutdown::Both);
        return SendResult::Closed;
    }
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(count) if count > 0 => answer.extend_from_slice(&part[..count]),
            _ => return SendResult::Lost,
        }
    }
    let head = String::from_utf8_lossy(&answer);
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).map_or(SendResult::Lost, SendResult::Status)
}

/// Sends until a 200. Returns whether it came.
pub(crate) fn until_acknowledged(
    log: &Log,
    targets: &Targets,
    message: &Message,
    chance: &mut Chance,
    left: &AtomicBool,
) -> bool {
    let started = Instant::now();
    while started.elapsed() < SEND_TIMEOUT && !left.load(Ordering::Relaxed) {
        let hang_up = match chance.between(0, 99) {
            0..3 => HangUp::Within(chance.between(1, 99)),
            3..6 => HangUp::AfterBody,
            _ => HangUp::Never,
        };
        if let Some(target) = targets.one(chance)
            && attempt(log, target, message, hang_up) == SendResult::Status(200)
        {
            return true;
        }
        sleep(Duration::from_millis(chance.between(PAUSE.0, PAUSE.1)));
    }
    log.line(format_args!("unacknowledged\t{}", message.digest));
    false
}

/// Parallel senders.
pub(crate) struct Senders {
    ending: Arc<AtomicBool>,
    left: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Senders {
    pub(crate) fn start(count: u64, log: &Arc<Log>, targets: &Targets, seed: u64) -> Self {
        let [ending, left] = [false, false].map(|no| Arc::new(AtomicBool::new(no)));
        let threads = (0..count).map(|sender| {
            let (log, targets) = (Arc::clone(log), targets.clone());
            let (ending, left) = (Arc::clone(&ending), Arc::clone(&left));
            let mut chance = Chance::new(seed.wrapping_add(sender).wrapping_add(1));
            thread::spawn(move || {
                while !ending.load(Ordering::Relaxed) {
                    for message in job(&mut chance) {
                        if !until_acknowledged(&log, &targets, &message, &mut chance, &left) {
                            return;
                        }
                        sleep(Duration::from_micros(chance.between(0, 6_000)));
                    }
                }
            })
        });
        Self { threads: threads.collect(), ending, left }
    }

    /// Ends the senders in the middle of their jobs.
    pub(crate) fn leave(self) {
        self.left.store(true, Ordering::Relaxed);
        self.end();
    }

    /// Waits until each sender has finished its job.
    pub(crate) fn end(self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}
