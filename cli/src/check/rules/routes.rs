//! Routes: which of them match a sample request, and what they do with it.

use super::super::cursor::YamlCursor;
use super::matcher::{self, SampleRequest, Truth};
use blobgate::contract::{Verdict, header};

/// A virtual host with its routes.
pub(super) struct HostView<'y> {
    pub(super) at: YamlCursor<'y>,
    pub(super) routes: Vec<RouteView<'y>>,
    /// Its route configuration, where the file shows it.
    pub(super) table: Option<YamlCursor<'y>>,
}

pub(super) struct RouteView<'y> {
    pub(super) at: YamlCursor<'y>,
    pub(super) action: RouteAction<'y>,
}

pub(super) enum RouteAction<'y> {
    /// The clusters, of which a weighted route has several. Mirrors are among them.
    Clusters(Vec<(&'y str, YamlCursor<'y>)>),
    /// The request's headers or an extension choose the cluster.
    AnyCluster,
    Redirect,
    Direct(f64),
    Other,
}

impl<'y> HostView<'y> {
    pub(super) fn new(at: YamlCursor<'y>, table: Option<&YamlCursor<'y>>) -> Self {
        let routes = at.list("routes").into_iter().map(RouteView::new).collect();
        Self { routes, table: table.cloned(), at }
    }

    /// The routes that may be the first to match: those that match under a condition, and then the one that matches for certain.
    pub(super) fn first_matches(&self, request: &SampleRequest<'_>) -> Vec<&RouteView<'y>> {
        let mut found = Vec::new();
        for route in &self.routes {
            match route.matches(request) {
                Truth::No => {}
                Truth::Maybe => found.push(route),
                Truth::Yes => {
                    found.push(route);
                    break;
                }
            }
        }
        found
    }

    /// What the narrowest scope says about a filter: the route, the virtual host or the route configuration.
    pub(super) fn states(&self, route: &RouteView<'y>, is_filter: impl Fn(&str) -> bool) -> Option<bool> {
        let scopes = [Some(&route.at), Some(&self.at), self.table.as_ref()];
        scopes.into_iter().flatten().find_map(|scope| {
            let (_, entry) = per_filter(scope).into_iter().find(|(name, _)| is_filter(name))?;
            Some(!entry.is_true("disabled"))
        })
    }
}

/// The entries of `typed_per_filter_config`.
pub(super) fn per_filter<'y>(scope: &YamlCursor<'y>) -> Vec<(&'y str, YamlCursor<'y>)> {
    scope.get("typed_per_filter_config").map(|entries| entries.pairs()).unwrap_or_default()
}

impl<'y> RouteView<'y> {
    pub(super) fn new(at: YamlCursor<'y>) -> Self {
        Self { action: RouteAction::of(&at), at }
    }

    pub(super) fn name(&self) -> String {
        match self.at.text_at(&["name"]) {
            Some(name) => format!("the route {name}"),
            None => "a route".to_owned(),
        }
    }

    pub(super) fn matches(&self, request: &SampleRequest<'_>) -> Truth {
        self.at.get("match").map_or(Truth::No, |conditions| matcher::evaluate(&conditions, request))
    }

    /// The header matchers of a name.
    pub(super) fn matchers_of(&self, name: &str) -> Vec<YamlCursor<'y>> {
        let all = self.at.get("match").map(|conditions| conditions.list("headers")).unwrap_or_default();
        all.into_iter()
            .filter(|matcher| {
                matcher.text_at(&["name"]).is_some_and(|found| found.eq_ignore_ascii_case(name))
            })
            .collect()
    }

    /// Whether only requests match whose verdict is there.
    pub(super) fn needs_verdict(&self) -> bool {
        self.matchers_of(header::VERDICT).iter().any(|verdict| matcher::header(verdict, None) == Truth::No)
    }

    /// Whether the header's matchers admit this value.
    pub(super) fn admits(&self, name: &str, value: &str) -> bool {
        self.matchers_of(name).iter().all(|found| matcher::header(found, Some(value)) != Truth::No)
    }

    /// Whether it takes verdicts of several kinds and every event, as a route to an inbox does.
    pub(super) fn is_to_inbox(&self) -> bool {
        let takes = |verdict: Verdict| self.admits(header::VERDICT, verdict.name());
        let others = takes(Verdict::Quarantined) || takes(Verdict::Observed);
        self.needs_verdict()
            && takes(Verdict::Accepted)
            && others
            && self.matchers_of(header::EVENT).is_empty()
    }

    /// Whether it takes accepted events and no quarantined ones, as a route to a service does.
    pub(super) fn is_to_service(&self) -> bool {
        self.needs_verdict()
            && self.admits(header::VERDICT, Verdict::Accepted.name())
            && !self.admits(header::VERDICT, Verdict::Quarantined.name())
    }

    pub(super) fn clusters(&self) -> &[(&'y str, YamlCursor<'y>)] {
        match &self.action {
            RouteAction::Clusters(clusters) => clusters,
            _ => &[],
        }
    }

    pub(super) fn forward(&self) -> Option<YamlCursor<'y>> {
        self.at.get("route")
    }
}

impl<'y> RouteAction<'y> {
    fn of(route: &YamlCursor<'y>) -> Self {
        if let Some(direct) = route.get("direct_response") {
            return RouteAction::Direct(direct.number_at(&["status"]).unwrap_or_default());
        }
        if route.get("redirect").is_some() {
            return RouteAction::Redirect;
        }
        let Some(forward) = route.get("route") else { return RouteAction::Other };
        let keys = ["cluster_header", "cluster_specifier_plugin", "inline_cluster_specifier_plugin"];
        if keys.iter().any(|key| forward.get(key).is_some()) {
            return RouteAction::AnyCluster;
        }
        let name = |at: YamlCursor<'y>| Some((at.text()?, at));
        let weighted = forward.get("weighted_clusters").map(|all| all.list("clusters")).unwrap_or_default();
        let weighted = weighted.into_iter().filter_map(|cluster| name(cluster.get("name")?));
        let mirrors = forward.list("request_mirror_policies").into_iter();
        let mirrors = mirrors.filter_map(|mirror| name(mirror.get("cluster")?));
        RouteAction::Clusters(
            forward.get("cluster").and_then(name).into_iter().chain(weighted).chain(mirrors).collect(),
        )
    }
}
