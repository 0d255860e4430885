//! Starts the parts, waits until they are ready, and acts on their ends.

use super::next::{End, NextStep, QuickEnds, RestartPace, next};
use super::part::{EndedPart, Part, Parts};
use super::plan::{Layout, Role, StartPlan};
use super::signals::{SignalRequest, Signals};
use super::{Error, ready};
use crate::output;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The starts to come, and the pace of each part's starts.
#[derive(Default)]
struct Restarts {
    due: Vec<(Role, Instant)>,
    paces: Vec<(Role, RestartPace)>,
}

/// Starts the parts. Returns once all are ready, or after a signal for the end.
pub(super) async fn start(
    plan: &StartPlan,
    parts: &mut Parts,
    signals: &mut Signals,
) -> Result<Started, Error> {
    for command in &plan.parts {
        parts.add(Part::start(command, plan)?);
    }
    let log = plan.log.place("*");
    let ready = ready::wait(&plan.probes, &log);
    tokio::pin!(ready);
    loop {
        tokio::select! {
            ready = &mut ready => return ready.map(|()| Started::Ready),
            request = signals.next() => match request {
                SignalRequest::End(why) => return Ok(Started::Ended(why)),
                SignalRequest::StartAgain => (),
            },
            (role, status) = parts.first_to_end() => return Err(ended(plan, parts, role, status).await),
            full = until_full(plan) => return Err(full.into()),
        }
    }
}

pub(super) enum Started {
    Ready,
    Ended(&'static str),
}

/// Returns the reason of a requested end.
pub(super) async fn run(
    plan: &StartPlan,
    parts: &mut Parts,
    signals: &mut Signals,
) -> Result<&'static str, Error> {
    let mut quick_ends = QuickEnds::default();
    let mut restarts = Restarts::default();
    loop {
        tokio::select! {
            request = signals.next() => match request {
                SignalRequest::End(why) => return Ok(why),
                SignalRequest::StartAgain => start_ended(plan, parts, &mut restarts)?,
            },
            full = until_full(plan) => return Err(full.into()),
            role = restarts.next_due() => start_later(role, plan, parts, &mut restarts),
            (role, status) = parts.first_to_end() => {
                // Only the inbox starts again at once.
                let EndedPart { ran, lines } = parts.remove(role).await;
                let quick_ends = if role == Role::Inbox { quick_ends.count(ran) } else { 0 };
                match next(plan.layout, role, End::of(status), quick_ends) {
                    NextStep::EndAll => {
                        let log = plan.log.place(&role.to_string());
                        return Err(Error::Ended { role, status, lines, log });
                    }
                    NextStep::Continue => report_end(plan, role, status),
                    NextStep::StartAgain => {
                        plan.log.report(format_args!("{role} has ended ({status}). Its store has all events."));
                        start_again(role, plan, parts)?;
                    }
                    NextStep::StartLater => {
                        let wait = restarts.add(role, ran);
                        plan.log.report(format_args!("{role} has ended ({status}). It starts again in {} s.", wait.as_secs_f32()));
                    }
                }
            }
        }
    }
}

impl Restarts {
    /// Plans the next start of a part that ran for some time. Returns the wait.
    fn add(&mut self, role: Role, ran: Duration) -> Duration {
        if !self.paces.iter().any(|(known, _)| *known == role) {
            self.paces.push((role, RestartPace::new()));
        }
        let pace = self.paces.iter_mut().find(|(known, _)| *known == role);
        let wait = pace.map_or(Duration::ZERO, |(_, pace)| pace.wait(ran));
        let now = Instant::now();
        self.due.push((role, now.checked_add(wait).unwrap_or(now)));
        wait
    }

    fn remove(&mut self, role: Role) {
        self.due.retain(|(due, _)| *due != role);
    }

    /// A dropped call loses nothing.
    async fn next_due(&self) -> Role {
        match self.due.iter().min_by_key(|(_, at)| *at) {
            Some((role, at)) => {
                sleep_until(*at).await;
                *role
            }
            None => std::future::pending().await,
        }
    }
}

/// Under `--dev`, a run ends with the reader of its output. A gate outlives the reader of its log.
async fn until_full(plan: &StartPlan) -> output::StdoutError {
    match plan.layout {
        Layout::Setup => std::future::pending().await,
        Layout::WithInbox | Layout::GateAlone => output::until_full().await,
    }
}

/// The error of a part that has ended before all parts were ready.
async fn ended(plan: &StartPlan, parts: &mut Parts, role: Role, status: ExitStatus) -> Error {
    let lines = parts.remove(role).await.lines;
    let log = plan.log.place(&role.to_string());
    match (plan.layout, super::reason::reason(role, &lines)) {
        (Layout::Setup, Some(why)) if role == Role::Gate => Error::EnvoyRefused(why),
        (Layout::Setup, Some(why)) => Error::PartRefused { role, why },
        _ => Error::Ended { role, status, lines, log },
    }
}

fn report_end(plan: &StartPlan, role: Role, status: ExitStatus) {
    let meanwhile = match role {
        Role::Inbox => "Providers get 503 and retry until it runs again.",
        _ => "Its events wait in the inbox.",
    };
    let pid = std::process::id();
    plan.log
        .report(format_args!("{role} has ended ({status}). {meanwhile} `kill -USR1 {pid}` starts it again."));
}

/// Starts all ended parts.
fn start_ended(plan: &StartPlan, parts: &mut Parts, restarts: &mut Restarts) -> Result<(), Error> {
    let ended: Vec<Role> = plan.parts.iter().map(|part| part.role).filter(|role| !parts.has(*role)).collect();
    if ended.is_empty() {
        plan.log.report(format_args!("all parts run."));
    }
    for role in ended {
        match plan.layout {
            Layout::Setup => start_later(role, plan, parts, restarts),
            Layout::WithInbox | Layout::GateAlone => start_again(role, plan, parts)?,
        }
    }
    Ok(())
}

fn start_again(role: Role, plan: &StartPlan, parts: &mut Parts) -> Result<(), Error> {
    let Some(command) = plan.part(role) else { return Ok(()) };
    parts.add(Part::start(command, plan)?);
    let pid = parts.pid(role).unwrap_or_default();
    plan.log.report(format_args!("{role} starts again (pid {pid})."));
    Ok(())
}

/// A start that fails is tried again, as an ended part is.
fn start_later(role: Role, plan: &StartPlan, parts: &mut Parts, restarts: &mut Restarts) {
    restarts.remove(role);
    if let Err(error) = start_again(role, plan, parts) {
        let wait = restarts.add(role, Duration::ZERO);
        plan.log.report(format_args!("{error}. The next try is in {} s.", wait.as_secs_f32()));
    }
}
