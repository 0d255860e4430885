//! The path and the dialect of a hook.

use crate::arrival::read_headers;
use crate::line_limit::permits_condition;
use crate::store::{StoreError, StoreHandle, StoredHead};
use blobgate::contract::header;
use blobgate::dialect::Dialect;
use std::collections::BTreeMap;

/// The common values of a hook's events.
#[derive(Clone, Debug)]
pub(super) struct HookProfile {
    pub(super) path: String,
    pub(super) dialect: Dialect,
}

/// The profiles of the hooks with an entry.
#[derive(Debug, Default)]
pub(super) struct HookProfiles(BTreeMap<String, HookProfile>);

impl HookProfiles {
    /// The profile of a hook, by its newest entry. A hook without an entry has a likely path, and the only dialect. With several
    /// dialects it has none: the store does not record the dialect of an expectation.
    pub(super) async fn find(
        &mut self,
        store: &StoreHandle,
        hook: &str,
    ) -> Result<Option<HookProfile>, StoreError> {
        if let Some(profile) = self.0.get(hook) {
            return Ok(Some(profile.clone()));
        }
        if let Some(profile) = store.newest_head(hook).await?.and_then(read) {
            self.0.insert(hook.to_owned(), profile.clone());
            return Ok(Some(profile));
        }
        let [dialect] = Dialect::ALL else {
            if permits_condition(("dialect", "")) {
                tracing::error!(
                    hook,
                    "hook={hook} has no entry yet, so its dialect is unknown: the reconciler waits for one"
                );
            }
            return Ok(None);
        };
        Ok(Some(HookProfile { path: format!("/hooks/{hook}"), dialect: *dialect }))
    }
}

fn read(head: StoredHead) -> Option<HookProfile> {
    let headers = read_headers(&head.headers);
    let dialect = Dialect::by_name(headers.get(header::DIALECT)?.to_str().ok()?)?;
    Some(HookProfile { path: String::from_utf8(head.path).ok()?, dialect })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_dialect_and_the_path_of_an_entry() {
        let head = |headers: &str| StoredHead {
            path: b"/hooks/film".to_vec(),
            headers: headers.as_bytes().to_vec(),
        };
        let dialect = format!("{}: veo3\r\n", header::DIALECT);
        let profile = read(head(&dialect)).unwrap();
        assert_eq!((profile.path.as_str(), profile.dialect), ("/hooks/film", Dialect::Veo3));
        assert!(read(head("")).is_none() && read(head(&dialect.replace("veo3", "veo9"))).is_none());
    }
}
