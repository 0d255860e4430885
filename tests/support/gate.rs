//! An Envoy with the gate in it, and the services behind it.

use super::{
    Answer, Arrival, Bootstrap, Client, Connect, Delivery, Envoy, Options, Protocol, Upstream, Version,
    envoy, eventually,
};
use serde_json::{Value, json};

/// The shipped gate on free ports, in front of two recording services.
pub struct Gate {
    pub envoy: Envoy,
    pub video: Upstream,
    pub failure: Upstream,
}

/// The shipped hook, with `changes` laid over it.
pub fn hook(changes: &Value) -> Value {
    let mut hook = json!({
        "name": "veo3", "path": "/webhook", "dialect": "veo3", "source": ["127.0.0.0/8"],
        "trust": "open", "result_url": "any", "quarantine": "none",
    });
    for (key, value) in changes.as_object().unwrap() {
        hook[key] = value.clone();
    }
    hook
}

impl Gate {
    /// The shipped configuration.
    #[track_caller]
    pub fn start(version: &Version) -> Self {
        Self::of(version, |bootstrap| bootstrap)
    }

    /// With `changes` laid over the shipped hook.
    #[track_caller]
    pub fn with_hook(version: &Version, changes: Value) -> Self {
        Self::of(version, |bootstrap| bootstrap.hooks(&[hook(&changes)]))
    }

    /// With a changed bootstrap.
    #[track_caller]
    pub fn of(version: &Version, change: impl FnOnce(Bootstrap) -> Bootstrap) -> Self {
        Self::with(version, &Options::default(), change)
    }

    #[track_caller]
    pub fn with(version: &Version, options: &Options, change: impl FnOnce(Bootstrap) -> Bootstrap) -> Self {
        let (video, failure) = (Upstream::start(), Upstream::start());
        let folder = envoy::folder();
        let bootstrap = Bootstrap::shipped(folder.path())
            .cluster("video_service", video.port)
            .cluster("failure_service", failure.port);
        let envoy = Envoy::start(version, folder, &change(bootstrap), options);
        Self {
            envoy,
            video,
            failure,
        }
    }

    pub fn tls(&self, protocol: Protocol) -> Connect {
        Connect::tls(self.envoy.port("edge"), protocol)
    }

    pub fn plaintext(&self, protocol: Protocol) -> Connect {
        Connect::plaintext(self.envoy.port("plaintext"), protocol)
    }

    #[track_caller]
    pub fn send(&self, protocol: Protocol, delivery: &Delivery) -> Answer {
        self.tls(protocol).open().send(delivery)
    }

    /// Sends, and asserts that it was answered 200 and reached exactly one service, byte for byte.
    #[track_caller]
    pub fn accepts(&self, protocol: Protocol, delivery: &Delivery) -> Arrival {
        let answer = self.send(protocol, delivery);
        assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}");
        let arrival = self.arrived();
        assert_eq!(arrival.header("blobgate-verdict").as_deref(), Some("accepted"));
        assert!(arrival.body == delivery.body(), "another body arrived");
        arrival
    }

    /// The one request that reached a service since the last look.
    #[track_caller]
    pub fn arrived(&self) -> Arrival {
        let mut arrivals = self.video.take();
        arrivals.extend(self.failure.take());
        assert_eq!(arrivals.len(), 1, "{arrivals:?}");
        arrivals.remove(0)
    }

    /// Sends, and asserts status, reason and problem document, and that nothing reached a service.
    #[track_caller]
    pub fn refuses(&self, protocol: Protocol, delivery: &Delivery, status: u16, reason: &str) -> Answer {
        self.refused_by(&mut self.tls(protocol).open(), delivery, status, reason)
    }

    #[track_caller]
    pub fn refused_by(&self, client: &mut Client, delivery: &Delivery, status: u16, reason: &str) -> Answer {
        let before = self.envoy.sent_upstream();
        let answer = client.send(delivery);
        answer.assert_refused(status, reason);
        self.assert_nothing_since(before);
        answer
    }

    /// Asserts that Envoy has begun no request to any service since `before` (of [`Envoy::sent_upstream`]).
    ///
    /// Envoy counts a request when it opens its stream to the service, before the first byte; a worker publishes its
    /// counters at once, so that there is nothing to wait for. A following delivery must be counted: the look would
    /// have seen it.
    #[track_caller]
    pub fn assert_nothing_since(&self, before: u64) {
        assert_eq!(self.envoy.sent_upstream(), before, "something went upstream");
        let seen = self.video.take().len() + self.failure.take().len();
        assert_eq!(seen, 0, "something reached a service");
    }

    /// A line of the module's log that contains `text`, once it is there.
    #[track_caller]
    pub fn log_line(&self, text: &str) -> String {
        eventually(text, || {
            self.envoy
                .log()
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
    }

    /// A counter's value, by its name and labels as Prometheus shows them.
    #[track_caller]
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let text = self.envoy.prometheus();
        let is_it = |line: &&str| {
            line.starts_with(name) && labels.iter().all(|(k, v)| line.contains(&format!("{k}=\"{v}\"")))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#')).filter(is_it);
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum()
    }
}
