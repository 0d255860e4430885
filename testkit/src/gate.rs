//! An Envoy with the gate in it, the services behind it and a provider: what most tests start from.

use super::client::Protocol::{self, H1};
use super::{Answer, Arrival, Bootstrap, Connect, Delivery, Envoy, Options, Upstream, Version, eventually};

/// Past the gate, by the route [`super::bootstrap::BESIDE`] the hooks, to the video service.
const SENTINEL: &str = "/app/sentinel";

pub struct Gate {
    pub envoy: Envoy,
    /// Gets what is completed.
    pub video: Upstream,
    /// Gets what failed or timed out, and what is observed without a readable event.
    pub failure: Upstream,
    /// Gets what is proven, and wrong.
    pub quarantine: Upstream,
    /// Is asked what it knows of a generation.
    pub provider: Upstream,
}

impl Gate {
    /// As it is shipped.
    #[track_caller]
    pub fn start(version: &Version) -> Self {
        Self::with(version, |shipped| shipped)
    }

    #[track_caller]
    pub fn with(version: &Version, change: impl FnOnce(Bootstrap) -> Bootstrap) -> Self {
        Self::started(version, Options::default(), change)
    }

    #[track_caller]
    pub fn started(version: &Version, options: Options, change: impl FnOnce(Bootstrap) -> Bootstrap) -> Self {
        Self::before(version, options, change, Upstream::start(), Upstream::start())
    }

    /// Before these services.
    #[track_caller]
    pub fn before(
        version: &Version,
        options: Options,
        change: impl FnOnce(Bootstrap) -> Bootstrap,
        video: Upstream,
        failure: Upstream,
    ) -> Self {
        let (quarantine, provider) = (Upstream::start(), Upstream::start());
        let bootstrap = change(
            Self::bootstrap(&video, &failure)
                .endpoint("quarantine_service", quarantine.port)
                .endpoint("runblob_api", provider.port),
        );
        Self { envoy: Envoy::start(version, &bootstrap, options), video, failure, quarantine, provider }
    }

    /// The shipped configuration with its clusters at these services.
    pub fn bootstrap(video: &Upstream, failure: &Upstream) -> Bootstrap {
        Bootstrap::shipped().endpoint("video_service", video.port).endpoint("failure_service", failure.port)
    }

    #[track_caller]
    pub fn tls(&self, protocol: Protocol) -> Connect {
        self.envoy.tls(protocol)
    }

    /// Sends over a new TLS connection.
    #[track_caller]
    pub fn send(&self, protocol: Protocol, delivery: &Delivery) -> Answer {
        self.tls(protocol).open().send(delivery)
    }

    /// Asserts that a delivery is accepted and reaches one service, once and byte for byte.
    #[track_caller]
    pub fn accepts(&self, protocol: Protocol, delivery: &Delivery) -> Arrival {
        self.accepts_from(&self.tls(protocol), delivery)
    }

    #[track_caller]
    pub fn accepts_from(&self, connect: &Connect, delivery: &Delivery) -> Arrival {
        self.forget();
        let answer = connect.open().send(delivery);
        assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
        let arrival = self.take_one();
        assert_eq!(arrival.header("blobgate-verdict").as_deref(), Some("accepted"), "{arrival:?}");
        assert_eq!(arrival.body, delivery.body(), "what was judged is what is forwarded");
        arrival
    }

    /// Asserts that a delivery is refused with this status, reason and problem document, and reaches no service.
    #[track_caller]
    pub fn refuses(&self, protocol: Protocol, delivery: &Delivery, status: u16, reason: &str) -> Answer {
        self.refuses_from(&self.tls(protocol), delivery, status, reason)
    }

    #[track_caller]
    pub fn refuses_from(&self, connect: &Connect, delivery: &Delivery, status: u16, reason: &str) -> Answer {
        let answer = self.nothing_arrives(|| connect.open().send(delivery));
        answer.assert_refused(status, reason);
        answer
    }

    /// Asserts that what `act` sends reaches no service.
    ///
    /// Looking at the services alone would prove nothing: a request could still be under way. So Envoy is asked as
    /// well. It counts a request in `cluster.<name>.upstream_rq_total` before it writes the first byte of it, on the
    /// worker that has the client's request; and one that waits for a connection in `upstream_rq_pending_active`. The
    /// client has its answer by then, and a sentinel that goes past the gate to a service has come back, so that the
    /// worker has been through its event loop and the services have read what was sent. If then Envoy counts the
    /// sentinel alone and none pending, and the services saw the sentinel alone, nothing else is under way.
    #[track_caller]
    pub fn nothing_arrives<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = (self.sent(), self.heads());
        let result = act();
        let answer = self.tls(H1).open().send(&Delivery::of("{}").path(SENTINEL));
        assert_ne!(
            answer.reason().as_deref(),
            Some("not-judged"),
            "the sentinel goes past the gate: {answer:?}"
        );
        let after = (self.sent(), self.heads());
        assert_eq!(after, (before.0 + 1, before.1 + 1), "(sent by Envoy, arrived): more than the sentinel");
        assert_eq!(self.pending(), 0, "requests that wait for a connection");
        self.video.forget(SENTINEL);
        result
    }

    /// What Envoy has sent to its services, ever.
    #[track_caller]
    pub fn sent(&self) -> u64 {
        let mut sent = self.envoy.stats(r"^cluster\..*\.upstream_rq_total$");
        sent.retain(|name, _| !name.starts_with("cluster.runblob_api."));
        sent.values().sum()
    }

    #[track_caller]
    fn pending(&self) -> u64 {
        self.envoy.stats(r"^cluster\..*\.upstream_rq_pending_active$").values().sum()
    }

    /// Whatever can get a delivery.
    pub fn services(&self) -> [&Upstream; 3] {
        [&self.video, &self.failure, &self.quarantine]
    }

    pub fn heads(&self) -> usize {
        self.services().iter().map(|service| service.heads()).sum()
    }

    /// The one arrival at either service since the last time.
    #[track_caller]
    pub fn take_one(&self) -> Arrival {
        let arrivals = eventually("arrival", || {
            Some(self.services().map(Upstream::take).concat()).filter(|arrivals| !arrivals.is_empty())
        });
        let [arrival] = arrivals.try_into().expect("one arrival");
        arrival
    }

    /// Starts counting arrivals anew.
    pub fn forget(&self) {
        let _forgotten = self.services().map(Upstream::take);
    }
}
