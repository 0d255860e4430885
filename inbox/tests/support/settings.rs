//! The settings of an inbox under test. A test changes those that it is about.

use blobgate_inbox::store::Place;
use blobgate_inbox::{Reconcile, Settings};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::net::TcpListener;

/// Listens on free ports, and delivers to a closed port.
pub(crate) async fn settings(store: Place) -> Settings {
    let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    Settings {
        store,
        receive: listen().await,
        admin: listen().await,
        metrics: None,
        access_log: None,
        deliver_to: "http://127.0.0.1:9".parse().unwrap(),
        sign: None,
        verify: None,
        admin_tokens: Vec::new(),
        timeout: Duration::from_secs(5),
        concurrency: 8,
        drain: NonZeroU32::new(100).unwrap(),
        limit: 100_000_000,
        batch: 512,
        reconcile: Reconcile {
            provider: None,
            after: Duration::from_secs(780),
            per_minute: 10,
            again: Duration::from_secs(60),
        },
        docs: "https://docs.example".to_owned(),
        notify: None,
    }
}
