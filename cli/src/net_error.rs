//! Why a request failed, in the words of its last cause.

use std::error::Error;

/// The cause at the bottom of an error. The errors above it name the URL, which every sentence of the tool has already.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}
