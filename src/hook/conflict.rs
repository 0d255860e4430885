//! Finds hooks with the same name or path, in a time that does not grow with the square of the hooks.

use super::Hook;
use std::sync::Arc;

/// Two hooks of a list, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) later: usize,
    pub(crate) earlier: usize,
}

/// Finds a hook with the name of an earlier one.
pub(crate) fn find_same_name(hooks: &[Arc<Hook>]) -> Option<Conflict> {
    Table::new(hooks, |hook| &hook.name).err()
}

/// Finds a hook with the path of another, or below a path that takes a token.
pub(crate) fn find_overlap(hooks: &[Arc<Hook>]) -> Option<Conflict> {
    let table = match Table::new(hooks, |hook| &hook.path) {
        Ok(table) => table,
        Err(conflict) => return Some(conflict),
    };
    hooks.iter().enumerate().find_map(|(below, hook)| {
        let above = hook.path.match_indices('/').filter_map(|(end, _)| table.find(hook.path.get(..end)?));
        let mut above = above.filter(|above| hooks.get(*above).is_some_and(|hook| hook.token.is_some()));
        above.next().map(|above| Conflict { later: above.max(below), earlier: above.min(below) })
    })
}

/// A hash table of hooks. The one of the standard library, and its trees, are 5 to 10 KB more in the module.
struct Table<'h> {
    hooks: &'h [Arc<Hook>],
    key: fn(&Hook) -> &str,
    /// The places of the hooks, by the hashes of their keys.
    buckets: Vec<Vec<usize>>,
}

impl<'h> Table<'h> {
    fn new(hooks: &'h [Arc<Hook>], key: fn(&Hook) -> &str) -> Result<Self, Conflict> {
        let mut table = Self { hooks, key, buckets: vec![Vec::new(); hooks.len().max(1)] };
        for (later, hook) in hooks.iter().enumerate() {
            if let Some(earlier) = table.find(key(hook)) {
                return Err(Conflict { later, earlier });
            }
            let bucket = table.bucket(key(hook));
            table.buckets.get_mut(bucket).into_iter().for_each(|bucket| bucket.push(later));
        }
        Ok(table)
    }

    fn find(&self, text: &str) -> Option<usize> {
        let bucket = self.buckets.get(self.bucket(text))?;
        bucket
            .iter()
            .copied()
            .find(|place| self.hooks.get(*place).is_some_and(|hook| (self.key)(hook) == text))
    }

    fn bucket(&self, text: &str) -> usize {
        const FACTOR: usize = 31;
        let hash =
            text.bytes().fold(0, |hash: usize, byte| hash.wrapping_mul(FACTOR).wrapping_add(byte.into()));
        hash.checked_rem(self.buckets.len()).unwrap_or_default()
    }
}
