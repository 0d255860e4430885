//! The inbox behind the gate: stores an event before its sender gets 200, and brings it to its service.
//!
//! `arrival` is what the gate hands over. `decide` says what becomes of it, in the transaction that inserts it ([`store`]),
//! for many at once (`commit`). `deliver` brings it to Envoy's service routes, and
//! `reconcile` asks for what never came. [`serve()`] runs it all.

pub mod admin;
mod arrival;
#[cfg(feature = "failpoints")]
mod breakages;
mod clocks;
mod commit;
mod decide;
mod deliver;
mod entry;
mod failpoint;
mod health;
mod key;
mod listen;
mod log_limit;
mod marks;
mod metrics;
mod purge;
mod receive;
mod reconcile;
mod rejudge;
mod release;
mod serve;
mod space;
pub mod store;
mod violation;
mod watch;

pub use key::{Keys, NotAKey};
pub use reconcile::Reconcile;
pub use serve::{Ended, Settings, serve};
