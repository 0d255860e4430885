//! Runs the inbox: starts its parts, and ends them in order.

use crate::access::{Access, AccessToken};
use crate::access_log;
use crate::admin::{self, Admin};
use crate::commit::Committer;
use crate::deliver::{Deliverer, DeliveryPace, LEASE, Target};
use crate::failpoint::time_of;
use crate::handles::InboxHandles;
use crate::health::Faults;
use crate::incidents::Incidents;
use crate::key::WebhookKeys;
use crate::line_limit;
use crate::listen::{Descriptors, HttpListener, ListenerName, raise_limit};
use crate::metrics::Metrics;
use crate::notify::{Notifications, Notifier};
use crate::page;
use crate::receive::{self, Receiver};
use crate::reconcile::{Reconcile, Reconciler, Releaser, StatusCaller, micros};
use crate::retention::Retention;
use crate::service::{Operations, Retries};
use crate::signatures::Signatures;
use crate::space::Space;
use crate::store::{OpenError, Place};
use axum::http::Uri;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The settings of an inbox.
#[derive(Debug)]
pub struct Settings {
    /// The store.
    pub store: Place,
    /// The listener for the gate.
    pub receive: TcpListener,
    /// The listener for operators.
    pub admin: TcpListener,
    /// The listener for scrapers, which has no other endpoint.
    pub metrics: Option<TcpListener>,
    /// The listener for Envoy's access log, which reports the refusals of the gates.
    pub access_log: Option<TcpListener>,
    /// Envoy's listener with the service routes.
    pub deliver_to: Uri,
    /// The keys that sign each attempt.
    pub sign: Option<WebhookKeys>,
    /// The keys of the gate. Without them the inbox verifies no signature.
    pub verify: Option<WebhookKeys>,
    /// The tokens of which a client of the admin listener must send one. Without any, the listener takes requests of anybody but
    /// web pages.
    pub admin_tokens: Vec<AccessToken>,
    /// The time limit for the answer of a service.
    pub timeout: Duration,
    /// The attempts that run at once on a route.
    pub concurrency: usize,
    /// The first rate, in attempts a second, at which a route catches up after its service was down. It doubles every 10 s.
    pub drain: NonZeroU32,
    /// The bytes of events that the store may contain.
    pub limit: i64,
    /// The events in one transaction, 512 at most. 1 turns the group commit off, to measure its gain.
    pub batch: usize,
    /// The settings of the reconciler.
    pub reconcile: Reconcile,
    /// The base URL of the documentation, without a slash at the end, for problem documents and notifications.
    pub docs: String,
    /// The receiver of notifications. Without it the inbox sends none.
    pub notify: Option<Notifications>,
}

/// Why the inbox does not serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
}

/// Attempts end within 22 s, and the store has their outcomes within this time.
const DELIVERIES_TIMEOUT: Duration = Duration::from_millis(22_500);
/// The time for the last commits after the listeners have closed.
const COMMITS_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until `ending`, and then ends within 25 s: attempts in flight have 22 s, in which the inbox still stores events.
/// Then the listeners close; their connections have 1.5 s, and the last commits 1 s. It calls `listening` once the store is open
/// and the listeners accept.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    mut settings: Settings,
    ending: CancellationToken,
    listening: impl FnOnce(),
) -> Result<(), ServeError> {
    #[cfg(feature = "failpoints")]
    crate::failpoint::read_env();
    let limit = raise_limit();
    #[cfg(not(feature = "failpoints"))]
    let store = settings.store.open().await?;
    #[cfg(feature = "failpoints")]
    let store = crate::breakages::open(&settings.store).await?;
    let faults = Arc::new(Faults::default());
    let metrics = Arc::new(Metrics::new(&faults));
    let descriptors = Arc::new(Descriptors::new(limit, Arc::clone(&faults)));
    let files = Arc::clone(&store).watch_files(&faults);
    let space = Space::new(settings.limit, store.file().map(ToOwned::to_owned));
    let signatures = Arc::new(Signatures::new(&faults, Arc::clone(&metrics)));
    let mut shared = InboxHandles::new(store, space, metrics, faults);
    if settings.notify.is_some() {
        shared.incidents = Arc::new(Incidents::noted());
    }
    // Logs a fault before the first event. It does not prevent the start: a right can be granted while the inbox runs.
    let _raised = shared.watch.probe().await;

    let tasks = Tasks::default();
    let (committer, operations) = start(&mut settings, &shared, &signatures, &tasks, &ending).await;
    let docs = settings.docs.clone();
    let admin = Arc::new(Admin {
        operations,
        shared: shared.clone(),
        access: Access::new(settings.admin_tokens),
        docs: docs.clone(),
        ending: ending.clone(),
    });
    let local = settings.receive.local_addr().ok();
    let receiver = Receiver {
        committer,
        shared: shared.clone(),
        keys: settings.verify,
        signatures,
        local_port: local.filter(|address| address.ip().is_loopback()).map(|address| address.port()),
    };
    let closing = CancellationToken::new();
    let listen = |name, listener, routes| HttpListener {
        name,
        listener,
        routes,
        descriptors: Arc::clone(&descriptors),
        counters: shared.metrics.listeners.clone(),
        ending: ending.clone(),
        closing: closing.clone(),
    };
    let receiving =
        listen(ListenerName::Receive, settings.receive, receive::routes(Arc::new(receiver))).serve();
    let scraping = async {
        if let Some(listener) = settings.metrics {
            let routes = admin::scrape_routes(Arc::clone(&shared.metrics), &docs);
            listen(ListenerName::Metrics, listener, routes).serve().await;
        }
    };
    let logging = async {
        if let Some(listener) = settings.access_log {
            listen(ListenerName::AccessLog, listener, access_log::routes(&shared, &closing)).serve().await;
        }
    };
    let administration = admin::routes(&admin).merge(page::routes(&admin));
    let administering = listen(ListenerName::Admin, settings.admin, administration).serve();
    // Its last handle goes with the listener: it has a committer, and the tasks that store end after the last one.
    drop(admin);
    let finished = async {
        listening();
        ending.cancelled().await;
        tracing::info!("ending: the inbox finishes its attempts, and stores events until then");
        tasks.delivering.close();
        if tokio::time::timeout(DELIVERIES_TIMEOUT, tasks.delivering.wait()).await.is_err() {
            tracing::warn!("the outcomes of attempts were not stored in time: the next start repeats them");
        }
        closing.cancel();
    };
    tokio::select! {
        () = async { tokio::join!(receiving, administering, scraping, logging, finished); } => (),
        () = descriptors.watch() => (),
    }
    tasks.storing.close();
    if tokio::time::timeout(COMMITS_TIMEOUT, tasks.storing.wait()).await.is_err() {
        tracing::warn!("the last events were not stored in time: the provider sends them again");
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

/// Starts everything except the listeners.
async fn start(
    settings: &mut Settings,
    shared: &InboxHandles,
    signatures: &Arc<Signatures>,
    tasks: &Tasks,
    ending: &CancellationToken,
) -> (Committer, Operations) {
    let mut retention = Retention::new(shared.clone());
    // A store too large to measure in time can still store and deliver.
    if let Err(error) = retention.measure().await {
        tracing::error!("cannot measure the store: {error}");
    }
    let committer = Committer::start(shared.clone(), settings.batch, &tasks.storing);
    let releaser = Releaser { shared: shared.clone(), committer: committer.clone() };
    let (nudge, reconcile) = (Arc::new(Notify::new()), &settings.reconcile);
    let sign = settings.sign.take();
    let reconciler =
        Reconciler::new(releaser.clone(), Arc::clone(&nudge), reconcile, sign.is_some(), ending.clone());
    // It stores events, so it ends with the committers.
    tasks.storing.spawn(reconciler.run());
    let target = Target { base: settings.deliver_to.clone(), timeout: settings.timeout, keys: sign };
    let pace = DeliveryPace {
        concurrency: settings.concurrency,
        drain: settings.drain,
        lease: time_of!("lease", LEASE),
    };
    let deliverer = Deliverer::new(shared.clone(), pace, target);
    tasks.delivering.spawn(deliverer.run(ending.clone()));
    tasks.delivering.spawn(retention.run(ending.clone()));
    tasks.delivering.spawn(line_limit::report(ending.clone()));
    if let Some(notifications) = settings.notify.take() {
        let notifier = Notifier::new(shared.clone(), notifications, settings.docs.clone()).await;
        tasks.delivering.spawn(notifier.run(ending.clone()));
    }
    tasks.delivering.spawn(Arc::clone(&shared.watch).run(Arc::clone(signatures), ending.clone()));
    let operations = Operations {
        shared: shared.clone(),
        releaser,
        retries: Retries::new(settings.drain),
        nudge,
        status_caller: StatusCaller::new(reconcile).map(Arc::new),
        per_minute: reconcile.provider.is_some().then_some(reconcile.per_minute),
        warned_of_no_provider: AtomicBool::new(false),
        reconcile_after: micros(reconcile.after),
        receives_refusals: settings.access_log.is_some(),
    };
    (committer, operations)
}
