use super::*;

/// The repository's own file. `make reference` writes it.
#[test]
fn the_reference_envoy_yaml_is_rendered() {
    let rendered = template::envoy_yaml(&EnvoyContext::development()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy.yaml");
    if std::env::var("BLOBGATE_REFERENCE").is_ok_and(|mode| mode == "write") {
        std::fs::write(path, &rendered).unwrap();
    }
    let shipped = std::fs::read_to_string(path).unwrap();
    for (number, (rendered, shipped)) in rendered.lines().zip(shipped.lines()).enumerate() {
        assert_eq!(rendered, shipped, "line {} of envoy.yaml; `make reference` writes it", number + 1);
    }
    assert!(rendered == shipped, "envoy.yaml has other line ends; `make reference` writes it");
}
