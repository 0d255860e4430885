//! The page's own style and script. Their paths contain their digest, so a browser may store them.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::LazyLock;

struct Asset {
    /// Its name and its digest.
    name: String,
    content_type: &'static str,
    text: &'static str,
}

/// The paths of the assets, for templates.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AssetPaths {
    style: String,
    script: String,
    icon: String,
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("page", "css", "text/css; charset=utf-8", include_str!("assets/page.css")));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("live", "js", "text/javascript; charset=utf-8", include_str!("assets/live.js"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

impl Asset {
    fn new(name: &str, extension: &str, content_type: &'static str, text: &'static str) -> Self {
        use sha2::{Digest, Sha256};
        let mut digest = hex::encode(Sha256::digest(text));
        digest.truncate(12);
        Self { name: format!("{name}.{digest}.{extension}"), content_type, text }
    }

    fn path(&self) -> String {
        format!("/page/assets/{}", self.name)
    }
}

pub(super) fn paths() -> AssetPaths {
    AssetPaths { style: STYLE.path(), script: SCRIPT.path(), icon: ICON.path() }
}

pub(super) async fn show(Path(name): Path<String>) -> Response {
    const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
    let Some(asset) = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::CACHE_CONTROL, FOREVER),
    ];
    (headers, asset.text).into_response()
}
