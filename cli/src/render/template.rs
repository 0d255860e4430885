//! The template of envoy.yaml. The repository's own file is the template with the values of a clone.

use super::context::EnvoyContext;
use super::scalar;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior};

const TEMPLATE: &str = include_str!("envoy.yaml.jinja");
/// The column of the comments behind the names of clusters.
const COMMENT_COLUMN: usize = 39;

/// An envoy.yaml. The template has every field of the context, so it cannot fail for one.
pub(super) fn envoy_yaml(context: &EnvoyContext) -> Result<String, Error> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    environment.set_syntax(syntax.build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("yaml".into()));
    environment.set_formatter(write_value);
    environment.add_filter("block", |text: &str| Value::from_safe_string(scalar::block_text(text)));
    environment.add_filter("comment", |text: &str| Value::from_safe_string(comment(text)));
    environment.add_filter("column", |port: u16| Value::from_safe_string(format!("{port:<6}")));
    environment.add_filter("padded", |name: &str| {
        Value::from_safe_string(format!("{:<COMMENT_COLUMN$}", scalar::text(name)))
    });
    environment.render_str(TEMPLATE, Serde(context))
}

fn write_value(out: &mut Output<'_>, _state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_safe() {
        return Ok(out.write_str(value.as_str().unwrap_or_default())?);
    }
    Ok(out.write_str(&scalar::flow(value)?)?)
}

/// A text that cannot end the line of a comment.
fn comment(text: &str) -> String {
    text.chars().map(|letter| if matches!(letter, ' '..='~') { letter } else { '?' }).collect()
}
