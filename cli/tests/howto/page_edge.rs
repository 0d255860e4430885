//! An Envoy with a page's configuration before a real service.

use crate::PROGRAM;
use crate::page_file::PageFile;
use blobgate::contract::{Verdict, header};
use blobgate_testkit::envoy::TOKEN_KEY;
use blobgate_testkit::{
    Bootstrap, Connector, EnvoyProcess, Options, Reply, ServiceRequest, TestDelivery, Upstream, Version,
};
use std::process::Command;

pub(crate) struct PageEdge {
    pub(crate) envoy: EnvoyProcess,
    /// Gets every event.
    service: Upstream,
    /// Confirms no generation.
    _provider: Upstream,
    /// The hook's path, with a token.
    path: String,
    /// The path as the service gets it.
    service_path: String,
}

impl PageEdge {
    #[track_caller]
    pub(crate) fn start(version: &Version, file: &PageFile) -> Self {
        Self::with(version, file, |bootstrap| bootstrap)
    }

    #[track_caller]
    pub(crate) fn with(
        version: &Version,
        file: &PageFile,
        change: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> Self {
        let service = Upstream::start();
        let bootstrap = file.bootstrap();
        let bootstrap = ["video_service", "failure_service", "quarantine_service"]
            .into_iter()
            .fold(bootstrap, |bootstrap, cluster| bootstrap.endpoint(cluster, service.port));
        let provider = Upstream::start();
        provider.reply(
            Reply::status(404)
                .header("content-type", "application/json")
                .body(r#"{"detail":"TASK_NOT_FOUND"}"#),
        );
        let bootstrap = bootstrap.endpoint("runblob_api", provider.port);
        let envoy = EnvoyProcess::start(version, &change(bootstrap), Options::default());
        let gate = file.gate();
        let hook = &gate["hooks"][0];
        let text = |key: &str| hook[key].as_str().unwrap();
        let audience = format!("{}/{}", gate["environment"].as_str().unwrap(), text("name"));
        let kid = gate["token"]["keys"].as_object().unwrap().keys().next().unwrap();
        let service_path = text("path").strip_suffix("/{token}").expect("a path with a token").to_owned();
        let url = format!("https://hooks.example.com{service_path}");
        let mut mint = Command::new(PROGRAM);
        mint.args(["mint", "--url", &url, "--aud", &audience, "--kid", kid, "--key-env", TOKEN_KEY.0]);
        let minted = mint.env(TOKEN_KEY.0, TOKEN_KEY.1).output().unwrap();
        let minted = String::from_utf8(minted.stdout).unwrap();
        let path = minted.trim().strip_prefix("https://hooks.example.com").expect("a URL").to_owned();
        Self { envoy, service, _provider: provider, path, service_path }
    }

    /// A delivery as RunBlob sends it, with a valid token.
    pub(crate) fn genuine(&self) -> TestDelivery {
        TestDelivery::completed().path(&self.path)
    }

    /// A delivery of a client that knows the path and no token.
    pub(crate) fn forged(&self) -> TestDelivery {
        TestDelivery::completed().path(&self.service_path)
    }

    /// Asserts that a genuine delivery gets 200 and reaches the service, and that nothing else has reached it since. No header at the
    /// service has the token.
    #[track_caller]
    pub(crate) fn accepts(&self, from: &Connector) {
        self.accepts_this(from, &self.genuine());
    }

    #[track_caller]
    pub(crate) fn accepts_this(&self, from: &Connector, delivery: &TestDelivery) {
        self.delivers(from, delivery, Verdict::Accepted);
    }

    /// Asserts that a genuine delivery from an address outside `source` is quarantined, since its token is valid.
    #[track_caller]
    pub(crate) fn quarantines(&self, from: &Connector) {
        self.delivers(from, &self.genuine(), Verdict::Quarantined);
    }

    /// Asserts that a delivery gets 200 and reaches the service with this verdict.
    #[track_caller]
    pub(crate) fn delivers(
        &self,
        from: &Connector,
        delivery: &TestDelivery,
        verdict: Verdict,
    ) -> ServiceRequest {
        let answer = from.open().send(delivery);
        assert_eq!((answer.status, answer.reason()), (200, None), "{answer:?}\n{}", self.envoy.log());
        let arrival = self.service.take_one();
        assert_eq!(arrival.header(header::VERDICT).as_deref(), Some(verdict.name()), "{arrival:?}");
        assert_eq!((&arrival.path, &arrival.body), (&self.service_path, &delivery.body()));
        let token = self.path.rsplit('/').next().unwrap();
        let leaks =
            arrival.headers.iter().filter(|(_, value)| String::from_utf8_lossy(value).contains(token));
        assert_eq!(leaks.collect::<Vec<_>>(), Vec::<&(String, Vec<u8>)>::new(), "a header has the token");
        arrival
    }

    /// Asserts that this delivery is refused. The next [`Self::accepts`] shows that the service has not got it.
    #[track_caller]
    pub(crate) fn refuses(&self, from: &Connector, delivery: &TestDelivery, reason: &str) {
        from.open().send(delivery).assert_refused(403, reason);
    }

    /// Asserts that nothing has reached the service since the last [`Self::accepts`]. Envoy counts a request before it sends it.
    #[track_caller]
    pub(crate) fn got_nothing(&self) {
        assert_eq!(self.service.take().len(), 0);
        let sent = |name: &str| self.envoy.stats(&format!(r"^cluster\.{name}\.upstream_rq_total$"));
        let services = ["video_service", "failure_service", "quarantine_service"];
        let sent: u64 = services.iter().flat_map(|name| sent(name).into_values()).sum();
        assert_eq!(sent, u64::try_from(self.service.heads()).unwrap());
    }

    /// Asserts that Envoy closes the connection without a response.
    #[track_caller]
    pub(crate) fn closes(&self, from: &Connector, delivery: &TestDelivery) {
        let sent = from.try_open().and_then(|mut client| client.try_send(delivery));
        assert!(sent.is_err(), "{sent:?}");
    }
}
