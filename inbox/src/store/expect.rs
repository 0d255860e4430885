//! Expectations, and the calls of the status API. Both stores run the same statements, in short transactions. No transaction is open
//! during a call.
//!
//! A transaction that changes several expectations locks their generations first, or skips locked rows. This prevents deadlocks.

mod sql;

use super::id_list::list;
use super::row::Expectation;
use crate::entry::{ExpectationState, QuarantineReason};
use backon::{BackoffBuilder, ExponentialBuilder};
pub(super) use sql::{COLUMNS, NEWEST_HEAD};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error, FromRow, query, query_as, query_scalar};
use std::time::Duration;

/// The application's announcement that a generation belongs to a job.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    pub(crate) hook: String,
    /// A UUID in canonical form.
    pub(crate) generation: String,
    pub(crate) job: String,
}

/// The result of an announcement.
#[derive(Clone, Debug)]
pub(crate) enum AnnouncementOutcome {
    /// The store has the expectation, since now or before.
    Recorded { expectation: Expectation, is_new: bool },
    /// The generation is announced with another job.
    OtherJob(String),
}

/// A call of the status API. It is counted before it is made.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct StatusCall {
    pub(crate) hook: String,
    pub(crate) generation: String,
    pub(crate) job: Option<String>,
    /// The state of the expectation.
    pub(crate) state: ExpectationState,
    /// The number of earlier calls.
    pub(crate) asked: i64,
    /// The number of last calls in a row for which the provider knew no such generation.
    pub(crate) missing: i64,
    /// The time of the call, by the store's clock.
    #[sqlx(default)]
    pub(crate) asked_at: i64,
}

/// The rate of calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallBudget {
    pub(crate) per_minute: i64,
    /// The time between the first two calls about a generation, in microseconds. It doubles with each call.
    pub(crate) retry_after: i64,
}

/// The next call of the status API.
#[derive(Clone, Debug)]
pub(crate) enum NextCall {
    Call(StatusCall),
    /// No call is due.
    Idle,
    /// The calls of this minute are used up.
    Spent,
}

/// The result of a call.
#[derive(Clone, Debug)]
pub(crate) struct StatusAnswer {
    /// The answer in `inbox show` and `inbox reconcile`.
    pub(crate) answer: &'static str,
    pub(crate) missing: i64,
    /// The final state of the expectation. `None` if more calls follow.
    pub(crate) state: Option<ExpectationState>,
}

/// A minute and 6 s: a call reaches the provider up to 5 s after it is counted, so the provider never sees more calls in a minute
/// than allowed.
const CALL_WINDOW: i64 = 66 * 1_000_000;
/// The longest time between two calls about one generation: a day.
const MAX_RETRY_DELAY: i64 = 24 * 3_600 * 1_000_000;

/// The statements of expectations and calls.
pub(super) trait ExpectationStatements {
    async fn expect(
        &mut self,
        now: i64,
        announcement: &Announcement,
        after: i64,
    ) -> Result<AnnouncementOutcome, Error>;
    async fn explained(&mut self, announcement: &Announcement) -> Result<Vec<i64>, Error>;
    async fn unconfirmed(&mut self, limit: i64) -> Result<Vec<(String, String)>, Error>;
    async fn unconfirmed_of(&mut self, hook: &str, generation: &str) -> Result<Vec<i64>, Error>;
    async fn request_call(&mut self, now: i64, hook: &str, generation: &str) -> Result<(), Error>;
    async fn request_call_for(
        &mut self,
        now: i64,
        id: i64,
        hook: &str,
        generation: &str,
        headers: &[u8],
    ) -> Result<bool, Error>;
    async fn forget_reevaluation(&mut self, id: i64) -> Result<(), Error>;
    async fn next_call(&mut self, now: i64, budget: CallBudget) -> Result<NextCall, Error>;
    /// Counts a call in this minute. Returns false where the calls of this minute are used up.
    async fn count_call(&mut self, now: i64, budget: CallBudget) -> Result<bool, Error>;
    async fn take_call(&mut self, now: i64, budget: CallBudget) -> Result<bool, Error>;
    async fn calls_in_minute(&mut self, now: i64) -> Result<i64, Error>;
    async fn record_answer(
        &mut self,
        call: &StatusCall,
        answer: &StatusAnswer,
        about: &[i64],
    ) -> Result<(), Error>;
    async fn call_now(&mut self, now: i64, after: i64) -> Result<u64, Error>;
    async fn count_expected(&mut self, now: i64, after: i64) -> Result<(i64, i64), Error>;
    async fn purge_expectations(&mut self, now: i64, age: i64, limit: i64) -> Result<usize, Error>;
}

/// `$free` locks rows, and skips rows that another transaction has locked. `$alone` lets one inbox at a time choose and count a
/// call, and returns the time. A transaction of SQLite locks the whole file.
macro_rules! expectations {
    ($connection:ty, $free:literal, $alone:expr) => {
        impl ExpectationStatements for $connection {
            async fn expect(
                &mut self,
                now: i64,
                announcement: &Announcement,
                after: i64,
            ) -> Result<AnnouncementOutcome, Error> {
                let Announcement { hook, generation, job } = announcement;
                let (before, has_ended): (Option<String>, bool) =
                    query_as(sql::LOCK).bind(hook).bind(generation).bind(now).fetch_one(&mut *self).await?;
                let is_new = before.is_none();
                match before {
                    Some(before) if before != *job => return Ok(AnnouncementOutcome::OtherJob(before)),
                    Some(_) => {}
                    None => {
                        let state =
                            if has_ended { ExpectationState::Arrived } else { ExpectationState::Expected };
                        let mismatch: Option<i64> = query_scalar(sql::MISMATCH)
                            .bind(hook)
                            .bind(generation)
                            .bind(job)
                            .fetch_one(&mut *self)
                            .await?;
                        query(sql::EXPECT).bind(hook).bind(generation).bind(job).execute(&mut *self).await?;
                        query(sql::NOTE)
                            .bind(hook)
                            .bind(generation)
                            .bind(job)
                            .bind(state.name())
                            .bind(now)
                            .bind(now.saturating_add(after))
                            .bind(mismatch)
                            .execute(&mut *self)
                            .await?;
                    }
                }
                let sql = format!("{} WHERE x.hook = $1 AND x.generation = $2", sql::COLUMNS);
                let expectation =
                    query_as(AssertSqlSafe(sql)).bind(hook).bind(generation).fetch_one(&mut *self).await?;
                Ok(AnnouncementOutcome::Recorded { expectation, is_new })
            }

            async fn explained(&mut self, announcement: &Announcement) -> Result<Vec<i64>, Error> {
                let Announcement { hook, generation, job } = announcement;
                let [one, other] = QuarantineReason::EXPLAINED;
                query_scalar(sql::EXPLAINED_BY)
                    .bind(hook)
                    .bind(generation)
                    .bind(job)
                    .bind(one.known())
                    .bind(other.known())
                    .fetch_all(&mut *self)
                    .await
            }

            async fn unconfirmed(&mut self, limit: i64) -> Result<Vec<(String, String)>, Error> {
                query_as(sql::UNCONFIRMED).bind(limit).fetch_all(&mut *self).await
            }

            async fn unconfirmed_of(&mut self, hook: &str, generation: &str) -> Result<Vec<i64>, Error> {
                query_scalar(sql::UNCONFIRMED_OF).bind(hook).bind(generation).fetch_all(&mut *self).await
            }

            async fn request_call(&mut self, now: i64, hook: &str, generation: &str) -> Result<(), Error> {
                let sql = AssertSqlSafe(format!("{}{}", sql::WANT, sql::UNLESS_WANTED));
                query(sql).bind(hook).bind(generation).bind(now).execute(&mut *self).await.map(|_| ())
            }

            async fn request_call_for(
                &mut self,
                now: i64,
                id: i64,
                hook: &str,
                generation: &str,
                headers: &[u8],
            ) -> Result<bool, Error> {
                let named = query(sql::NAME_GENERATION).bind(id).bind(generation).execute(&mut *self).await?;
                if named.rows_affected() == 0 {
                    return Ok(false);
                }
                query(sql::WANT).bind(hook).bind(generation).bind(now).execute(&mut *self).await?;
                query(sql::STORE_REEVALUATION).bind(id).bind(headers).execute(&mut *self).await?;
                Ok(true)
            }

            async fn forget_reevaluation(&mut self, id: i64) -> Result<(), Error> {
                query(sql::FORGET_REEVALUATION).bind(id).execute(&mut *self).await.map(|_| ())
            }

            async fn next_call(&mut self, now: i64, budget: CallBudget) -> Result<NextCall, Error> {
                // Before the choice. Otherwise an inbox that finds the minute used up locks one of the oldest rows meanwhile, and
                // another inbox calls about the next one.
                let now = $alone(&mut *self, now).await?;
                let due: Option<StatusCall> =
                    query_as(lock_free(sql::DUE, $free)).bind(now).fetch_optional(&mut *self).await?;
                let Some(due) = due else { return Ok(NextCall::Idle) };
                if !self.count_call(now, budget).await? {
                    return Ok(NextCall::Spent);
                }
                query(sql::MARK_CALLED)
                    .bind(&due.hook)
                    .bind(&due.generation)
                    .bind(now)
                    .bind(now.saturating_add(delay(budget.retry_after, due.asked)))
                    .execute(&mut *self)
                    .await?;
                Ok(NextCall::Call(StatusCall { asked_at: now, ..due }))
            }

            async fn count_call(&mut self, now: i64, budget: CallBudget) -> Result<bool, Error> {
                query(sql::FORGET_CALLS)
                    .bind(now.saturating_sub(CALL_WINDOW))
                    .bind(now.saturating_add(CALL_WINDOW))
                    .execute(&mut *self)
                    .await?;
                let counted = query(sql::CALL).bind(now).bind(budget.per_minute).execute(&mut *self).await?;
                Ok(counted.rows_affected() > 0)
            }

            async fn take_call(&mut self, now: i64, budget: CallBudget) -> Result<bool, Error> {
                let now = $alone(&mut *self, now).await?;
                self.count_call(now, budget).await
            }

            async fn calls_in_minute(&mut self, now: i64) -> Result<i64, Error> {
                query_scalar(sql::CALLS)
                    .bind(now.saturating_sub(CALL_WINDOW))
                    .bind(now.saturating_add(CALL_WINDOW))
                    .fetch_one(&mut *self)
                    .await
            }

            async fn record_answer(
                &mut self,
                call: &StatusCall,
                answer: &StatusAnswer,
                about: &[i64],
            ) -> Result<(), Error> {
                query(sql::ANSWERED)
                    .bind(&call.hook)
                    .bind(&call.generation)
                    .bind(answer.answer)
                    .bind(answer.missing)
                    .bind(answer.state.map(ExpectationState::name))
                    .bind(call.state.name())
                    .bind(call.job.as_deref().unwrap_or_default())
                    .bind(call.asked_at)
                    .execute(&mut *self)
                    .await?;
                if answer.state.is_some() && !about.is_empty() {
                    let ids = list(about);
                    let [entries, payloads] = sql::LEAVE.map(|sql| AssertSqlSafe(sql.replace("{ids}", &ids)));
                    query(entries).persistent(false).execute(&mut *self).await?;
                    let payloads = query(payloads).bind(&call.hook).bind(&call.generation);
                    payloads.persistent(false).execute(&mut *self).await?;
                }
                Ok(())
            }

            async fn call_now(&mut self, now: i64, after: i64) -> Result<u64, Error> {
                let sql = sql::CALL_NOW.replace("{free}", $free);
                let due = query(AssertSqlSafe(sql)).bind(now).bind(now.saturating_sub(after));
                Ok(due.execute(&mut *self).await?.rows_affected())
            }

            async fn count_expected(&mut self, now: i64, after: i64) -> Result<(i64, i64), Error> {
                query_as(sql::COUNT).bind(now.saturating_sub(after)).fetch_one(&mut *self).await
            }

            async fn purge_expectations(&mut self, now: i64, age: i64, limit: i64) -> Result<usize, Error> {
                let before = now.saturating_sub(age);
                let old: Vec<(String, String)> =
                    query_as(sql::OLD).bind(before).bind(limit).fetch_all(&mut *self).await?;
                for (hook, generation) in &old {
                    for statement in sql::PURGE {
                        query(statement).bind(hook).bind(generation).bind(before).execute(&mut *self).await?;
                    }
                }
                Ok(old.len())
            }
        }
    };
}

expectations!(SqliteConnection, "", async |_: &mut SqliteConnection, now: i64| Ok::<_, Error>(now));
expectations!(PgConnection, " FOR UPDATE SKIP LOCKED", async |connection: &mut PgConnection, _: i64| {
    query("LOCK TABLE provider_call IN SHARE ROW EXCLUSIVE MODE").execute(&mut *connection).await?;
    query_scalar::<_, i64>("SELECT inbox_now()").fetch_one(&mut *connection).await
});

fn lock_free(statement: &str, free: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("{statement}{free}"))
}

/// The time until the next call about a generation with `asked` earlier calls.
fn delay(retry_after: i64, asked: i64) -> i64 {
    let micros = |micros: i64| Duration::from_micros(micros.unsigned_abs());
    let delays =
        ExponentialBuilder::new().with_min_delay(micros(retry_after)).with_max_delay(micros(MAX_RETRY_DELAY));
    // 64 doublings of a microsecond exceed a day.
    let asked = usize::try_from(asked).unwrap_or_default().min(64);
    let delay = delays.without_max_times().build().nth(asked).map(|delay| i64::try_from(delay.as_micros()));
    delay.and_then(Result::ok).map_or(MAX_RETRY_DELAY, |delay| delay.min(MAX_RETRY_DELAY))
}
