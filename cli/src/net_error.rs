//! The cause of a failed request.

use std::error::Error;

/// The last source of an error. The errors above it repeat the URL, which the tool's messages name.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}
