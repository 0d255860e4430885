//! The hook's path with and without a token, and the path that a service gets.

use super::{HOOK, bad, confirms, gate, good, tokenless, unknown_generation, with_token};
use crate::support::client::Protocol;
use crate::support::{TestDelivery, on_every_envoy};
use serde_json::json;

#[test]
fn removes_the_token_from_every_spelling_of_the_path() {
    on_every_envoy(|envoy| {
        let gate = gate(envoy, &json!({"confirm": {"per_minute": 6000}}));
        gate.provider.reply(confirms(&tokenless()));
        let token = good();
        for protocol in Protocol::BOTH {
            for path in [
                format!("{HOOK}/{token}"),
                format!("{HOOK}/{token}?a=b&c=%2e"),
                format!("{HOOK}/{token}?"),
                format!("//hooks//veo3///{token}"),
                format!("/a/../hooks/./veo3/{token}"),
                format!("/a/%2e%2e/hooks/veo3/{token}"),
                format!("/hooks%2Fveo3%2f{token}"),
                format!("/hooks\\veo3\\{token}"),
                format!("{HOOK}/{token}/../{token}"),
                HOOK.to_owned(),
                format!("{HOOK}/"),
                format!("{HOOK}?token={token}"),
                format!("{HOOK}/not.a.token"),
            ] {
                let arrival = gate.accepts(protocol, &TestDelivery::completed().path(&path));
                assert_eq!(arrival.path, HOOK, "{path}");
            }
        }
    });
}

#[test]
fn matches_the_hook_without_a_token() {
    on_every_envoy(|envoy| {
        let either = gate(envoy, &json!({}));
        let only = gate(envoy, &json!({"hook": {"trust": {"any_of": ["token"], "all_of": null}}}));
        either.provider.reply(unknown_generation());
        for protocol in Protocol::BOTH {
            for path in ["/hooks/veo3", "/hooks/veo3/", "/hooks/veo3?x", "//hooks/veo3"] {
                let delivery = TestDelivery::completed().path(path);
                either.refuses(protocol, &delivery, 403, "not-confirmed");
                only.refuses(protocol, &delivery, 401, "token-missing");
            }
            only.refuses(protocol, &with_token(TestDelivery::completed(), &bad()), 401, "token-invalid");
            for path in ["/hooks/veo3/a/b", "/hooks/veo3/a/"] {
                only.refuses(protocol, &TestDelivery::completed().path(path), 404, "unknown-hook");
            }
        }
        assert_eq!(either.provider.heads(), 1, "one call, then the cache");
    });
}
