//! The overview: the numbers of the inbox, each with a link to its list.

use super::render::{Place, render};
use super::{PageAnswer, PageState, Visitor};
use crate::service::InboxStats;
use axum::extract::State;
use serde::Serialize;

#[derive(Serialize)]
struct OverviewView {
    stats: InboxStats,
}

pub(super) async fn show(State(admin): PageState, visitor: Visitor) -> PageAnswer {
    let view = OverviewView { stats: admin.operations.stats().await? };
    render("overview.html", &visitor, Place::Overview, &view)
}
