//! Checks that all ports are free, before a part starts.

use super::Error;
use super::plan::PlannedListener;
use listeners::Protocol;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// After `kill -9` of this program, its parts end a moment later.
const GRACE: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Fails at the first address that stays taken.
///
/// It listens on each: two Envoys could share a port (`SO_REUSEPORT`), and another program may have it on all addresses.
pub(super) async fn check(listeners: &[PlannedListener]) -> Result<(), Error> {
    let start = Instant::now();
    for listener in listeners {
        let PlannedListener { address, .. } = *listener;
        loop {
            match TcpListener::bind(address) {
                Ok(_free) => break,
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    if start.elapsed() > GRACE {
                        let (owner, remedy) = (owner(address.port()), listener.taken.clone());
                        return Err(Error::PortTaken { address, owner, remedy });
                    }
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err(why) => return Err(Error::NoPort { address, why, remedy: listener.unusable.clone() }),
            }
        }
    }
    Ok(())
}

/// Empty for the program of another user.
fn owner(port: u16) -> String {
    listeners::get_process_by_port(port, Protocol::TCP)
        .map(|process| format!(" by {}, pid {}", process.name, process.pid))
        .unwrap_or_default()
}
