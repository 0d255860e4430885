//! Watches the services at the start. A service that does not answer stops nothing: its events wait in the inbox.

use crate::setup::{ServiceUrl, SetupServices};
use crate::up::log::PartLog;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(2);

/// Reports each service that takes no connection, and its first connection. Dropped, it ends.
pub(super) fn watch(services: &SetupServices, log: &PartLog) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (events, url) in by_url(services) {
        tasks.spawn(watch_one(events, url, log.clone()));
    }
    tasks
}

/// Each URL once, with the events of its service.
pub(super) fn by_url(services: &SetupServices) -> Vec<(String, ServiceUrl)> {
    let all = [
        ("completed", Some(&services.completed)),
        ("failed", Some(&services.failed)),
        ("quarantined", services.quarantined.as_ref()),
    ];
    let mut found: Vec<(String, ServiceUrl)> = Vec::new();
    for (event, url) in all {
        let Some(url) = url else { continue };
        match found.iter_mut().find(|(_, known)| known == url) {
            Some((events, _)) => events.push_str(&format!(" and {event}")),
            None => found.push((event.to_owned(), url.clone())),
        }
    }
    found
}

async fn watch_one(events: String, url: ServiceUrl, log: PartLog) {
    let Err(why) = connect(&url).await else { return };
    log.report(format_args!(
        "warning: the service for {events} events takes no connection at {url}: {why}. Its events wait in the inbox."
    ));
    while connect(&url).await.is_err() {
        sleep(INTERVAL).await;
    }
    log.report(format_args!("the service for {events} events takes connections at {url}."));
}

async fn connect(url: &ServiceUrl) -> Result<(), String> {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(url.authority())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(why)) if why.kind() == io::ErrorKind::ConnectionRefused => {
            Err("no program has the port".to_owned())
        }
        Ok(Err(why)) => Err(why.to_string()),
        Err(_) => Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}
