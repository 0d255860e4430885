//! The inbox of a setup file.

use super::admin_tokens::{self, SetupAdminToken};
use super::parse::{INBOX_KEYS, required};
use super::reader::SetupReader;
use crate::check::cursor::YamlCursor;
use blobgate_inbox::store::Place;

/// The inbox's own keys.
pub(super) struct SetupInbox {
    pub(super) store: String,
    pub(super) admin_tokens: Vec<SetupAdminToken>,
}

pub(super) fn read(root: &YamlCursor<'_>, reader: &mut SetupReader) -> Option<SetupInbox> {
    let inbox = required(root, "inbox", "inbox: {store: \"sqlite:/var/lib/blobgate/inbox.db\"}", reader)?;
    if !reader.object(&inbox, &INBOX_KEYS, &|_| None) {
        return None;
    }
    let admin_tokens = admin_tokens::read(&inbox, reader);
    Some(SetupInbox { store: store(&inbox, reader)?, admin_tokens })
}

/// Reads the store's place. A wrong one is not shown: it may contain a password.
fn store(inbox: &YamlCursor<'_>, reader: &mut SetupReader) -> Option<String> {
    const EXPECTED: &str = "sqlite:/var/lib/blobgate/inbox.db, or postgres://USER@HOST/DATABASE";
    let value = required(inbox, "store", EXPECTED, reader)?;
    let text = match value.text() {
        Some(_) => reader.text(&value, EXPECTED)?,
        None => {
            reader.fault(value.spot(), "is no text", format!("write {EXPECTED}"));
            return None;
        }
    };
    let wrong = match text.parse::<Place>() {
        // Readers of variables take a quote within quotes in different ways.
        Ok(_) if text.contains('\'') => {
            ("has a quote, which inbox.env cannot have".to_owned(), "write a place without one".to_owned())
        }
        Err(why) => (format!("does not load: {why}"), String::new()),
        Ok(Place::Postgres(url)) => {
            let has_password =
                url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password");
            if !has_password {
                return Some(text.to_owned());
            }
            let remedy = "remove it, and write PGPASSWORD=... into secrets/env";
            ("has a password, which each reader of the file gets".to_owned(), remedy.to_owned())
        }
        Ok(Place::Sqlite(path)) => match path.to_string_lossy() {
            path if path.starts_with('~') => {
                ("begins with ~, which only a shell replaces".to_owned(), "write the whole path".to_owned())
            }
            path if path.ends_with('/') => ("is a folder".to_owned(), format!("write {EXPECTED}")),
            path if path.contains(":memory:") => {
                ("is in memory, so a restart loses every event".to_owned(), format!("write {EXPECTED}"))
            }
            _ => return Some(text.to_owned()),
        },
    };
    reader.fault(value.spot(), wrong.0, wrong.1);
    None
}
