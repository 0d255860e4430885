//! Selects entries, by ids or by a filter.

use super::client::AdminArgs;
use super::filter::FilterArgs;
use crate::option::{exit_with_usage, parse_id};
use blobgate_inbox::service::{ChangeRequest, EntryFilter};
use clap::error::ErrorKind;
use std::collections::VecDeque;

/// The arguments of a command that changes entries.
#[derive(clap::Args)]
pub(super) struct SelectionArgs {
    /// The ids of the entries
    #[arg(value_name = "ID", value_parser = parse_id)]
    pub(super) ids: Vec<i64>,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// No question before the change
    #[arg(long)]
    pub(super) yes: bool,
    /// JSON output: the ids of the changed entries, and of the others with the reason
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) admin: AdminArgs,
}

/// The selected entries.
#[derive(Clone, Debug)]
pub(super) enum CommandSelection {
    Ids(Vec<i64>),
    Filter(EntryFilter),
}

/// The requests that together reach all selected entries. The inbox changes at most 500 a request.
pub(super) struct ChangeRequests(VecDeque<ChangeRequest>);

const MAX_IDS: usize = 500;

impl SelectionArgs {
    /// Exits with a usage error without entries, or with both ids and filters.
    pub(super) fn selected(&self) -> CommandSelection {
        let filter = self.filter.read();
        match (self.ids.is_empty(), filter.is_empty()) {
            (true, true) => exit_with_usage(
                ErrorKind::MissingRequiredArgument,
                "no entry is named. Name entries by ids, or by a filter such as --state",
            ),
            (false, false) => exit_with_usage(
                ErrorKind::ArgumentConflict,
                "ids and filters exclude each other. Name entries by one of them",
            ),
            (false, true) => CommandSelection::Ids(self.ids.clone()),
            (true, false) => CommandSelection::Filter(filter),
        }
    }
}

impl CommandSelection {
    /// A filter reaches the entries up to `until`, so that the preview stays true.
    pub(super) fn requests(&self, until: Option<i64>) -> ChangeRequests {
        match self {
            CommandSelection::Ids(ids) => ChangeRequests(
                ids.chunks(MAX_IDS)
                    .map(|ids| ChangeRequest {
                        ids: Some(ids.iter().copied().collect()),
                        ..ChangeRequest::default()
                    })
                    .collect(),
            ),
            CommandSelection::Filter(filter) => ChangeRequests(VecDeque::from([ChangeRequest {
                filter: Some(filter.clone()),
                until,
                limit: i64::try_from(MAX_IDS).ok(),
                ..ChangeRequest::default()
            }])),
        }
    }

    /// The number of ids, or 0 for a filter.
    pub(super) fn count(&self) -> u64 {
        match self {
            CommandSelection::Ids(ids) => u64::try_from(ids.len()).unwrap_or(u64::MAX),
            CommandSelection::Filter(_) => 0,
        }
    }
}

impl ChangeRequests {
    pub(super) fn pop(&mut self) -> Option<ChangeRequest> {
        self.0.pop_front()
    }

    /// Continues a filter behind `next`, the last changed entry of an answer.
    pub(super) fn continue_after(&mut self, request: ChangeRequest, next: Option<i64>) {
        if next.is_some() {
            self.0.push_front(ChangeRequest { after: next, ..request });
        }
    }
}
