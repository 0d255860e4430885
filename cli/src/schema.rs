//! `blobgate schema`: the configuration of the gate as JSON Schema, for editors.

use crate::output;
use anyhow::Result;
use blobgate::config;
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// Print the JSON Schema of the gate's configuration, for an editor
///
/// An editor that knows the schema completes keys, shows what they mean, and marks mistakes. Some mistakes need more than a
/// schema: `blobgate check` finds these too.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The kind of file that the editor opens
    #[arg(long = "for", value_name = "KIND", default_value = "gate")]
    file: SchemaFile,
}

/// A kind of file that contains a configuration.
#[derive(Clone, Copy, ValueEnum)]
enum SchemaFile {
    /// The configuration alone
    Gate,
    /// An envoy.yaml or a Kubernetes manifest with the gate's filter
    Envoy,
}

const EXAMPLES: &str = "\
Examples:
  blobgate schema --for envoy > blobgate.schema.json    # for an envoy.yaml

The first line of the file then names the schema for the YAML extension:
  # yaml-language-server: $schema=blobgate.schema.json";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let schema = match args.file {
        SchemaFile::Gate => config::schema(),
        SchemaFile::Envoy => anywhere(config::schema()),
    };
    output::print_json(format_args!("{schema:#}"));
    Ok(ExitCode::SUCCESS)
}

/// The keys of the configuration in the filters of the Wasm module and of the native module.
const KEYS: [&str; 2] = ["configuration", "filter_config"];

/// The schema of a file with the configuration anywhere in it, as the `value` of a filter's configuration. It allows
/// everything else: Envoy has schemas of its own.
fn anywhere(configuration: Value) -> Value {
    let Value::Object(mut configuration) = configuration else { return configuration };
    let part = json!({ "$ref": "#/$defs/part" });
    let with = |key: &str, value: Value| {
        let filter = json!({"type": "object", "required": ["value"], "properties": {"value": value}});
        json!({"required": [key], "properties": {key: filter}})
    };
    let gate = json!({"type": "object", "anyOf": [{"required": ["hooks"]}, {"required": ["environment"]}]});
    let of_key = |key| {
        json!({
            "if": with(key, gate.clone()),
            "then": with(key, json!({ "$ref": "#/$defs/configuration" })),
        })
    };
    let part_schema = json!({
        "items": part,
        "additionalProperties": part,
        "allOf": KEYS.map(of_key),
    });
    let dialect = configuration.remove("$schema");
    let mut defs = match configuration.remove("$defs") {
        Some(Value::Object(defs)) => defs,
        _ => Map::new(),
    };
    defs.insert("configuration".to_owned(), configuration.into());
    defs.insert("part".to_owned(), part_schema);
    json!({
        "$schema": dialect,
        "title": "A file with the configuration of Blobgate's gate",
        "$ref": "#/$defs/part",
        "$defs": defs,
    })
}
