//! The inbox behind the gate: stores an event before its sender gets 200, and delivers it to its service.
//!
//! `arrival` is a delivery that the gate forwards. `decide` decides on it, in the transaction that inserts it ([`store`]),
//! for many at once (`commit`). `deliver` sends it to Envoy's service routes. `reconcile` fetches results whose webhook never
//! came. [`service`] has the actions of an operator, and `admin` puts them on HTTP. [`serve()`] runs it all.

mod admin;
mod arrival;
#[cfg(feature = "failpoints")]
mod breakages;
mod client;
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
mod reevaluate;
mod release;
mod serve;
pub mod service;
mod shared;
mod space;
pub mod store;
mod violation;
mod wake;
mod watch;

pub use key::{Keys, NotAKey};
pub use reconcile::Reconcile;
pub use serve::{Ended, Settings, serve};
