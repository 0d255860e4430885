//! `POST /v1/veo/generate`.

mod form;
mod images;

use super::lifecycle::Sandbox;
use super::script::Script;
use super::{detail, report};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use form::{FieldError, Form};
use reqwest::Url;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The fields of an order that change something here.
pub(super) struct GenerationOrder {
    pub(super) prompt: String,
    pub(super) seed: Option<u64>,
    pub(super) callback_url: Option<Url>,
    pub(super) script: Script,
}

/// The reason of a refused order.
enum OrderRefusal {
    /// Undocumented values: 422, with a list as on the provider's pages.
    Fields(Vec<FieldError>),
    /// Fields that exclude each other, or a wrong image: 400.
    Order(&'static str),
}

/// The price on the provider's page.
const PRICE: &str = "0.2500";

pub(super) async fn generate(State(provider): State<Arc<Sandbox>>, body: Bytes) -> Response {
    let order = match parse(&body) {
        Ok(order) => order,
        Err(refusal) => return refusal.into_response(),
    };
    let generation = provider.start(order);
    let accepted = OrderAnswer {
        generation_id: generation.generation_id,
        status: "pending",
        seed: generation.seed,
        price: PRICE,
    };
    (StatusCode::CREATED, Json(accepted)).into_response()
}

#[derive(Serialize)]
struct OrderAnswer {
    generation_id: String,
    status: &'static str,
    seed: u64,
    price: &'static str,
}

/// Parses the documented fields, and ignores others, as the provider's framework does.
fn parse(body: &[u8]) -> Result<GenerationOrder, OrderRefusal> {
    let fields: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| OrderRefusal::Fields(vec![FieldError::of_body(&error)]))?;
    let mut form = Form::new(&fields);
    let prompt = form.prompt();
    let seed = form.number("seed", 0..=1_000_000_000);
    // Two versions of the provider's page have different names for the model and different rules for texts.
    let model = form.choice("model", &MODELS).or(form.choice("model_type", &MODELS));
    form.choice("aspect_ratio", &["16:9", "9:16"]);
    form.choice("filter_text", &["moderate", "translate", "moderate_translate"]);
    form.text("watermark_text", 3..=14);
    let callback_url = form.callback_url();
    let script = form.script();
    match (prompt, form.errors) {
        (Some(prompt), errors) if errors.is_empty() => {
            images::check(&fields, model.unwrap_or(FAST)).map_err(OrderRefusal::Order)?;
            Ok(GenerationOrder { prompt, seed, callback_url, script })
        }
        (_, errors) => Err(OrderRefusal::Fields(errors)),
    }
}

const FAST: &str = "veo-3-fast";
const MODELS: [&str; 2] = [FAST, "veo-3-quality"];

impl IntoResponse for OrderRefusal {
    fn into_response(self) -> Response {
        match self {
            Self::Fields(errors) => {
                let first = errors.first().map(FieldError::line).unwrap_or_default();
                report("refused", "-", format_args!("422 {first}"));
                detail(StatusCode::UNPROCESSABLE_ENTITY, errors)
            }
            Self::Order(why) => {
                report("refused", "-", format_args!("400 {why}"));
                detail(StatusCode::BAD_REQUEST, why)
            }
        }
    }
}
