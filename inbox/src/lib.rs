//! The inbox behind the gate: stores an event before its sender gets 200, and delivers it to its service.
//!
//! | module | does |
//! |---|---|
//! | `receive`, `arrival` | read a delivery that the gate forwards |
//! | `decide` | decides on an arrival, in the transaction that inserts it |
//! | `commit` | stores many arrivals in one transaction |
//! | [`store`] | the contract of a store, with a driver each for SQLite and PostgreSQL |
//! | `deliver` | sends entries to Envoy's service routes |
//! | `reconcile` | fetches results whose webhook never came |
//! | `incidents`, `notify` | tell a person by a signed call |
//! | `retention`, `space` | delete old bodies, and limit the space |
//! | [`service`] | the operator's actions; `admin` puts them on HTTP, and `page` in front of people |
//! | [`envoy_yaml`], [`yaml`] | read the gate's configuration; the tool checks files with them |
//! | `access_log`, `refusal_rings`, `traffic` | the refusals of the gates, and deliveries by minute |
//! | `access` | the clients of the admin listener, and what each may do |
//!
//! [`serve()`] runs all of them.

mod access;
mod access_log;
mod admin;
mod arrival;
mod attempt_headers;
#[cfg(feature = "failpoints")]
mod breakages;
mod client;
mod clocks;
mod commit;
mod deadline;
mod decide;
mod deliver;
mod entry;
pub mod envoy_yaml;
mod failpoint;
mod handles;
mod health;
mod incidents;
mod key;
mod line_limit;
mod listen;
mod metrics;
mod notify;
mod page;
mod receive;
mod reconcile;
mod reevaluate;
#[cfg(test)]
mod reference;
mod refusal_rings;
mod refusals;
mod release;
mod request_ids;
mod retention;
mod serve;
pub mod service;
mod signatures;
mod space;
pub mod store;
mod traffic;
mod wake;
mod watch;
pub mod yaml;

pub use access::{AccessRole, AccessToken, InvalidAccessToken, check_tokens};
pub use key::{InvalidKey, WebhookKeys};
pub use listen::{MAX_HEAD, MAX_HEADERS};
pub use notify::{
    InvalidNotificationUrl, NotificationError, NotificationPace, NotificationUrl, Notifications,
};
pub use reconcile::Reconcile;
pub use serve::{ServeError, Settings, serve};
