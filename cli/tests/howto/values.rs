//! Values of a hook: docs/howto/allowlist.md and docs/howto/observe-then-enforce.md.

use crate::page_edge::PageEdge;
use crate::page_file::{PageAddresses, PageFile};
use blobgate::contract::{Verdict, header};
use blobgate_testkit::book::block;
use blobgate_testkit::{Connector, H1, H2, on_every_envoy};

#[test]
fn an_observed_allowlist_accepts_and_reports() {
    let file = PageFile::production(PageAddresses::OfTest).hook_block(&block("hook/allowlist-observed"));
    file.passes_check();
    on_every_envoy(|version| {
        let edge = PageEdge::start(version, &file);
        for protocol in [H1, H2] {
            let unlisted = Connector::tls(edge.envoy.port("edge"), protocol);
            let arrival = edge.delivers(&unlisted, &edge.genuine(), Verdict::Accepted);
            assert_eq!(arrival.header(header::OBSERVED).as_deref(), Some("source-denied"));
        }
        // The page's step 4.
        let edge = PageEdge::start(
            version,
            &file.clone().hook(|hook| {
                hook.as_object_mut().unwrap().remove("checks").expect("the line");
            }),
        );
        let unlisted = Connector::tls(edge.envoy.port("edge"), H1);
        edge.refuses(&unlisted, &edge.forged(), "source-denied");
        edge.quarantines(&unlisted);
    });
}

#[test]
fn an_observing_hook_forwards_everything_with_its_reason() {
    let file = PageFile::production(PageAddresses::OfTest).hook_block(&block("hook/observed"));
    file.passes_check();
    on_every_envoy(|version| {
        let edge = PageEdge::start(version, &file);
        let unlisted = Connector::tls(edge.envoy.port("edge"), H1);
        let arrival = edge.delivers(&unlisted, &edge.forged(), Verdict::Observed);
        assert_eq!(arrival.header(header::REASON).as_deref(), Some("source-denied"));
        let unknown = unlisted.open().send(&edge.forged().path("/webhook/a/b"));
        assert_eq!((unknown.status, unknown.reason().as_deref()), (404, Some("unknown-hook")));
        edge.got_nothing();
    });
}
