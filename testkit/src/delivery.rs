//! A request to the gate, valid or not.

use serde_json::{Value, json};

/// By default a POST to `/webhook` with a JSON body. The same over both protocols.
#[derive(Clone, Debug)]
pub struct TestDelivery {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    /// The pieces of the body. Each is one write: over HTTP/2 a DATA frame, over HTTP/1.1 without a length a chunk.
    pub pieces: Vec<Vec<u8>>,
    pub length: Length,
    pub ending: RequestEnding,
}

/// The body's length in the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Declared,
    /// `transfer-encoding: chunked` over HTTP/1.1, no `content-length` over HTTP/2.
    Undeclared,
    /// This `content-length`, whatever the body.
    Claimed(u64),
}

/// The end of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEnding {
    /// The last piece, or the head if there is no piece.
    Last,
    /// HTTP/2: an empty DATA frame.
    EmptyFrame,
    /// These trailers.
    Trailers(Vec<(String, Vec<u8>)>),
    /// The request does not end.
    Open,
}

/// The generation of all samples.
pub const GENERATION: &str = "ffd473d5-5bef-4e14-bf22-8d559be3c19f";
/// The prompt of all samples.
pub const PROMPT: &str = "A cat playing with a ball in a sunny room";

impl TestDelivery {
    /// The provider's `completed` sample.
    pub fn completed() -> Self {
        Self::json(&payload("completed", json!("https://cdn.runblob.io/videos/your-video.mp4"), json!(null)))
    }

    /// The provider's `failed` sample.
    pub fn failed() -> Self {
        Self::json(&payload("failed", json!(null), json!({"message": "UNSAFE_CONTENT", "details": {}})))
    }

    /// The provider's `timeout` sample.
    pub fn timeout() -> Self {
        Self::json(&payload("failed", json!(null), json!({"message": "TIMEOUT", "details": {}})))
    }

    /// A `completed` whose prompt pads the body to this many bytes.
    pub fn completed_of(bytes: usize) -> Self {
        let shortest = Self::completed().body().len() - PROMPT.len();
        let mut payload: Value = serde_json::from_slice(&Self::completed().body()).unwrap();
        payload["prompt"] = json!("p".repeat(bytes.checked_sub(shortest).unwrap()));
        let delivery = Self::json(&payload);
        assert_eq!(delivery.body().len(), bytes);
        delivery
    }

    pub fn json(payload: &Value) -> Self {
        Self::of(payload.to_string())
    }

    /// A delivery with this body.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST".to_owned(),
            path: "/webhook".to_owned(),
            headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
            pieces: vec![body.into()],
            length: Length::Declared,
            ending: RequestEnding::Last,
        }
    }

    /// No body: `content-length: 0` over HTTP/1.1, END_STREAM on the head over HTTP/2.
    pub fn without_body() -> Self {
        Self { pieces: Vec::new(), ..Self::of("") }
    }

    pub fn method(self, method: &str) -> Self {
        Self { method: method.to_owned(), ..self }
    }

    pub fn path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// Adds a header. Names may repeat.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self
    }

    /// Cuts the body into pieces of this many bytes.
    pub fn pieces_of(mut self, bytes: usize) -> Self {
        self.pieces = self.body().chunks(bytes).map(<[u8]>::to_vec).collect();
        self
    }

    pub fn length(self, length: Length) -> Self {
        Self { length, ..self }
    }

    pub fn undeclared(self) -> Self {
        self.length(Length::Undeclared)
    }

    pub fn ending(self, ending: RequestEnding) -> Self {
        Self { ending, ..self }
    }

    /// Ends with trailers; over HTTP/1.1 after chunks.
    pub fn trailers(self) -> Self {
        self.undeclared().ending(RequestEnding::Trailers(vec![("x-trailer".to_owned(), b"1".to_vec())]))
    }

    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

fn payload(status: &str, video_url: Value, error: Value) -> Value {
    json!({
        "generation_id": GENERATION,
        "status": status,
        "prompt": PROMPT,
        "video_url": video_url,
        "created_at": "2025-12-06T21:43:03.374000",
        "completed_at": "2025-12-06T21:44:06.143000",
        "seed": 319_790_131,
        "error": error
    })
}
