//! Expectations, and what the provider is asked.

use super::Sqlite;
use crate::store::expect::Expectations;
use crate::store::{Allowed, Answered, ExpectationStore, Expected, Next, Noted, Question, Result};
use async_trait::async_trait;

#[async_trait]
impl ExpectationStore for Sqlite {
    async fn expect(&self, expected: &Expected, after: i64) -> Result<Noted> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.expect(now, expected, after).await?)
    }

    async fn explained(&self, expected: &Expected) -> Result<Vec<i64>> {
        transaction!(self, |connection| connection.explained(expected).await?)
    }

    async fn unconfirmed(&self, limit: i64) -> Result<Vec<(String, String)>> {
        transaction!(self, |connection| connection.unconfirmed(limit).await?)
    }

    async fn unconfirmed_of(&self, hook: &str, generation: &str) -> Result<Vec<i64>> {
        transaction!(self, |connection| connection.unconfirmed_of(hook, generation).await?)
    }

    async fn want(&self, hook: &str, generation: &str) -> Result<()> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.want(now, hook, generation).await?)
    }

    async fn want_for(&self, id: i64, hook: &str, generation: &str, headers: &[u8]) -> Result<bool> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.want_for(now, id, hook, generation, headers).await?)
    }

    async fn forget_judgement(&self, id: i64) -> Result<()> {
        transaction!(self, |connection| connection.forget_judgement(id).await?)
    }

    async fn next_question(&self, allowed: Allowed) -> Result<Next> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.next_question(now, allowed).await?)
    }

    async fn answered(&self, question: &Question, answered: &Answered, about: &[i64]) -> Result<()> {
        transaction!(self, |connection| connection.answered(question, answered, about).await?)
    }

    async fn ask_now(&self, after: i64) -> Result<u64> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.ask_now(now, after).await?)
    }

    async fn count_expected(&self, after: i64) -> Result<(i64, i64)> {
        let now = self.clock.now();
        transaction!(self, |connection| connection.count_expected(now, after).await?)
    }
}
