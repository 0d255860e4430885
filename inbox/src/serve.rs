//! Runs the inbox: starts its parts, and ends them in their order.

use crate::admin::{self, Admin};
use crate::clocks::Clocks;
use crate::commit::Committer;
use crate::deliver::{Deliverer, LEASE, Pace, Target};
use crate::failpoint::time_of;
use crate::health::Faults;
use crate::key::Keys;
use crate::listen::{Descriptors, Listen, Name, raise_limit};
use crate::log_limit::LogLimit;
use crate::metrics::Metrics;
use crate::purge::Purger;
use crate::receive::{self, Receiver};
use crate::reconcile::{Reconcile, Reconciler, Releaser, micros};
use crate::service::Operations;
use crate::shared::Shared;
use crate::space::Space;
use crate::store::{OpenError, Place};
use axum::http::Uri;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the inbox needs to know.
#[derive(Debug)]
pub struct Settings {
    /// Where it stores.
    pub store: Place,
    /// Where the gate sends to.
    pub receive: TcpListener,
    /// Where operators ask.
    pub admin: TcpListener,
    /// The listener with the service routes.
    pub deliver_to: Uri,
    /// What signs each attempt anew.
    pub sign: Option<Keys>,
    /// Whose signature the gate's deliveries must have.
    pub verify: Option<Keys>,
    /// What the admin listener wants to see; without it, nothing.
    pub admin_token: Option<String>,
    /// A service may take so long.
    pub timeout: Duration,
    /// So many deliveries at a time on a route.
    pub concurrency: usize,
    /// So many a second at first, while a route that was down catches up; the rate doubles every 10 s.
    pub drain: NonZeroU32,
    /// So many bytes of events may be stored.
    pub limit: i64,
    /// So many events in a transaction at most, up to 512: to measure what the group commit is worth.
    pub batch: usize,
    /// How the provider is asked about what did not come.
    pub reconcile: Reconcile,
}

/// Why the inbox has ended by itself.
#[derive(Debug, Error)]
pub enum Ended {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
}

/// Deliveries end within 22 s, and are written within this time.
const LAST_DELIVERIES: Duration = Duration::from_millis(22_500);
/// What the last connections have handed over is stored within this time.
const LAST_COMMITS: Duration = Duration::from_secs(1);

/// Serves until `ending`, and then finishes what is under way: first the deliveries, within 22 s, while events are still
/// stored and answered. Then the listeners close, and their connections have 1.5 s, and what those have handed over 1 s. Within
/// 25 s all is over, and nobody takes events only from the moment at which the process is about to end.
///
/// # Errors
/// [`Ended`].
pub async fn serve(mut settings: Settings, ending: CancellationToken) -> Result<(), Ended> {
    #[cfg(feature = "failpoints")]
    crate::failpoint::read_env();
    let limit = raise_limit();
    #[cfg(not(feature = "failpoints"))]
    let store = settings.store.open().await?;
    #[cfg(feature = "failpoints")]
    let store = crate::breakages::open(&settings.store).await?;
    let (metrics, faults) = (Arc::new(Metrics::new()), Arc::new(Faults::default()));
    let descriptors = Arc::new(Descriptors::new(limit, Arc::clone(&faults)));
    let files = Arc::clone(&store).watch_files(&faults);
    let space = Space::new(settings.limit, store.file().map(ToOwned::to_owned));
    let clocks = Arc::new(Clocks::new(Arc::clone(&faults), Arc::clone(&metrics)));
    let shared = Shared::new(store, space, metrics, faults);
    // Said before an event comes, and mended or not: a right may be granted while the inbox runs.
    let _known = shared.watch.look().await;

    let tasks = Tasks::default();
    let (committer, operations) = start(&mut settings, &shared, &clocks, &tasks, &ending).await;
    let admin =
        Admin { operations, shared: shared.clone(), token: settings.admin_token, ending: ending.clone() };
    let local = settings.receive.local_addr().ok();
    let receiver = Receiver {
        committer,
        shared: shared.clone(),
        keys: settings.verify,
        clocks,
        log: LogLimit::default(),
        local_port: local.filter(|address| address.ip().is_loopback()).map(|address| address.port()),
    };
    let closing = CancellationToken::new();
    let listen = |name, listener, routes| Listen {
        name,
        listener,
        routes,
        descriptors: Arc::clone(&descriptors),
        counters: shared.metrics.listeners.clone(),
        ending: ending.clone(),
        closing: closing.clone(),
    };
    let receiving = listen(Name::Receive, settings.receive, receive::routes(Arc::new(receiver))).serve();
    let asked = listen(Name::Admin, settings.admin, admin::routes(Arc::new(admin))).serve();
    let finished = async {
        ending.cancelled().await;
        tracing::info!("ending: what is under way is finished, and events are stored until then");
        tasks.delivering.close();
        if tokio::time::timeout(LAST_DELIVERIES, tasks.delivering.wait()).await.is_err() {
            tracing::warn!("how deliveries ended is not written in time: they are made again");
        }
        closing.cancel();
    };
    tokio::select! {
        () = async { tokio::join!(receiving, asked, finished); } => (),
        () = descriptors.watch() => (),
    }
    tasks.storing.close();
    if tokio::time::timeout(LAST_COMMITS, tasks.storing.wait()).await.is_err() {
        tracing::warn!("events whose senders have no answer yet were not stored in time: they come again");
    }
    if let Some(files) = files {
        files.end().await;
    }
    Ok(())
}

/// Two groups of tasks: those that store end after those that deliver.
#[derive(Default)]
struct Tasks {
    storing: TaskTracker,
    delivering: TaskTracker,
}

/// Starts everything but the listeners.
async fn start(
    settings: &mut Settings,
    shared: &Shared,
    clocks: &Arc<Clocks>,
    tasks: &Tasks,
    ending: &CancellationToken,
) -> (Committer, Operations) {
    let mut purger = Purger::new(shared.clone());
    // A store that is too large to be measured in time can still store and deliver.
    if let Err(error) = purger.measure().await {
        tracing::error!("the store is not measured: {error}");
    }
    let committer = Committer::start(shared.clone(), settings.batch, &tasks.storing);
    let releaser = Releaser { shared: shared.clone(), committer: committer.clone() };
    let (nudge, reconcile) = (Arc::new(Notify::new()), &settings.reconcile);
    let sign = settings.sign.take();
    let reconciler =
        Reconciler::new(releaser.clone(), Arc::clone(&nudge), reconcile, sign.is_some(), ending.clone());
    // It stores, so it ends with what was received.
    tasks.storing.spawn(reconciler.run());
    let target = Target { base: settings.deliver_to.clone(), timeout: settings.timeout, keys: sign };
    let pace =
        Pace { concurrency: settings.concurrency, drain: settings.drain, lease: time_of!("lease", LEASE) };
    let deliverer = Deliverer::new(shared.clone(), pace, target);
    tasks.delivering.spawn(deliverer.run(ending.clone()));
    tasks.delivering.spawn(purger.run(ending.clone()));
    tasks.delivering.spawn(Arc::clone(&shared.watch).run(Arc::clone(clocks), ending.clone()));
    let operations = Operations {
        shared: shared.clone(),
        releaser,
        nudge,
        per_minute: reconcile.provider.is_some().then_some(reconcile.per_minute),
        reconcile_after: micros(reconcile.after),
    };
    (committer, operations)
}
