//! Parses `--store`. Its errors never show the value: the URL of a database may contain a password, and an error about the
//! variable BLOBGATE_INBOX_STORE goes to a service's log.

use blobgate_inbox::store::Place;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use std::ffi::OsStr;

#[derive(Clone)]
pub(super) struct StoreParser;

impl TypedValueParser for StoreParser {
    type Value = Place;

    fn parse_ref(&self, command: &Command, _arg: Option<&Arg>, value: &OsStr) -> Result<Place, Error> {
        let parsed = match value.to_str() {
            Some(text) => text.parse::<Place>().map_err(|error| error.to_string()),
            None => Err("it is not UTF-8: write sqlite:PATH or postgres://USER@HOST/DATABASE".to_owned()),
        };
        parsed.map_err(|error| {
            let sentence = format!("invalid value for '--store <STORE>': {error}\n");
            Error::raw(ErrorKind::ValueValidation, sentence).with_cmd(command)
        })
    }
}
