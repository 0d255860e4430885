//! `blobgate render`: writes the configurations that a setup file stands for.

mod files;

pub(crate) use files::{FileChange, RenderedFile, WriteOutcome, write};

use crate::setup::{ProviderEndpoint, Setup, SetupError};

/// Every file of a setup, relative to the setup folder.
pub(crate) fn render(setup: &Setup, provider: &ProviderEndpoint) -> Result<Vec<RenderedFile>, SetupError> {
    let _ = (setup, provider);
    Ok(Vec::new())
}
