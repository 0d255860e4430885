//! Checks the images of an order.

use super::FAST;
use serde_json::{Map, Value};

/// "max 20 MB" of the page on generating, in base64: 4 bytes for 3.
const MAX_IMAGE: usize = (20 << 20) / 3 * 4;
/// The first bytes of JPEG, PNG and WEBP, in base64.
const FORMATS: [&str; 3] = ["/9j/", "iVBORw0KGgo", "UklGR"];

/// The four modes of the page on generating exclude each other: text, image, frame to frame, references.
pub(super) fn check(fields: &Map<String, Value>, model: &str) -> Result<(), &'static str> {
    let given = |name| fields.get(name).filter(|value: &&Value| !value.is_null());
    let (start, end) = (given("start_frame"), given("end_frame"));
    if start.is_some() != end.is_some() {
        return Err("Both start_frame and end_frame are required");
    }
    let (image, references) = (given("bytes_image"), given("reference_images"));
    if [image, start, references].into_iter().flatten().count() > 1 {
        return Err(
            "Only one of bytes_image, start_frame with end_frame, and reference_images can be provided",
        );
    }
    let references = match references.map(Value::as_array) {
        None => &[],
        Some(Some(images)) if (1..=3).contains(&images.len()) => images.as_slice(),
        Some(_) => return Err("reference_images takes 1 to 3 images"),
    };
    if !references.is_empty() && model != FAST {
        return Err("reference_images is for veo-3-fast only");
    }
    [image, start, end].into_iter().flatten().chain(references).try_for_each(check_image)
}

fn check_image(image: &Value) -> Result<(), &'static str> {
    let is_base64 = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'/' | b'=');
    match image.as_str() {
        Some(text) if text.len() > MAX_IMAGE => Err("IMAGE_TOO_LARGE"),
        Some(text) if text.is_empty() || !text.bytes().all(is_base64) => Err("INVALID_IMAGE"),
        Some(text) if !FORMATS.iter().any(|format| text.starts_with(format)) => {
            Err("UNSUPPORTED_IMAGE_FORMAT")
        }
        Some(_) => Ok(()),
        None => Err("INVALID_IMAGE"),
    }
}
