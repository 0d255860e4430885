//! Names entries: by their ids, or by a filter.

use super::client::AdminArgs;
use super::filter::FilterArgs;
use blobgate_inbox::service::{ChangeRequest, EntryFilter};
use clap::CommandFactory;
use clap::error::ErrorKind;
use std::collections::VecDeque;

/// Which entries, and how the command goes.
#[derive(clap::Args)]
pub(super) struct SelectionArgs {
    /// These entries
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub(super) ids: Vec<i64>,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
    /// Print JSON: one object, the ids of the changed entries and of the others, and why
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) admin: AdminArgs,
}

/// The entries that a command names.
#[derive(Clone, Debug)]
pub(super) enum EntrySelection {
    Ids(Vec<i64>),
    Filter(EntryFilter),
}

/// Requests that together reach all selected entries: the inbox takes up to 500 at once.
pub(super) struct ChangeRequests(VecDeque<ChangeRequest>);

const MAX_PIECE: usize = 500;

impl SelectionArgs {
    /// The entries. Ends the program where it names none, or both ways.
    pub(super) fn selected(&self) -> EntrySelection {
        let filter = self.filter.read();
        match (self.ids.is_empty(), filter.is_empty()) {
            (true, true) => wrong(
                ErrorKind::MissingRequiredArgument,
                "name entries by their ids, or by a filter such as --state",
            ),
            (false, false) => {
                wrong(ErrorKind::ArgumentConflict, "name entries by their ids or by filters, and not by both")
            }
            (false, true) => EntrySelection::Ids(self.ids.clone()),
            (true, false) => EntrySelection::Filter(filter),
        }
    }
}

/// Ends the program with a sentence about its arguments.
pub(super) fn wrong(kind: ErrorKind, sentence: &str) -> ! {
    crate::Cli::command().error(kind, sentence).exit()
}

impl EntrySelection {
    /// Of a filter, entries up to `until`: later ones stay as they are.
    pub(super) fn pieces(&self, until: Option<i64>) -> ChangeRequests {
        match self {
            EntrySelection::Ids(ids) => ChangeRequests(
                ids.chunks(MAX_PIECE)
                    .map(|ids| ChangeRequest {
                        ids: Some(ids.iter().copied().collect()),
                        ..ChangeRequest::default()
                    })
                    .collect(),
            ),
            EntrySelection::Filter(filter) => ChangeRequests(VecDeque::from([ChangeRequest {
                filter: Some(filter.clone()),
                until,
                limit: i64::try_from(MAX_PIECE).ok(),
                ..ChangeRequest::default()
            }])),
        }
    }

    /// How many entries there are; 0 of a filter.
    pub(super) fn count(&self) -> u64 {
        match self {
            EntrySelection::Ids(ids) => u64::try_from(ids.len()).unwrap_or(u64::MAX),
            EntrySelection::Filter(_) => 0,
        }
    }
}

impl ChangeRequests {
    pub(super) fn pop(&mut self) -> Option<ChangeRequest> {
        self.0.pop_front()
    }

    /// Goes on after the answer to a request: `next` is the answer's.
    pub(super) fn go_on(&mut self, request: ChangeRequest, next: Option<i64>) {
        if next.is_some() {
            self.0.push_front(ChangeRequest { after: next, ..request });
        }
    }
}
