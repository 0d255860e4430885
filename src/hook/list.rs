//! The hooks of a configuration, found by their paths in a time that does not grow with their number.

use super::{Hook, SharedSections};
use crate::names::Names;
use crate::settings::{ConfigError, Node};
use std::ops::Deref;
use std::sync::Arc;

/// The hooks in the order of the configuration. No two have the same name or path, and none is below a path that takes a token.
/// So at most one hook matches a path.
#[derive(Clone, Debug)]
pub struct Hooks {
    list: Vec<Arc<Hook>>,
    paths: Names,
}

impl Hooks {
    pub(crate) fn parse(node: &Node<'_>, shared: &SharedSections) -> Result<Self, ConfigError> {
        let nodes = node.list("a list of hooks")?;
        let list: Vec<Arc<Hook>> =
            nodes.iter().map(|node| Hook::parse(node, shared).map(Arc::new)).collect::<Result<_, _>>()?;
        if list.is_empty() {
            return Err(node.invalid("at least one hook"));
        }
        let (mut names, mut paths) = (Names::for_number(list.len()), Names::for_number(list.len()));
        for (node, hook) in nodes.iter().zip(&list) {
            names.add(hook.name.as_bytes()).map_err(|_| node.duplicate("name", &hook.name))?;
        }
        for (node, hook) in nodes.iter().zip(&list) {
            paths.add(hook.path.as_bytes()).map_err(|_| node.duplicate("path", &hook.path))?;
        }
        for (below, (node, hook)) in nodes.iter().zip(&list).enumerate() {
            let above = paths.prefixes(hook.path.as_bytes(), |byte| byte == b'/');
            let mut above = above.filter_map(|(place, _)| Some((place, nodes.get(place)?, list.get(place)?)));
            let other = above.find(|(place, _, other)| *place != below && other.token.is_some());
            if let Some((place, other_node, other)) = other {
                let (later, hook, other) =
                    if place < below { (node, hook, other) } else { (other_node, other, hook) };
                return Err(later.overlapping_path(&hook.path, &other.path));
            }
        }
        Ok(Self { list, paths })
    }

    /// The hook whose path is `path`, or the hook above it that takes a token, and what follows the hook's path. A query is no
    /// part of a path.
    pub(crate) fn locate<'h, 'p>(&'h self, path: &'p [u8]) -> Option<(&'h Arc<Hook>, &'p [u8])> {
        let mut at = self.paths.prefixes(path, |byte| matches!(byte, b'/' | b'?'));
        at.find_map(|(place, rest)| {
            let hook = self.list.get(place)?;
            (hook.token.is_some() || rest.first() != Some(&b'/')).then_some((hook, rest))
        })
    }
}

impl Deref for Hooks {
    type Target = [Arc<Hook>];

    fn deref(&self) -> &[Arc<Hook>] {
        &self.list
    }
}

impl<'h> IntoIterator for &'h Hooks {
    type Item = &'h Arc<Hook>;
    type IntoIter = std::slice::Iter<'h, Arc<Hook>>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::{self, HookMatch};
    use crate::{Config, Reason, sanitize};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Value, json};

    /// The first hook that matches, by comparing each.
    fn first<'h, 'p>(hooks: &'h [Arc<Hook>], path: &'p [u8]) -> Option<HookMatch<'h, 'p>> {
        let path = path.split(|byte| *byte == b'?').next().unwrap();
        let under = |hook: &'h Arc<Hook>| match (path.strip_prefix(hook.path.as_bytes())?, &hook.token) {
            ([], _) | ([b'/'], Some(_)) => Some((hook, None)),
            ([b'/', segment @ ..], Some(_)) if !segment.contains(&b'/') => Some((hook, Some(segment))),
            _ => None,
        };
        hooks.iter().find_map(under)
    }

    /// The path that the service gets, by comparing each hook.
    fn clean<'h>(hooks: &'h [Arc<Hook>], path: &[u8]) -> Option<&'h str> {
        let is_at_or_under = |hook: &&Arc<Hook>| {
            let rest = path.strip_prefix(hook.path.as_bytes());
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/' | b'?')))
        };
        let takes_token = hooks.iter().filter(|hook| hook.token.is_some()).find(is_at_or_under);
        let before = path.split(|byte| *byte == b'?').next().unwrap();
        let found = takes_token.or_else(|| hooks.iter().find(|hook| hook.path.as_bytes() == before));
        found.map(|hook| hook.path.as_str()).filter(|clean| clean.as_bytes() != path)
    }

    /// Whether two of these paths are equal, or one is below another that takes a token.
    fn is_ambiguous(paths: &[(String, bool)]) -> bool {
        paths.iter().enumerate().any(|(place, (path, takes_token))| {
            let others = paths.iter().enumerate().filter(|(other, _)| *other != place);
            others.map(|(_, (other, _))| other).any(|other| {
                other == path
                    || *takes_token && other.strip_prefix(&**path).is_some_and(|r| r.starts_with('/'))
            })
        })
    }

    fn configuration(paths: &[(String, bool)]) -> Vec<u8> {
        let hooks = paths.iter().enumerate().map(|(place, (path, takes_token))| {
            let trust = if *takes_token { json!({"any_of": ["token"]}) } else { "open".into() };
            json!({
                "name": format!("h{place}"), "path": format!("{path}{}", if *takes_token { "/{token}" } else { "" }),
                "trust": trust, "quarantine": if *takes_token { "route" } else { "none" },
                "dialect": "veo3", "source": "any", "result_url": "any",
            })
        });
        let hooks: Vec<Value> = hooks.collect();
        let keys = json!({"keys": {"k": {"alg": "HS256", "env": "KEY"}}});
        json!({"version": 1, "environment": "e", "token": keys, "hooks": hooks}).to_string().into_bytes()
    }

    fn load(paths: &[(String, bool)]) -> Option<Config> {
        Config::load(&configuration(paths), &|_| Some("a key of the tests, of 32 bytes ".into())).ok()
    }

    #[track_caller]
    fn agrees(hooks: &Hooks, path: &[u8]) {
        let name = |(hook, token): HookMatch<'_, '_>| (Arc::clone(&hook.name), token.map(<[u8]>::to_vec));
        let found = hook::find(hooks, path);
        assert_eq!(found.ok().map(name), first(hooks, path).map(name), "{}", path.escape_ascii());
        assert!(found.err().is_none_or(|violation| violation.reason == Reason::UnknownHook));
        let located = hooks.locate(path).map(|(hook, _)| &**hook);
        assert_eq!(sanitize::path(located, path), clean(hooks, path), "{}", path.escape_ascii());
    }

    /// Few segments, so that paths meet.
    fn path() -> impl Strategy<Value = (String, bool)> {
        let segment = select(vec!["a", "b", "ab", "A", "a.b", "~", "token", "a-b", "..a"]);
        (vec(segment, 1..4), any::<bool>()).prop_map(|(segments, takes_token)| {
            (segments.iter().map(|segment| format!("/{segment}")).collect(), takes_token)
        })
    }

    fn ends() -> impl Strategy<Value = Vec<u8>> {
        let end = select(vec![
            &b""[..],
            b"/",
            b"//",
            b"/a",
            b"/b",
            b"/ab",
            b"a",
            b"?",
            b"?a=/b",
            b"/?",
            b"?/",
            b"#",
            b"/.",
            b"/..",
            b"%2F",
            b"%2f",
            b"/%61",
            b"%3F",
            b"/{token}",
            b"/e.e.e",
            b"\0",
            b"\xff",
            b";a",
            b"/a?b?c",
            b"\\",
            b" ",
        ]);
        vec(end, 0..4).prop_map(|ends| ends.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 5 } else { 500 }))]

        #[test]
        fn finds_as_a_comparison_with_each(
            paths in vec(path(), 1..12),
            asked in vec((path(), ends(), 0..20_usize), 1..12),
            noise in vec(any::<u8>(), 0..40),
        ) {
            prop_assert_eq!(load(&paths).is_none(), is_ambiguous(&paths));
            let mut kept: Vec<(String, bool)> = Vec::new();
            for path in paths {
                kept.push(path);
                if is_ambiguous(&kept) {
                    kept.pop();
                }
            }
            let hooks = load(&kept).unwrap().hooks;
            agrees(&hooks, &noise);
            for ((path, _), ends, cut) in asked {
                let known = hooks.get(cut).map_or(path.as_bytes(), |hook| hook.path.as_bytes());
                for path in [path.as_bytes(), known] {
                    agrees(&hooks, &[path, &ends].concat());
                    agrees(&hooks, &path[..path.len().saturating_sub(cut)]);
                    agrees(&hooks, &[&path[1..], &ends].concat());
                }
            }
        }
    }

    #[test]
    fn finds_each_of_many() {
        let paths: Vec<(String, bool)> =
            (0..5_000).map(|place| (format!("/hooks/h{place}"), place % 2 == 0)).collect();
        let hooks = load(&paths).unwrap().hooks;
        for place in (0..5_000).step_by(97) {
            for end in ["", "/", "/t", "/t/u", "?a", "x"] {
                agrees(&hooks, format!("/hooks/h{place}{end}").as_bytes());
            }
        }
        let deep = "/a".repeat(30_000);
        agrees(&hooks, deep.as_bytes());
    }
}
