//! Reads the enums of an entry from their stored texts.

use crate::entry::{EntryState, ExpectationState, Fingerprint, Lane, Origin, QuarantineReason, Superseded};
use sqlx::error::BoxDynError;
use sqlx::{Database, Decode, Type};

/// `$parse` reads a text, and returns `None` for an unknown one.
macro_rules! stored_as_text {
    ($name:ident, $parse:expr) => {
        impl<DB: Database> Type<DB> for $name
        where
            str: Type<DB>,
        {
            fn type_info() -> DB::TypeInfo {
                <str as Type<DB>>::type_info()
            }

            fn compatible(info: &DB::TypeInfo) -> bool {
                <str as Type<DB>>::compatible(info)
            }
        }

        impl<'r, DB: Database> Decode<'r, DB> for $name
        where
            &'r str: Decode<'r, DB>,
        {
            fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
                let text = <&str as Decode<DB>>::decode(value)?;
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text).ok_or_else(|| {
                    format!(
                        "the store has the unknown {} {text:?}. Start the program that wrote it",
                        stringify!($name)
                    )
                    .into()
                })
            }
        }
    };
}

stored_as_text!(EntryState, EntryState::parse);
stored_as_text!(Lane, Lane::parse);
stored_as_text!(ExpectationState, ExpectationState::parse);
stored_as_text!(Origin, Origin::parse);
stored_as_text!(Superseded, Superseded::parse);
stored_as_text!(Fingerprint, Fingerprint::parse);
stored_as_text!(QuarantineReason, |text| Some(QuarantineReason::parse(text)));
