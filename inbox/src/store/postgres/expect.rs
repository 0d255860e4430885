//! Expectations, each change in a transaction.

use super::{Error, SILENT, Session, query, query_scalar, silent, sql};
use crate::failpoint::die_at;
use crate::store::expect::{Allowed, Answered, Expectations, Expected, Next, Noted, Question, transactions};

macro_rules! in_transactions {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Session {
            $(pub(in crate::store) async fn $name(&mut self, $($arg: $type),*) -> Result<$result, Error> {
                transaction!(self, |connection| {
                    let now = query_scalar(sql::NOW).fetch_one(&mut *connection).await?;
                    connection.$name(now, $($arg),*).await?
                })
            })*
        }
    };
}
transactions!(in_transactions);
