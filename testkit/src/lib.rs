//! Real parts for tests. A test reads as rows:
//!
//! ```text
//! on_every_envoy(|envoy| {
//!     let gate = Gate::start(envoy);
//!     gate.accepts(H2, &Delivery::completed().pieces_of(1));
//!     gate.refuses(H1, &Delivery::of("{"), 400, "json-invalid");
//! });
//! ```
//!
//! [`Gate`] is an [`Envoy`] with the repository's own `envoy.yaml` ([`Bootstrap`] rewrites ports, paths and what the
//! test changes) and two recording [`Upstream`]s. A [`Delivery`] is sent by a [`Client`] and gets an [`Answer`].
//! Everything blocks and has a deadline: [`PATIENCE`].

pub mod answer;
pub mod bootstrap;
pub mod client;
pub mod delivery;
pub mod disk;
pub mod envoy;
pub mod gate;
pub mod h1;
pub mod h2;
pub mod inbox;
pub mod metrics;
pub mod pgbouncer;
pub mod postgres;
pub mod sqlite;
pub mod tls;
pub mod upstream;
pub mod versions;

pub use answer::Answer;
pub use blobgate_testkit_needs::needs;
pub use bootstrap::Bootstrap;
pub use client::{Client, Connect, Protocol, Protocol::H1, Protocol::H2};
pub use delivery::{Delivery, Length};
pub use disk::Disk;
pub use envoy::{Envoy, Options};
pub use gate::Gate;
pub use inbox::Inbox;
pub use pgbouncer::Pgbouncer;
pub use postgres::Cluster;
pub use sqlite::{SqliteFile, sql};
pub use upstream::{Arrival, Reply, Upstream};
pub use versions::{Version, on_every_envoy, versions};

use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before the test fails: two cores, three Envoys at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Runs a future to its end from a test's thread.
pub fn block<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// Lets a future run beside the test.
pub fn spawn<F: Future<Output: Send + 'static> + Send + 'static>(
    future: F,
) -> tokio::task::JoinHandle<F::Output> {
    RUNTIME.spawn(future)
}

/// Runs a future to its end, which must come within [`PATIENCE`].
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> F::Output {
    match block(async { tokio::time::timeout(PATIENCE, future).await }) {
        Ok(output) => output,
        Err(_) => panic!("no {what} within {PATIENCE:?}"),
    }
}

/// Asks until there is something, which must come within [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} within {PATIENCE:?}");
        pause(Duration::from_millis(10));
    }
}

/// Lets time pass: between two looks, or where the passing itself is what a test is about.
pub fn pause(time: Duration) {
    block(async { tokio::time::sleep(time).await });
}

/// A port that is free now, below those that the kernel gives to clients. For what cannot pick a free one by itself.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    let start = u16::try_from(std::process::id() % 10_000).unwrap();
    (0..10_000)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// A path in the repository.
pub fn repository(path: impl AsRef<Path>) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// The module under test.
pub fn module() -> PathBuf {
    built("target/wasm32-wasip1/release/blobgate.wasm", "make build")
}

/// The same module, which traps on the request header `x-crash-test`.
pub fn crashing_module() -> PathBuf {
    built("target/crash-test/wasm32-wasip1/release/blobgate.wasm", "make test")
}

fn built(path: &str, verb: &str) -> PathBuf {
    let module = repository(path);
    assert!(module.is_file(), "There is no {path}: run `{verb}`.");
    module
}
