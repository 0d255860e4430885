//! The problem document of a request that fails, and the one table of its codes.

use serde::{Deserialize, Serialize};

/// The body of an answer that is not 2xx: a problem document of RFC 9457 with the member `code`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// The place of the code in the documentation.
    pub r#type: String,
    /// The sentence of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub code: String,
    /// The failure of this request, its cause and the remedy.
    pub detail: String,
}

macro_rules! problem_codes {
    ($($name:ident $code:literal $status:literal $title:literal)*) => {
        /// Why the admin listener refuses a request, or fails. A row of the table in this file.
        ///
        /// ```
        /// use blobgate_inbox::service::ProblemCode;
        ///
        /// assert_eq!(ProblemCode::EntryUnknown.code(), "entry-unknown");
        /// assert_eq!(ProblemCode::EntryUnknown.status(), 404);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ProblemCode { $(
            #[doc = $title]
            $name,
        )* }

        impl ProblemCode {
            /// Every code, in the order of the table.
            pub const ALL: &[ProblemCode] = &[$(ProblemCode::$name,)*];

            /// The member `code`, and the anchor in the documentation.
            pub const fn code(self) -> &'static str {
                match self { $(ProblemCode::$name => $code,)* }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(ProblemCode::$name => $status,)* }
            }

            /// The member `title`: one sentence, the same for every request.
            pub const fn title(self) -> &'static str {
                match self { $(ProblemCode::$name => $title,)* }
            }
        }
    };
}

problem_codes! {
    BodyInvalid          "body-invalid"          400 "The body is not the JSON that this endpoint takes."
    RequestInvalid       "request-invalid"       400 "A value of the request is wrong."
    ConfigurationInvalid "configuration-invalid" 400 "The gate's configuration cannot be loaded, or a reason cannot be waived."
    TokenInvalid         "token-invalid"         401 "The request does not contain an admin token."
    RoleDenied           "role-denied"           403 "The admin token does not have the role that this endpoint needs."
    HostDenied           "host-denied"           403 "Without an admin token, the Host header must be an IP address or localhost."
    ContentTypeDenied    "content-type-denied"   403 "Without an admin token, the content type of a change must be application/json."
    EndpointUnknown      "endpoint-unknown"      404 "No endpoint has this path."
    MethodDenied         "method-denied"         405 "The endpoint does not have this method."
    EntryUnknown         "entry-unknown"         404 "The store has no such entry."
    PauseUnknown         "pause-unknown"         404 "The store has no such pause."
    ActionUnknown        "action-unknown"        404 "The caller has begun no such action in the last 12 hours."
    JobConflict          "job-conflict"          409 "The generation is already announced with another job."
    ReleaseRefused       "release-refused"       409 "The entry cannot be released as this event."
    ProviderMissing      "provider-missing"      409 "This inbox runs without a status API."
    BodyTooLarge         "body-too-large"        413 "The body is larger than the endpoint takes."
    NotReleased          "not-released"          503 "An entry could not be released now. Repeat the request later."
    VersionTooOld        "version-too-old"       503 "The store contains a value of a newer version. Use that version."
    StoreTimeout         "store-timeout"         503 "The store did not answer in time. The request may have taken effect; repeating it is safe."
    StoreReplaced        "store-replaced"        503 "The store's files were removed or replaced. The inbox no longer uses them."
    StoreFailing         "store-failing"         503 "The store failed. Repeat the request later."
}

impl ProblemCode {
    /// The problem document of one request. `docs` is the base URL of the documentation.
    pub(crate) fn document(self, docs: &str, detail: String) -> ProblemDocument {
        ProblemDocument {
            r#type: format!("{docs}/reference/inbox-api.html#{}", self.code()),
            title: self.title().to_owned(),
            status: self.status(),
            code: self.code().to_owned(),
            detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_code_is_unique_and_has_a_sentence() {
        let codes: BTreeSet<_> = ProblemCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes.len(), ProblemCode::ALL.len());
        for code in ProblemCode::ALL {
            assert!(code.title().ends_with('.') && (400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn writes_the_place_in_the_documentation() {
        let document = ProblemCode::EntryUnknown.document("https://docs.example", "no".to_owned());
        let json = serde_json::to_value(&document).unwrap();
        let expected = serde_json::json!({
            "type": "https://docs.example/reference/inbox-api.html#entry-unknown",
            "title": "The store has no such entry.", "status": 404, "code": "entry-unknown", "detail": "no",
        });
        assert_eq!(json, expected);
    }
}
