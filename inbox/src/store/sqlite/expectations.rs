//! Expectations, and the calls of the status API.

use super::Sqlite;
use crate::store::audit::AuditStatements;
use crate::store::expect::ExpectationStatements;
use crate::store::{
    Announcement, AnnouncementOutcome, CallBudget, ExpectationStore, NewAction, NextCall, Result,
    StatusAnswer, StatusCall,
};
use async_trait::async_trait;

#[async_trait]
impl ExpectationStore for Sqlite {
    async fn expect(&self, announcement: &Announcement, after: i64) -> Result<AnnouncementOutcome> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.expect(now, announcement, after).await?)
    }

    async fn explained(&self, announcement: &Announcement) -> Result<Vec<i64>> {
        transaction!(self, |connection| connection.explained(announcement).await?)
    }

    async fn unconfirmed(&self, limit: i64) -> Result<Vec<(String, String)>> {
        transaction!(self, |connection| connection.unconfirmed(limit).await?)
    }

    async fn unconfirmed_of(&self, hook: &str, generation: &str) -> Result<Vec<i64>> {
        transaction!(self, |connection| connection.unconfirmed_of(hook, generation).await?)
    }

    async fn request_call(&self, hook: &str, generation: &str) -> Result<()> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.request_call(now, hook, generation).await?)
    }

    async fn request_call_for(
        &self,
        id: i64,
        hook: &str,
        generation: &str,
        headers: &[u8],
        action: &NewAction,
    ) -> Result<Option<i64>> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            let is_quarantined = connection.request_call_for(now, id, hook, generation, headers).await?;
            if is_quarantined { Some(connection.note(now, action, &[id]).await?) } else { None }
        })
    }

    async fn forget_reevaluation(&self, id: i64) -> Result<()> {
        transaction!(self, |connection| connection.forget_reevaluation(id).await?)
    }

    async fn next_call(&self, budget: CallBudget) -> Result<NextCall> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.next_call(now, budget).await?)
    }

    async fn take_call(&self, budget: CallBudget) -> Result<bool> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.take_call(now, budget).await?)
    }

    async fn calls_in_minute(&self) -> Result<i64> {
        let now = self.clock.now();
        Ok(self.reads.acquire().await?.calls_in_minute(now).await?)
    }

    async fn record_answer(&self, call: &StatusCall, answer: &StatusAnswer, about: &[i64]) -> Result<()> {
        transaction!(self, |connection| connection.record_answer(call, answer, about).await?)
    }

    async fn call_now(&self, after: i64, action: &NewAction) -> Result<(u64, Option<i64>)> {
        let now = self.clock.now();
        transaction!(self, |connection| {
            let due = connection.call_now(now, after).await?;
            (due, if due > 0 { Some(connection.note(now, &action.calling(due), &[]).await?) } else { None })
        })
    }

    async fn count_expected(&self, after: i64) -> Result<(i64, i64)> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.count_expected(now, after).await?)
    }
}
