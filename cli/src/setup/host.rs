//! A host: a name or an IP address.

use std::fmt::{self, Display};
use std::net::IpAddr;

/// A host as the setup file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetupHost {
    /// In lower case.
    Name(String),
    Ip(IpAddr),
}

impl Display for SetupHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}
