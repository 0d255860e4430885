//! Whether the ports are free, before anything starts.

use super::Error;
use listeners::Protocol;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

/// Fails at the first one that is taken.
///
/// By listening there: two Envoys can share a port (`SO_REUSEPORT`), and a port can be taken on all addresses.
pub(super) fn check(addresses: &[SocketAddr]) -> Result<(), Error> {
    for address in addresses.iter().copied() {
        match TcpListener::bind(address) {
            Ok(_free) => (),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                return Err(Error::PortTaken { address, owner: owner(address.port()) });
            }
            Err(why) => return Err(Error::NoPort { address, why }),
        }
    }
    Ok(())
}

/// Another user's program has no name here.
fn owner(port: u16) -> String {
    listeners::get_process_by_port(port, Protocol::TCP)
        .map(|process| format!(" by {}, pid {}", process.name, process.pid))
        .unwrap_or_default()
}
