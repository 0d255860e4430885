//! The clients of the admin listener, and what each may do.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccessRole {
    /// Read metrics, entries and counts.
    Read,
    /// Announce generations, and nothing else.
    Expect,
    /// Everything.
    Operate,
}

impl AccessRole {
    /// Whether a client with this role may do what needs the other one.
    pub(crate) const fn permits(self, needed: Self) -> bool {
        matches!((self, needed), (Self::Operate, _) | (Self::Read, Self::Read) | (Self::Expect, Self::Expect))
    }
}

/// The client of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of its token; nothing without sign-in.
    name: Option<Arc<str>>,
    role: AccessRole,
}

impl Caller {
    /// A client on this machine, where the listener has no tokens.
    pub(crate) const fn unnamed() -> Self {
        Self { name: None, role: AccessRole::Operate }
    }

    pub(crate) const fn named(name: Arc<str>, role: AccessRole) -> Self {
        Self { name: Some(name), role }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) const fn may(&self, needed: AccessRole) -> bool {
        self.role.permits(needed)
    }
}
