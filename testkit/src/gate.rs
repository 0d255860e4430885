//! An Envoy with the gate, its services and a provider. Most tests start one.

use super::client::Protocol::{self, H1};
use super::{
    Bootstrap, ClientResponse, Connector, EnvoyProcess, Options, ServiceRequest, TestDelivery, Upstream,
    Version, eventually,
};
use blobgate::contract::{Verdict, header};

/// Reaches the video service without the gate, by the route [`super::bootstrap::BESIDE`].
const SENTINEL: &str = "/app/sentinel";

pub struct TestGate {
    pub envoy: EnvoyProcess,
    /// Gets `completed` events.
    pub video: Upstream,
    /// Gets `failed` and `timeout` events, and observed deliveries without a readable event.
    pub failure: Upstream,
    /// Gets quarantined deliveries.
    pub quarantine: Upstream,
    /// Answers the gate's status calls.
    pub provider: Upstream,
}

impl TestGate {
    /// The shipped configuration.
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

    /// Starts one with these services.
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
        Self {
            envoy: EnvoyProcess::start(version, &bootstrap, options),
            video,
            failure,
            quarantine,
            provider,
        }
    }

    /// The shipped configuration with these services.
    pub fn bootstrap(video: &Upstream, failure: &Upstream) -> Bootstrap {
        Bootstrap::shipped().endpoint("video_service", video.port).endpoint("failure_service", failure.port)
    }

    #[track_caller]
    pub fn tls(&self, protocol: Protocol) -> Connector {
        self.envoy.tls(protocol)
    }

    /// Sends over a new TLS connection.
    #[track_caller]
    pub fn send(&self, protocol: Protocol, delivery: &TestDelivery) -> ClientResponse {
        self.tls(protocol).open().send(delivery)
    }

    /// Asserts that a delivery is accepted and reaches one service, once and byte for byte.
    #[track_caller]
    pub fn accepts(&self, protocol: Protocol, delivery: &TestDelivery) -> ServiceRequest {
        self.accepts_from(&self.tls(protocol), delivery)
    }

    #[track_caller]
    pub fn accepts_from(&self, connect: &Connector, delivery: &TestDelivery) -> ServiceRequest {
        self.forget();
        let answer = connect.open().send(delivery);
        assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
        let arrival = self.take_one();
        assert_eq!(arrival.header(header::VERDICT).as_deref(), Some(Verdict::Accepted.name()), "{arrival:?}");
        assert_eq!(arrival.body, delivery.body(), "the gate forwards the body unchanged");
        arrival
    }

    /// Asserts that a delivery is refused with this status, reason and problem document, and reaches no service.
    #[track_caller]
    pub fn refuses(
        &self,
        protocol: Protocol,
        delivery: &TestDelivery,
        status: u16,
        reason: &str,
    ) -> ClientResponse {
        self.refuses_from(&self.tls(protocol), delivery, status, reason)
    }

    #[track_caller]
    pub fn refuses_from(
        &self,
        connect: &Connector,
        delivery: &TestDelivery,
        status: u16,
        reason: &str,
    ) -> ClientResponse {
        let answer = self.nothing_arrives(|| connect.open().send(delivery));
        answer.assert_refused(status, reason);
        answer
    }

    /// Asserts that no request of `act` reaches a service.
    ///
    /// The services alone prove nothing: a request could still be on its way. Envoy counts a request in
    /// `cluster.<name>.upstream_rq_total` before it writes the first byte, and in `upstream_rq_pending_active` while the
    /// request waits for a connection. After `act`, a sentinel request goes to a service without the gate. Its response
    /// shows that Envoy's worker has handled everything before it. Then Envoy must have sent the sentinel alone, must have
    /// none pending, and the services must have got the sentinel alone.
    #[track_caller]
    pub fn nothing_arrives<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = (self.sent(), self.heads());
        let result = act();
        let answer = self.tls(H1).open().send(&TestDelivery::of("{}").path(SENTINEL));
        assert_ne!(
            answer.reason().as_deref(),
            Some("not-judged"),
            "the sentinel bypasses the gate: {answer:?}"
        );
        let after = (self.sent(), self.heads());
        assert_eq!(after, (before.0 + 1, before.1 + 1), "(sent by Envoy, arrived): only the sentinel");
        assert_eq!(self.pending(), 0, "requests that wait for a connection");
        self.video.forget(SENTINEL);
        result
    }

    /// The number of requests that Envoy has sent to its services.
    #[track_caller]
    pub fn sent(&self) -> u64 {
        let mut sent = self.envoy.stats(r"^cluster\..*\.upstream_rq_total$");
        sent.retain(|name, _| {
            !["cluster.runblob_api.", "cluster.otel_collector."].iter().any(|other| name.starts_with(other))
        });
        sent.values().sum()
    }

    #[track_caller]
    fn pending(&self) -> u64 {
        self.envoy.stats(r"^cluster\..*\.upstream_rq_pending_active$").values().sum()
    }

    /// The services that get deliveries.
    pub fn services(&self) -> [&Upstream; 3] {
        [&self.video, &self.failure, &self.quarantine]
    }

    pub fn heads(&self) -> usize {
        self.services().iter().map(|service| service.heads()).sum()
    }

    /// The only request at the services since the last call. Waits for it.
    #[track_caller]
    pub fn take_one(&self) -> ServiceRequest {
        let arrivals = eventually("arrival", || {
            Some(self.services().map(Upstream::take).concat()).filter(|arrivals| !arrivals.is_empty())
        });
        let [arrival] = arrivals.try_into().expect("one arrival");
        arrival
    }

    /// Drops the recorded requests.
    pub fn forget(&self) {
        let _forgotten = self.services().map(Upstream::take);
    }
}
