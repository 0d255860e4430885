//! Expectations, each change in a transaction.

use super::{Error, Sqlite, query};
use crate::failpoint::die_at;
use crate::store::expect::{Allowed, Answered, Expectations, Expected, Next, Noted, Question, transactions};
use sqlx::ConnectOptions;
use sqlx::Connection;

macro_rules! in_transactions {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Sqlite {
            $(pub(in crate::store) async fn $name(&self, $($arg: $type),*) -> Result<$result, Error> {
                let now = self.clock.now();
                transaction!(self, |connection| connection.$name(now, $($arg),*).await?)
            })*
        }
    };
}
transactions!(in_transactions);
