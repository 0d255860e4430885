//! A route: what is limited, paused and probed as one, for behind it is one service.

use super::Pace;
use super::attempt::Outcome;
use governor::{DefaultDirectRateLimiter, Quota};
use std::time::Duration;
use tokio::time::Instant;

/// So many deliveries in a row, of more than one event, that no service answered: then it is down.
const DOWN_AFTER: u32 = 5;
/// A service that is down is asked again after a second, and then twice as late each time.
const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Route {
    pace: Pace,
    in_flight: usize,
    pub(super) paused: bool,
    health: Health,
}

#[derive(Debug)]
enum Health {
    Up {
        failures: u32,
        last: Option<i64>,
        of_many: bool,
    },
    /// One delivery at a time finds out: this one, or the next at that time.
    Down {
        probe: Option<i64>,
        probe_at: Instant,
        pause: Duration,
    },
    /// What has waited goes out at a bounded rate.
    Recovering {
        limiter: DefaultDirectRateLimiter,
    },
}

impl Route {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, in_flight: 0, paused: false, health: Health::up() }
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.health, Health::Down { .. })
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many more may start now.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        if self.paused {
            return 0;
        }
        let free = self.pace.concurrency.saturating_sub(self.in_flight);
        match &mut self.health {
            Health::Up { .. } => free,
            Health::Down { probe: None, probe_at, .. } if now >= *probe_at => 1,
            Health::Down { .. } => 0,
            Health::Recovering { limiter } => (0..free).take_while(|_| limiter.check().is_ok()).count(),
        }
    }

    /// These have started, of the `room` that there was.
    pub(super) fn claimed(&mut self, ids: &[i64], room: usize) {
        self.in_flight = self.in_flight.saturating_add(ids.len());
        match &mut self.health {
            // Nothing that has waited is left.
            Health::Recovering { .. } if ids.len() < room => self.health = Health::up(),
            Health::Down { probe, .. } => *probe = ids.first().copied(),
            _ => {}
        }
    }

    /// The delivery of this entry is over, however it ended.
    pub(super) fn let_go(&mut self, id: i64) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Health::Down { probe, .. } = &mut self.health
            && *probe == Some(id)
        {
            *probe = None;
        }
    }

    /// Learns from how an attempt at entry `id` ended. Returns what the route has become, where that is news.
    pub(super) fn note(&mut self, id: i64, outcome: &Outcome, now: Instant) -> Option<&'static str> {
        if matches!(outcome, Outcome::LeaseLost) {
            return None; // says nothing of the service
        }
        match (&mut self.health, outcome.is_down()) {
            (Health::Up { failures, last, of_many }, true) => {
                *failures = failures.saturating_add(1);
                *of_many |= last.is_some_and(|last| last != id);
                *last = Some(id);
                if *failures < DOWN_AFTER || !*of_many {
                    return None;
                }
                self.health = Health::down(now);
                Some("down")
            }
            (health @ Health::Up { .. }, false) => {
                *health = Health::up();
                None
            }
            (Health::Down { probe, probe_at, pause }, true) => {
                // What was under way when it went down says nothing new.
                if *probe == Some(id) {
                    *probe = None;
                    *pause = pause.saturating_mul(2).min(LAST_PROBE);
                    *probe_at = super::later(now, *pause);
                }
                None
            }
            (Health::Recovering { .. }, true) => {
                self.health = Health::down(now);
                Some("down again")
            }
            (Health::Down { .. }, false) => {
                let limiter = DefaultDirectRateLimiter::direct(Quota::per_second(self.pace.drain));
                self.health = Health::Recovering { limiter };
                Some("up again")
            }
            (Health::Recovering { .. }, false) => None,
        }
    }
}

impl Health {
    fn down(now: Instant) -> Self {
        Health::Down { probe: None, probe_at: super::later(now, FIRST_PROBE), pause: FIRST_PROBE }
    }

    fn up() -> Self {
        Health::Up { failures: 0, last: None, of_many: false }
    }
}

/// A pause, as an operator set it: of a hook, an event, or both; empty is any.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Pause {
    pub(crate) hook: String,
    pub(crate) event: String,
}

impl Pause {
    /// Whether it holds a route, `HOOK/EVENT` or `HOOK/observed/EVENT`.
    pub(crate) fn holds(&self, route: &str) -> bool {
        let (hook, rest) = route.split_once('/').unwrap_or((route, ""));
        let event = rest.rsplit('/').next().unwrap_or(rest);
        (self.hook.is_empty() || self.hook == hook) && (self.event.is_empty() || self.event == event)
    }
}

#[cfg(test)]
mod tests;
