//! What is expected, and what the provider is asked: the same statements on either store, each transaction short. None is open
//! while somebody is asked.
//!
//! Who changes more than one expectation at a time holds the lock of their generations, or takes only what nobody holds: so
//! nobody waits in a circle.

mod sql;

use super::change::list;
use super::row::Expectation;
use crate::entry::{ExpectationState, QuarantineReason};
use backon::{BackoffBuilder, ExponentialBuilder};
pub(super) use sql::{COLUMNS, NEWEST_PAYLOAD};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error, FromRow, query, query_as, query_scalar};
use std::time::Duration;

/// What the application says: this generation is of this job.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) hook: String,
    /// In its canonical form.
    pub(crate) generation: String,
    pub(crate) job: String,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) enum Noted {
    /// It is so now, or was before.
    Is { expectation: Expectation, is_new: bool },
    /// It is expected of this job.
    OtherJob(String),
}

/// One call to the provider, which is counted already.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Question {
    pub(crate) hook: String,
    pub(crate) generation: String,
    pub(crate) job: Option<String>,
    /// Of its expectation.
    pub(crate) state: ExpectationState,
    /// How often it was asked before.
    pub(crate) asked: i64,
    /// How often in a row the provider knew of no such generation.
    pub(crate) missing: i64,
    /// When it is asked, by the store's clock.
    #[sqlx(default)]
    pub(crate) asked_at: i64,
}

/// How fast the provider is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    pub(crate) per_minute: i64,
    /// After the first call about a generation so long until the next, then twice as long each time; in microseconds.
    pub(crate) again: i64,
}

/// Whether there is anything to ask.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    Ask(Question),
    Nothing,
    /// This minute's calls are spent.
    Spent,
}

/// What a call has brought.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// In a word.
    pub(crate) answer: &'static str,
    pub(crate) missing: i64,
    /// What an expectation ends as, where nothing more is to be asked.
    pub(crate) state: Option<ExpectationState>,
}

/// A call reaches the provider up to 5 s after it is counted, when it is given up: so much later than a minute after the first
/// of a minute's calls the next may start, whichever of them was late.
const WINDOW: i64 = 66 * 1_000_000;
/// Between two calls about one generation, at most: a day.
const LONGEST: i64 = 24 * 3_600 * 1_000_000;

/// The statements, on a connection of either store.
pub(super) trait Expectations {
    async fn expect(&mut self, now: i64, expected: &Expected, after: i64) -> Result<Noted, Error>;
    async fn explained(&mut self, expected: &Expected) -> Result<Vec<i64>, Error>;
    async fn unconfirmed(&mut self, limit: i64) -> Result<Vec<(String, String)>, Error>;
    async fn unconfirmed_of(&mut self, hook: &str, generation: &str) -> Result<Vec<i64>, Error>;
    async fn want(&mut self, now: i64, hook: &str, generation: &str) -> Result<(), Error>;
    async fn want_for(
        &mut self,
        now: i64,
        id: i64,
        hook: &str,
        generation: &str,
        headers: &[u8],
    ) -> Result<bool, Error>;
    async fn forget_judgement(&mut self, id: i64) -> Result<(), Error>;
    async fn next_question(&mut self, now: i64, allowed: Allowed) -> Result<Next, Error>;
    async fn answered(
        &mut self,
        question: &Question,
        answered: &Answered,
        about: &[i64],
    ) -> Result<(), Error>;
    async fn ask_now(&mut self, now: i64, after: i64) -> Result<u64, Error>;
    async fn count_expected(&mut self, now: i64, after: i64) -> Result<(i64, i64), Error>;
    async fn purge_expectations(&mut self, now: i64, age: i64, limit: i64) -> Result<usize, Error>;
}

/// `$free` takes only rows that nobody holds, and holds them; `$alone` has calls chosen and counted by one at a time, and tells
/// the time then. SQLite's transactions hold everything.
macro_rules! expectations {
    ($connection:ty, $free:literal, $alone:expr) => {
        impl Expectations for $connection {
            async fn expect(&mut self, now: i64, expected: &Expected, after: i64) -> Result<Noted, Error> {
                let Expected { hook, generation, job } = expected;
                let (before, has_ended): (Option<String>, bool) =
                    query_as(sql::LOCK).bind(hook).bind(generation).bind(now).fetch_one(&mut *self).await?;
                let is_new = before.is_none();
                match before {
                    Some(before) if before != *job => return Ok(Noted::OtherJob(before)),
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
                Ok(Noted::Is { expectation, is_new })
            }

            async fn explained(&mut self, expected: &Expected) -> Result<Vec<i64>, Error> {
                let Expected { hook, generation, job } = expected;
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

            async fn want(&mut self, now: i64, hook: &str, generation: &str) -> Result<(), Error> {
                let sql = AssertSqlSafe(format!("{}{}", sql::WANT, sql::UNLESS_WANTED));
                query(sql).bind(hook).bind(generation).bind(now).execute(&mut *self).await.map(|_| ())
            }

            async fn want_for(
                &mut self,
                now: i64,
                id: i64,
                hook: &str,
                generation: &str,
                headers: &[u8],
            ) -> Result<bool, Error> {
                let kept = query(sql::NAME_GENERATION).bind(id).bind(generation).execute(&mut *self).await?;
                if kept.rows_affected() == 0 {
                    return Ok(false);
                }
                query(sql::WANT).bind(hook).bind(generation).bind(now).execute(&mut *self).await?;
                query(sql::JUDGED).bind(id).bind(headers).execute(&mut *self).await?;
                Ok(true)
            }

            async fn forget_judgement(&mut self, id: i64) -> Result<(), Error> {
                query(sql::FORGET_JUDGEMENT).bind(id).execute(&mut *self).await.map(|_| ())
            }

            async fn next_question(&mut self, now: i64, allowed: Allowed) -> Result<Next, Error> {
                // Before anything is chosen: who then finds the minute spent would else hold one of the oldest meanwhile, and
                // another would ask about what follows.
                let now = $alone(&mut *self, now).await?;
                let due: Option<Question> =
                    query_as(concat_free(sql::DUE, $free)).bind(now).fetch_optional(&mut *self).await?;
                let Some(due) = due else { return Ok(Next::Nothing) };
                query(sql::FORGET_CALLS)
                    .bind(now.saturating_sub(WINDOW))
                    .bind(now.saturating_add(WINDOW))
                    .execute(&mut *self)
                    .await?;
                let counted = query(sql::CALL).bind(now).bind(allowed.per_minute).execute(&mut *self).await?;
                if counted.rows_affected() == 0 {
                    return Ok(Next::Spent);
                }
                query(sql::ASK)
                    .bind(&due.hook)
                    .bind(&due.generation)
                    .bind(now)
                    .bind(now.saturating_add(delay(allowed.again, due.asked)))
                    .execute(&mut *self)
                    .await?;
                Ok(Next::Ask(Question { asked_at: now, ..due }))
            }

            async fn answered(
                &mut self,
                question: &Question,
                answered: &Answered,
                about: &[i64],
            ) -> Result<(), Error> {
                query(sql::ANSWERED)
                    .bind(&question.hook)
                    .bind(&question.generation)
                    .bind(answered.answer)
                    .bind(answered.missing)
                    .bind(answered.state.map(ExpectationState::name))
                    .bind(question.state.name())
                    .bind(question.job.as_deref().unwrap_or_default())
                    .bind(question.asked_at)
                    .execute(&mut *self)
                    .await?;
                if answered.state.is_some() && !about.is_empty() {
                    let ids = list(about);
                    let [entries, payloads] = sql::LEAVE.map(|sql| AssertSqlSafe(sql.replace("{ids}", &ids)));
                    query(entries).persistent(false).execute(&mut *self).await?;
                    let payloads = query(payloads).bind(&question.hook).bind(&question.generation);
                    payloads.persistent(false).execute(&mut *self).await?;
                }
                Ok(())
            }

            async fn ask_now(&mut self, now: i64, after: i64) -> Result<u64, Error> {
                let sql = sql::ASK_NOW.replace("{free}", $free);
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

fn concat_free(statement: &str, free: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("{statement}{free}"))
}

/// Until the next call about a generation that was asked about so often before this one.
fn delay(again: i64, asked: i64) -> i64 {
    let micros = |micros: i64| Duration::from_micros(micros.unsigned_abs());
    let delays = ExponentialBuilder::new().with_min_delay(micros(again)).with_max_delay(micros(LONGEST));
    // A microsecond is doubled to a day within so many.
    let asked = usize::try_from(asked).unwrap_or_default().min(64);
    let delay = delays.without_max_times().build().nth(asked).map(|delay| i64::try_from(delay.as_micros()));
    delay.and_then(Result::ok).map_or(LONGEST, |delay| delay.min(LONGEST))
}
