//! Real parts for tests. A test reads as rows:
//!
//! ```text
//! on_every_envoy(|envoy| {
//!     let gate = TestGate::start(envoy);
//!     gate.accepts(H2, &TestDelivery::completed().pieces_of(1));
//!     gate.refuses(H1, &TestDelivery::of("{"), 400, "json-invalid");
//! });
//! ```
//!
//! A [`TestGate`] is an [`EnvoyProcess`] with the shipped `envoy.yaml`, whose ports and paths [`Bootstrap`] replaces, and
//! recording [`Upstream`]s. A [`Client`] sends a [`TestDelivery`] and gets a [`ClientResponse`].
//! Every call blocks, for [`MAX_WAIT`] at most.

pub mod answer;
pub mod balancer;
pub mod bootstrap;
pub mod client;
pub mod clone;
pub mod control_plane;
pub mod delivery;
pub mod disk;
pub mod envoy;
mod fill;
pub mod gate;
pub mod h1;
pub mod h2;
pub mod inbox;
pub mod metrics;
pub mod module;
pub mod nginx;
pub mod otlp;
pub mod pgbouncer;
pub mod postgres;
pub mod production_folder;
pub mod prometheus;
pub mod sqlite;
pub mod tls;
pub mod upstream;
pub mod versions;

pub use answer::ClientResponse;
pub use balancer::{ForwardedHeaders, HttpBalancer, NetworkBalancer};
pub use blobgate_testkit_book as book;
pub use blobgate_testkit_needs::needs;
pub use bootstrap::Bootstrap;
pub use client::{Client, Connector, Protocol, Protocol::H1, Protocol::H2};
pub use clone::CloneFolder;
pub use delivery::{Length, TestDelivery};
pub use disk::Ext4Disk;
pub use envoy::{EnvoyProcess, Options};
pub use fill::fill;
pub use gate::TestGate;
pub use inbox::InboxProcess;
pub use module::{GateModule, module};
pub use nginx::NginxProcess;
pub use otlp::{TraceCollector, TraceSpan};
pub use pgbouncer::Pgbouncer;
pub use postgres::Cluster;
pub use production_folder::ProductionFolder;
pub use prometheus::{ActiveAlert, PrometheusProcess};
pub use sqlite::{SqliteFile, sql};
pub use upstream::{Reply, ServiceRequest, Upstream};
pub use versions::{Version, on_every_envoy, on_every_envoy_with, versions, versions_with};

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

/// After this time a test fails. Enough on two cores with three Envoys at once.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Runs a future to its end on the test's thread.
pub fn block<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// Runs a future beside the test.
pub fn spawn<F: Future<Output: Send + 'static> + Send + 'static>(
    future: F,
) -> tokio::task::JoinHandle<F::Output> {
    RUNTIME.spawn(future)
}

/// Runs a future to its end. Panics after [`MAX_WAIT`].
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> F::Output {
    match block(async { tokio::time::timeout(MAX_WAIT, future).await }) {
        Ok(output) => output,
        Err(_) => panic!("no {what} within {MAX_WAIT:?}"),
    }
}

/// Calls `probe` until it returns a value. Panics after [`MAX_WAIT`].
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + MAX_WAIT;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} within {MAX_WAIT:?}");
        pause(Duration::from_millis(10));
    }
}

/// Waits: between two probes, or for a test about time.
pub fn pause(time: Duration) {
    block(async { tokio::time::sleep(time).await });
}

/// A free port below the range that the kernel gives to clients. For programs that cannot bind port 0.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    let start = u16::try_from(std::process::id() % 10_000).unwrap();
    (0..10_000)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// An address without a listener. It holds the port, because another program soon takes a free one.
pub struct ClosedPort {
    /// The address. A connection to it is refused.
    pub address: SocketAddr,
    _bound: TcpSocket,
}

/// Takes a port without listening on it.
pub fn closed_port() -> ClosedPort {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    ClosedPort { address: socket.local_addr().unwrap(), _bound: socket }
}

/// A path in the repository.
pub fn repository(path: impl AsRef<Path>) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}
