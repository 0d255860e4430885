//! Runs the inbox: starts its parts, and ends them in their order.

use crate::admin::{self, Admin};
use crate::clocks::Clocks;
use crate::commit::Committer;
use crate::deliver::{Deliverer, Pace, Target, Wake};
use crate::health::Faults;
use crate::key::Keys;
use crate::metrics::Metrics;
use crate::purge::Purger;
use crate::receive::{self, LogLimit, Receiver};
use crate::space::Space;
use crate::store::{CannotOpen, Place, Store};
use crate::sweep::{Releaser, Sweep, Sweeper, micros};
use crate::watch::Watch;
use axum::Router;
use axum::http::Uri;
use std::io;
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
    /// So many a second, at most, while a route that was down catches up.
    pub drain: NonZeroU32,
    /// A delivery is held for so long, and renewed meanwhile.
    pub lease: Duration,
    /// So many bytes of events may be stored.
    pub limit: i64,
    /// So many events in a transaction at most, up to 512: to measure what the group commit is worth.
    pub batch: usize,
    /// How the provider is asked about what did not come.
    pub sweep: Sweep,
}

/// Why the inbox has ended by itself.
#[derive(Debug, Error)]
pub enum Ended {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] CannotOpen),
    /// A listener failed.
    #[error("a listener has failed: {0}")]
    Listener(#[from] io::Error),
}

/// A connection that is still busy when the inbox ends is waited for so long, and as long what it has handed over. What is
/// being delivered has more time, from the same moment on: within 25 s all is over.
const LAST_CONNECTIONS: Duration = Duration::from_secs(5);

/// Serves until `ending`, and then finishes what is under way.
///
/// # Errors
/// [`Ended`].
pub async fn serve(settings: Settings, ending: CancellationToken) -> Result<(), Ended> {
    crate::failpoint::read_env();
    let store = settings.store.open().await?;
    let file = match &store {
        Store::Sqlite(sqlite) => Some(sqlite.path().to_owned()),
        Store::Postgres(_) => None,
    };
    let metrics = Arc::new(Metrics::new());
    let faults = Arc::new(Faults::default());
    let watch = Watch::new(&store, Arc::clone(&faults));
    let clocks = Arc::new(Clocks::new(Arc::clone(&faults), Arc::clone(&metrics)));
    // Said before an event comes, and mended or not: a right may be granted while the inbox runs.
    let _known = watch.look().await;
    let space = Arc::new(Space::new(settings.limit, file));
    let wake = Arc::new(Wake::default());
    let mut purger =
        Purger { session: store.session(), space: Arc::clone(&space), metrics: Arc::clone(&metrics) };
    // A store that is too large to be measured in time can still store and deliver.
    if let Err(error) = purger.measure().await {
        log::error!("the store is not measured: {error}");
    }

    let (storing, delivering) = (TaskTracker::new(), TaskTracker::new());
    let committer = Committer::start(
        &store,
        Arc::clone(&wake),
        Arc::clone(&metrics),
        Arc::clone(&space),
        Arc::clone(&watch),
        settings.batch,
        &storing,
    );
    let releaser = Releaser {
        store: store.clone(),
        committer: committer.clone(),
        metrics: Arc::clone(&metrics),
        space: Arc::clone(&space),
        wake: Arc::clone(&wake),
    };
    let (nudge, sweep) = (Arc::new(Notify::new()), settings.sweep);
    let sweeper = Sweeper::new(
        &store,
        releaser.clone(),
        Arc::clone(&metrics),
        Arc::clone(&nudge),
        &sweep,
        settings.sign.is_some(),
        ending.clone(),
    );
    // It stores, so it ends with what was received.
    storing.spawn(sweeper.run());
    let target = Target { base: settings.deliver_to, timeout: settings.timeout, keys: settings.sign };
    let pace = Pace { concurrency: settings.concurrency, drain: settings.drain, lease: settings.lease };
    let deliverer = Deliverer::new(
        store.session(),
        Arc::clone(&wake),
        Arc::clone(&metrics),
        Arc::clone(&space),
        pace,
        target,
    );
    delivering.spawn(deliverer.run(ending.clone()));
    delivering.spawn(purger.run(ending.clone()));
    delivering.spawn(Arc::clone(&watch).run(Arc::clone(&clocks), ending.clone()));

    let admin = Arc::new(Admin {
        watch,
        faults: Arc::clone(&faults),
        store,
        space: Arc::clone(&space),
        metrics: Arc::clone(&metrics),
        wake,
        token: settings.admin_token,
        ending: ending.clone(),
        releaser,
        nudge,
        asks: sweep.provider.is_some().then_some(sweep.per_minute),
        sweep_after: micros(sweep.after),
    });
    let receiver = Arc::new(Receiver {
        committer,
        space,
        metrics,
        faults,
        keys: settings.verify,
        clocks,
        log: LogLimit::default(),
    });
    let served = tokio::try_join!(
        listen(settings.receive, receive::routes(receiver), &ending),
        listen(settings.admin, admin::routes(admin), &ending),
    );
    ending.cancel();
    storing.close();
    // A connection that hangs keeps a committer for as long as this.
    let _late = tokio::time::timeout(LAST_CONNECTIONS, storing.wait()).await;
    delivering.close();
    delivering.wait().await;
    served.map(|_| ()).map_err(Ended::from)
}

async fn listen(listener: TcpListener, routes: Router, ending: &CancellationToken) -> io::Result<()> {
    let asked = ending.clone();
    let late = async {
        ending.cancelled().await;
        tokio::time::sleep(LAST_CONNECTIONS).await;
    };
    let served = axum::serve(listener, routes).with_graceful_shutdown(asked.cancelled_owned());
    tokio::select! {
        served = served => served,
        () = late => Ok(()),
    }
}
