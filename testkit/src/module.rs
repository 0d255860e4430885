//! The gate's module in a test's Envoy. `BLOBGATE_MODULE` chooses it, and this file alone reads that variable.

use super::bootstrap::each_value;
use super::{Version, repository};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A build of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateModule {
    /// The Wasm module.
    Wasm,
    /// The native module, an Envoy dynamic module.
    Native,
}

/// The type of the Wasm filter's configuration.
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
/// Gives the native module's counters the names of the Wasm module's.
pub const PLAIN_NAMES: &str = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix";
/// The first minor version of Envoy that loads the native module.
const FIRST_WITH_NATIVE: &str = "1.38";

impl GateModule {
    pub const BOTH: [Self; 2] = [Self::Wasm, Self::Native];

    /// The module in `BLOBGATE_MODULE`, `wasm` without it.
    #[track_caller]
    pub fn chosen() -> Self {
        match std::env::var("BLOBGATE_MODULE").as_deref() {
            Err(_) | Ok("" | "wasm") => Self::Wasm,
            Ok("native") => Self::Native,
            Ok(other) => panic!("BLOBGATE_MODULE is {other:?}. Set it to wasm or native."),
        }
    }

    /// Panics if the tests run with the other module. `reason` says why the test is about this one alone.
    #[track_caller]
    pub fn alone(self, reason: &str) {
        assert_eq!(Self::chosen(), self, "about one module alone: {reason}. Leave it out with --skip.");
    }

    /// Whether this Envoy can load the module.
    pub fn runs_on(self, version: &Version) -> bool {
        let minor = |name: &str| -> Vec<u32> {
            name.split('.').take(2).map_while(|number| number.parse().ok()).collect()
        };
        // A binary of the variable ENVOY has no number.
        self == Self::Wasm || !version.name.contains('.') || minor(&version.name) >= minor(FIRST_WITH_NATIVE)
    }

    /// The built module.
    #[track_caller]
    pub fn file(self) -> PathBuf {
        match self {
            Self::Wasm => built("target/wasm32-wasip1/release/blobgate.wasm", "make build"),
            Self::Native => built("target/native/libblobgate.so", "make native"),
        }
    }

    /// The module with the feature `crash-test`: it panics on the request header `x-crash-test`.
    #[track_caller]
    pub fn crashing_file(self) -> PathBuf {
        match self {
            Self::Wasm => {
                built("target/crash-test/wasm32-wasip1/release/blobgate.wasm", "make build-crash-test")
            }
            Self::Native => built("target/crash-test/native/libblobgate.so", "make native-crash-test"),
        }
    }

    /// The type of the filter's configuration.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Wasm => WASM,
            Self::Native => NATIVE_PARTS["filter"]["typed_config"]["@type"].as_str().unwrap(),
        }
    }

    /// Puts this module into each filter of the gate, which is the Wasm filter. `file` is the module.
    pub fn apply(self, json: &mut Value, file: &Path) {
        each_value(json, &mut |value| match self {
            Self::Wasm => {
                if value["filename"].as_str().is_some_and(|name| name.ends_with("blobgate.wasm")) {
                    value["filename"] = json!(file);
                }
            }
            Self::Native => {
                if value["name"] == "blobgate" && value["typed_config"]["@type"] == WASM {
                    let gate = value["typed_config"]["config"]["configuration"].take();
                    value["typed_config"] = Self::native_filter(gate, file);
                }
            }
        });
    }

    /// The configuration of the shipped native filter, with this configuration of the gate.
    fn native_filter(gate: Value, file: &Path) -> Value {
        let mut filter = NATIVE_PARTS["filter"]["typed_config"].clone();
        let place = &mut filter["dynamic_module_config"]["module"]["local"]["filename"];
        assert!(place.is_string(), "deploy/native/filter.yaml names the module's file");
        *place = json!(file);
        assert!(
            filter["filter_config"].is_object(),
            "deploy/native/filter.yaml has the gate's configuration"
        );
        filter["filter_config"] = gate;
        filter
    }

    /// The runtime keys of this module.
    pub(super) fn runtime(self) -> Map<String, Value> {
        match self {
            Self::Wasm => Map::new(),
            Self::Native => NATIVE_PARTS["static_layer"].as_object().unwrap().clone(),
        }
    }
}

/// The shipped parts of a configuration with the native module.
static NATIVE_PARTS: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(repository("deploy/native/filter.yaml")).unwrap();
    serde_saphyr::from_str(&text).expect("deploy/native/filter.yaml is YAML")
});

/// The Wasm module under test.
#[track_caller]
pub fn module() -> PathBuf {
    GateModule::Wasm.file()
}

#[track_caller]
fn built(path: &str, verb: &str) -> PathBuf {
    let module = repository(path);
    assert!(module.is_file(), "There is no {path}: run `{verb}`.");
    module
}
