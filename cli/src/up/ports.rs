//! Checks that all ports are free, before a part starts.

use super::Error;
use listeners::Protocol;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

/// Fails at the first taken port.
///
/// It listens on each: two Envoys could share a port (`SO_REUSEPORT`), and another program may have it on all addresses.
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

/// Empty for the program of another user.
fn owner(port: u16) -> String {
    listeners::get_process_by_port(port, Protocol::TCP)
        .map(|process| format!(" by {}, pid {}", process.name, process.pid))
        .unwrap_or_default()
}
