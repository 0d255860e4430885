//! docs/howto/load-balancers.md.

use crate::page_edge::PageEdge;
use crate::page_file::{LISTED, LISTED_V6, PageAddresses, PageFile};
use blobgate_testkit::book::block;
use blobgate_testkit::{
    Connector, ForwardedHeaders, H1, H2, HttpBalancer, NetworkBalancer, NginxProcess, TestDelivery, Version,
    balancer, free_port, needs, on_every_envoy, tls,
};
use serde_json::json;
use std::net::{Ipv4Addr, Ipv6Addr};

const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const UNLISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);
/// A client that knows Envoy's own address.
const PAST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// The changes for an HTTP balancer.
fn http(addresses: PageAddresses) -> PageFile {
    encrypted(addresses).without_tls()
}

/// The same for a balancer that speaks HTTPS to Envoy.
fn encrypted(addresses: PageAddresses) -> PageFile {
    PageFile::production(addresses)
        .manager_block(&block("balancer-manager"))
        .filters_block(&block("peer-filter"))
        .hook_block(&block("hook/behind-proxy"))
}

fn azure(addresses: PageAddresses) -> PageFile {
    http(addresses).early_block(&block("balancer-ports"))
}

fn google(addresses: PageAddresses) -> PageFile {
    http(addresses).manager(|manager| {
        manager["xff_num_trusted_hops"] = json!(2);
        manager["common_http_protocol_options"]["idle_timeout"] = json!("620s");
    })
}

fn tcp(addresses: PageAddresses) -> PageFile {
    PageFile::production(addresses).listener_block(&block("balancer-tcp"))
}

fn tcp_with_tls(addresses: PageAddresses) -> PageFile {
    http(addresses)
        .listener_block(&block("balancer-tcp-listener"))
        .early_block(&block("balancer-tcp-headers"))
}

/// Every header by which a client may claim an allowed address and TLS.
fn claims(delivery: TestDelivery) -> TestDelivery {
    delivery
        .header("x-forwarded-for", LISTED)
        .header("x-forwarded-proto", "https")
        .header("x-real-ip", LISTED)
        .header("forwarded", format!("for={LISTED};proto=https"))
        .header("x-envoy-external-address", LISTED)
}

impl PageEdge {
    #[track_caller]
    fn judges_behind(&self, https: u16, http: u16) {
        let allowed = |protocol| Connector::tls(https, protocol).from(ALLOWED);
        let unlisted = |protocol| Connector::tls(https, protocol).from(UNLISTED);
        self.accepts(&allowed(H1));
        self.refuses(&unlisted(H1), &self.forged(), "source-denied");
        self.refuses(&unlisted(H1), &claims(self.forged()), "source-denied");
        let repeated = claims(claims(self.forged()));
        self.refuses(&unlisted(H1), &repeated, "source-denied");
        self.quarantines(&unlisted(H1));
        let plain = Connector::plaintext(http, H1).from(ALLOWED);
        self.refuses(&plain, &self.genuine(), "https-required");
        self.refuses(&plain, &claims(self.genuine()), "https-required");
        for protocol in [H1, H2] {
            let past = Connector::plaintext(self.envoy.port("edge"), protocol).from(PAST);
            self.refuses(&past, &claims(self.genuine()), "https-required");
            self.refuses(&past, &self.genuine(), "https-required");
        }
        let claimed = self.genuine().header("x-forwarded-for", "198.51.100.1, 10.0.0.1");
        self.accepts_this(&allowed(H1), &claimed);
    }
}

#[test]
fn edited_files_pass_the_check() {
    PageFile::production(PageAddresses::OfPage).passes_check();
    for edited in [http, encrypted, azure, google, tcp, tcp_with_tls] {
        edited(PageAddresses::OfPage).passes_check();
    }
}

#[test]
fn works_behind_each_http_balancer() {
    on_every_envoy(|version| {
        for (file, headers) in [
            (http(PageAddresses::OfTest), ForwardedHeaders::Alb),
            (azure(PageAddresses::OfTest), ForwardedHeaders::AlbWithPort),
            (azure(PageAddresses::OfTest), ForwardedHeaders::ApplicationGateway),
            (google(PageAddresses::OfTest), ForwardedHeaders::Google),
        ] {
            let edge = PageEdge::start(version, &file);
            let to = edge.envoy.port("edge");
            let balancer = HttpBalancer::start(headers, to);
            edge.judges_behind(balancer.https, balancer.http);
            edge.accepts(&Connector::tls(balancer.https, H2).from(ALLOWED));
            let listed = HttpBalancer::seeing(LISTED_V6.parse().unwrap(), headers, to);
            let unlisted = HttpBalancer::seeing(Ipv6Addr::LOCALHOST.into(), headers, to);
            edge.refuses(&Connector::tls(unlisted.https, H1), &claims(edge.forged()), "source-denied");
            edge.accepts(&Connector::tls(listed.https, H1));
        }
    });
}

/// Each form of the header that the extension may get.
#[test]
fn reads_the_last_address_with_and_without_a_port() {
    const LISTED_FORMS: [&str; 8] = [
        "127.0.0.9",
        "127.0.0.9:4711",
        "198.51.100.1:80, 127.0.0.9:4711",
        "198.51.100.1:80,127.0.0.9:4711",
        "[2001:db8:17::9]:4711",
        "[2001:db8:17::9]",
        "2001:db8:17::9",
        "198.51.100.1, [2001:db8:17::9]:4711",
    ];
    const OTHER_FORMS: [&str; 9] = [
        "127.0.0.9:4711, 198.51.100.1:80",
        "127.0.0.9, 198.51.100.1",
        "127.0.0.9:4711, unknown",
        "127.0.0.9:4711:4711",
        "127.0.0.9:",
        "127.0.0.9,",
        "[2001:db8:17::9",
        "[2001:db8:17::9%eth0]:80",
        "for=127.0.0.9",
    ];
    on_every_envoy(|version| {
        let edge = PageEdge::start(version, &azure(PageAddresses::OfTest));
        let peer = Connector::plaintext(edge.envoy.port("edge"), H1);
        let with = |delivery: TestDelivery, addresses: &str| {
            delivery.header("x-forwarded-proto", "https").header("x-forwarded-for", addresses)
        };
        for form in LISTED_FORMS {
            edge.accepts_this(&peer, &with(edge.genuine(), form));
        }
        for form in OTHER_FORMS {
            edge.refuses(&peer, &with(edge.forged(), form), "source-denied");
        }
        edge.refuses(&peer, &edge.forged().header("x-forwarded-proto", "https"), "source-denied");
        edge.accepts_this(&peer, &with(edge.genuine(), LISTED));
    });
}

#[test]
fn each_mistake_behind_an_http_balancer_ends_as_the_page_says() {
    let refused = |version: &Version, file: PageFile, headers: ForwardedHeaders, reason: &str| {
        let edge = PageEdge::start(version, &file);
        let balancer = HttpBalancer::start(headers, edge.envoy.port("edge"));
        edge.refuses(&Connector::tls(balancer.https, H1).from(ALLOWED), &edge.forged(), reason);
    };
    let test = PageAddresses::OfTest;
    let unset_peer =
        || http(test).manager(|manager| drop(manager["http_filters"].as_array_mut().unwrap().remove(0)));
    let late_peer =
        || http(test).manager(|manager| manager["http_filters"].as_array_mut().unwrap().swap(0, 1));
    let without_hops = || http(test).manager(|manager| manager["xff_num_trusted_hops"] = json!(0));
    let tls_here = || http(test).hook(|hook| hook["transport"] = json!("tls_here"));
    for (file, rule) in [
        (unset_peer(), "peer-filter"),
        (late_peer(), "peer-filter"),
        (without_hops(), "trusted-hops"),
        (tls_here(), "tls-missing"),
    ] {
        let findings = file.findings();
        assert!(
            findings.iter().any(|found| found.starts_with(&format!("\"error\" \"{rule}\""))),
            "{findings:?}"
        );
    }
    on_every_envoy(|version| {
        for file in [unset_peer(), late_peer(), without_hops(), tls_here()] {
            refused(version, file, ForwardedHeaders::Alb, "https-required");
        }
        refused(version, http(test), ForwardedHeaders::ApplicationGateway, "source-denied");
        // One hop too many: the client names the address.
        let edge = PageEdge::start(
            version,
            &http(test).manager(|manager| manager["xff_num_trusted_hops"] = json!(2)),
        );
        let balancer = HttpBalancer::start(ForwardedHeaders::Alb, edge.envoy.port("edge"));
        edge.accepts_this(&Connector::tls(balancer.https, H1).from(UNLISTED), &claims(edge.genuine()));
    });
}

/// The page's server with the ports of a test.
fn nginx_lines(https: u16, http: u16, envoy: u16, scheme: &str) -> String {
    [
        ("listen 443 ssl", format!("listen 127.0.0.1:{https} ssl")),
        ("listen 80", format!("listen 127.0.0.1:{http}")),
        ("http://127.0.0.1:8443", format!("{scheme}://127.0.0.1:{envoy}")),
    ]
    .iter()
    .fold(block("nginx"), |text, (there, here)| {
        assert_eq!(text.matches(there).count(), 1, "the block has {there} once");
        text.replace(there, here)
    })
}

#[needs(Nginx)]
#[test]
fn works_behind_nginx() {
    let without = |lines: &str, cut: &str| {
        assert!(lines.contains(cut), "the block has {cut}");
        lines.lines().filter(|line| !line.contains(cut)).map(|line| format!("{line}\n")).collect::<String>()
    };
    on_every_envoy(|version| {
        let edge = PageEdge::start(version, &http(PageAddresses::OfTest));
        let (https, http) = (free_port(), free_port());
        let lines = nginx_lines(https, http, edge.envoy.port("edge"), "http");
        let allowed = Connector::tls(https, H1).from(ALLOWED);
        let unlisted = Connector::tls(https, H1).from(UNLISTED);
        let nginx = NginxProcess::start(&lines, https);
        edge.judges_behind(https, http);
        edge.accepts_this(&allowed, &edge.genuine().undeclared().pieces_of(7));
        drop(nginx);
        // nginx's own default, HTTP/1.0.
        let old = without(&without(&lines, "proxy_http_version"), "Connection \"\"");
        let nginx = NginxProcess::start(&old, https);
        edge.judges_behind(https, http);
        drop(nginx);
        let nginx = NginxProcess::start(&without(&lines, "X-Forwarded-Proto"), https);
        edge.refuses(&allowed, &edge.genuine(), "https-required");
        drop(nginx);
        let _nginx = NginxProcess::start(&without(&lines, "X-Forwarded-For"), https);
        edge.accepts_this(&unlisted, &claims(edge.genuine()));
    });
}

#[needs(Nginx)]
#[test]
fn nginx_may_speak_https_to_envoy() {
    on_every_envoy(|version| {
        let edge = PageEdge::start(version, &encrypted(PageAddresses::OfTest));
        let (https, http) = (free_port(), free_port());
        let _nginx = NginxProcess::start(&nginx_lines(https, http, edge.envoy.port("edge"), "https"), https);
        edge.accepts(&Connector::tls(https, H1).from(ALLOWED));
        let unlisted = Connector::tls(https, H1).from(UNLISTED);
        edge.refuses(&unlisted, &claims(edge.forged()), "source-denied");
        let plain = Connector::plaintext(http, H1).from(ALLOWED);
        edge.refuses(&plain, &claims(edge.genuine()), "https-required");
        let past = Connector::tls(edge.envoy.port("edge"), H2).from(PAST);
        edge.refuses(&past, &claims(edge.genuine()), "https-required");
        edge.accepts(&Connector::tls(https, H1).from(ALLOWED));
    });
}

/// Neither log of nginx gets the token, also while Envoy is away. With more of the error log it would.
#[needs(Nginx)]
#[test]
fn logs_of_nginx_have_no_token() {
    let token = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln";
    let closed = blobgate_testkit::closed_port();
    for (level, has_token) in [("crit", false), ("error", true)] {
        let (https, http) = (free_port(), free_port());
        let lines = nginx_lines(https, http, closed.address.port(), "http")
            .replace("log crit", &format!("log {level}"));
        let nginx = NginxProcess::start(&lines, https);
        let delivery = TestDelivery::completed().path(&format!("/webhook/{token}"));
        assert_eq!(Connector::tls(https, H1).open().send(&delivery).status, 502);
        let found = || nginx.logs().iter().any(|(_, text)| text.contains(token));
        if has_token {
            blobgate_testkit::eventually("token in the error log", || found().then_some(()));
        } else {
            assert!(nginx.logs().iter().any(|(name, _)| name == "error.log"), "nginx has opened the log");
            assert!(!found());
        }
    }
}

#[test]
fn works_behind_a_tcp_balancer() {
    on_every_envoy(|version| {
        let edge = PageEdge::start(version, &tcp(PageAddresses::OfTest));
        let to = edge.envoy.port("edge");
        let balancer = NetworkBalancer::start(to, None);
        for protocol in [H1, H2] {
            edge.accepts(&Connector::tls(balancer.port, protocol).from(ALLOWED));
            let unlisted = Connector::tls(balancer.port, protocol).from(UNLISTED);
            edge.refuses(&unlisted, &edge.forged(), "source-denied");
            edge.refuses(&unlisted, &claims(edge.forged()), "source-denied");
            let plain = Connector::plaintext(balancer.port, protocol).from(ALLOWED);
            edge.closes(&plain, &claims(edge.genuine()));
            edge.closes(&Connector::tls(to, protocol).from(PAST), &edge.genuine());
        }
        let listed = NetworkBalancer::seeing(LISTED_V6.parse().unwrap(), to, None);
        edge.accepts(&Connector::tls(listed.port, H1));
        // Past the balancer, with a head as the balancer writes it.
        let forging = |to: u16, from: Ipv4Addr| Connector::tls(to, H1).from(from).head(forged_head());
        let before = edge.unmatched();
        edge.closes(&forging(to, PAST), &edge.genuine());
        assert!(edge.unmatched() > before, "no_filter_chain_match counts it");
        edge.accepts(&forging(to, Ipv4Addr::LOCALHOST));
        let open = tcp(PageAddresses::OfTest).listener(|listener| {
            let chain = listener["filter_chains"][0].as_object_mut().unwrap();
            chain.remove("filter_chain_match").expect("the match");
        });
        let findings = open.findings();
        assert!(findings.iter().any(|found| found.contains("proxy-protocol")), "{findings:?}");
        let edge = PageEdge::start(version, &open);
        let to = edge.envoy.port("edge");
        edge.accepts(&forging(to, PAST));
        edge.closes(&Connector::tls(to, H1), &edge.genuine());
    });
}

/// A head that names an allowed address.
fn forged_head() -> Vec<u8> {
    balancer::proxy_head((ALLOWED, 4711).into())
}

impl PageEdge {
    fn unmatched(&self) -> u64 {
        self.envoy.stats(r"^listener\..*no_filter_chain_match$").values().sum()
    }
}

#[test]
fn works_behind_a_tcp_balancer_that_ends_tls() {
    on_every_envoy(|version| {
        let edge = PageEdge::start(version, &tcp_with_tls(PageAddresses::OfTest));
        let to = edge.envoy.port("edge");
        let balancer = NetworkBalancer::start(to, Some(&tls::FIRST));
        for protocol in [H1, H2] {
            edge.accepts(&Connector::tls(balancer.port, protocol).from(ALLOWED));
            let unlisted = Connector::tls(balancer.port, protocol).from(UNLISTED);
            edge.refuses(&unlisted, &edge.forged(), "source-denied");
            edge.refuses(&unlisted, &claims(edge.forged()), "source-denied");
            edge.closes(&Connector::plaintext(to, protocol).from(PAST), &claims(edge.genuine()));
        }
        let listed = NetworkBalancer::seeing(LISTED_V6.parse().unwrap(), to, Some(&tls::FIRST));
        edge.accepts(&Connector::tls(listed.port, H1));
        let forging = |from: Ipv4Addr| Connector::plaintext(to, H1).from(from).head(forged_head());
        edge.refuses(&forging(PAST), &edge.genuine(), "https-required");
        edge.refuses(&forging(PAST), &claims(edge.genuine()), "https-required");
        edge.accepts(&forging(Ipv4Addr::LOCALHOST));
    });
}
