//! The codes that routes of `envoy.yaml` answer with, in `blobgate-reason`. No gate and no inbox judges such a request.

use super::inbox_code::{InboxCode, row};

pub(super) const CODES: &[InboxCode] = &[
    row(
        "no-route",
        "No service route of port 8090 takes this delivery of the inbox. Envoy answered 404.",
        "Compare `hook`, `event` and `verdict` of the line with the routes `services` in envoy.yaml. The inbox tries again.",
    ),
    row(
        "unknown-host",
        "The `Host` of a request on port 8090 is no address of this machine. Envoy answered 421.",
        "Give the inbox `--deliver-to` with an address such as http://127.0.0.1:8090. A name comes from a page in a browser.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use blobgate::Reason;
    use std::collections::BTreeSet;

    /// Every `blobgate-reason` that the shipped configuration sets has a text.
    #[test]
    fn has_each_code_of_a_route() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let set: BTreeSet<String> = ["envoy.yaml", "deploy/istio/envoyfilter.yaml"]
            .iter()
            .flat_map(|file| {
                let text = std::fs::read_to_string(root.join(file)).unwrap();
                let after = text.split("key: blobgate-reason, value: ").skip(1);
                after.map(|rest| rest.split('}').next().unwrap().to_owned()).collect::<Vec<_>>()
            })
            .filter(|code| Reason::parse(code).is_none())
            .collect();
        let codes: BTreeSet<String> = CODES.iter().map(|row| row.code.to_owned()).collect();
        assert_eq!(set, codes);
    }
}
