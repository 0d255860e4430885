//! Stage 8: reads a payload as one event. A dialect is the form of one product's webhook, and has a file.

use crate::event::{Claim, Drift, GenerationId, InvalidPayload};
#[cfg(not(target_family = "wasm"))]
use crate::event::{Event, Kind};
use crate::json::{KnownKeys, Value};
use crate::request::BODY;
use crate::settings::{ConfigError, Node};
use crate::violation::Detail;
use crate::{Reason, Violation};

/// The table of dialects. Each names its module, which has the functions that [`Dialect`] calls.
macro_rules! dialects {
    ($($(#[$doc:meta])* $variant:ident = $module:ident $name:literal,)*) => {
        $(pub mod $module;)*

        /// The form of a product's webhook.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Dialect {
            $($(#[$doc])* $variant,)*
        }

        impl Dialect {
            /// Every dialect.
            pub const ALL: &[Dialect] = &[$(Dialect::$variant),*];

            /// The name in the configuration and in `blobgate-dialect`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Dialect::$variant => $name,)*
                }
            }

            /// The keys of the dialect's payloads.
            pub const fn known(self) -> KnownKeys {
                match self {
                    $(Dialect::$variant => $module::KNOWN,)*
                }
            }

            /// Reads a payload.
            ///
            /// # Errors
            /// [`InvalidPayload`] where a required field is missing or has another type.
            ///
            /// ```
            /// use blobgate::contract::Kind;
            /// use blobgate::dialect::Dialect;
            /// use blobgate::json;
            ///
            /// let body = br#"{"generation_id": "ffd473d5-5bef-4e14-bf22-8d559be3c19f", "status": "failed",
            ///     "error": {"message": "TIMEOUT", "details": {}}}"#;
            /// let payload = json::parse(body, 16, Dialect::Veo3.known()).unwrap();
            /// let claim = Dialect::Veo3.read(&payload).unwrap();
            /// assert_eq!(claim.kind, Kind::Timeout);
            /// assert!(claim.drift.names().contains(&"video_url"));
            /// ```
            pub fn read<'a>(self, payload: &'a Value<'_>) -> Result<Claim<'a>, InvalidPayload> {
                match self {
                    $(Dialect::$variant => $module::read(payload),)*
                }
            }

            /// The field with the result URL, for a detail.
            pub(crate) const fn result_field(self) -> &'static str {
                match self {
                    $(Dialect::$variant => $module::RESULT_FIELD,)*
                }
            }

            /// The prompt of a payload. A token can be bound to it.
            pub fn prompt<'a>(self, payload: &'a Value<'_>) -> Option<&'a str> {
                match self {
                    $(Dialect::$variant => $module::prompt(payload),)*
                }
            }

            /// The path of a generation in the provider's status API.
            pub fn status_path(self, id: GenerationId) -> String {
                match self {
                    $(Dialect::$variant => $module::status_path(id),)*
                }
            }

            /// Whether a response of the status API shows a generation in progress.
            pub fn is_still_working(self, answer: &Value<'_>) -> bool {
                match self {
                    $(Dialect::$variant => $module::is_still_working(answer),)*
                }
            }

            /// Whether the body of a 404 means that the provider has no such generation. A 404 for an unknown path, from a proxy
            /// or from a maintenance page does not.
            pub fn is_no_such_generation(self, answer: &Value<'_>) -> bool {
                match self {
                    $(Dialect::$variant => $module::is_no_such_generation(answer),)*
                }
            }
        }

        /// For the inbox, which also handles payloads that the gate cannot read.
        #[cfg(not(target_family = "wasm"))]
        impl Dialect {
            /// A dialect by its name.
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|dialect| dialect.name() == name)
            }

            /// Makes the body of a webhook from a response of the status API and its event.
            pub(crate) fn webhook(self, event: &Event, answer: &[u8]) -> Option<Vec<u8>> {
                match self {
                    $(Dialect::$variant => $module::webhook(event, answer),)*
                }
            }

            /// The generation of a payload of any form, also inside an envelope.
            pub fn generation(self, payload: &Value<'_>) -> Option<GenerationId> {
                match self {
                    $(Dialect::$variant => $module::generation(payload),)*
                }
            }

            /// The unchecked result URL of a payload of any form, also inside an envelope.
            pub fn result_url<'a>(self, payload: &'a Value<'_>) -> Option<&'a str> {
                match self {
                    $(Dialect::$variant => $module::result_url(payload),)*
                }
            }

            /// The event that a person makes of a payload of any form. Its fields are unchecked.
            pub fn event_as(self, payload: &Value<'_>, kind: Kind, generation_id: GenerationId) -> Event {
                match self {
                    $(Dialect::$variant => $module::event_as(payload, kind, generation_id),)*
                }
            }
        }
    };
}

dialects! {
    /// RunBlob's Veo3, as docs.runblob.io documents it.
    Veo3 = veo3 "veo3",
}

impl Dialect {
    /// The values of a hook's `dialect`.
    pub(crate) fn names() -> String {
        Self::ALL.iter().map(|dialect| dialect.name()).collect::<Vec<_>>().join(" or ")
    }

    pub(crate) fn words() -> Vec<(&'static str, Self)> {
        Self::ALL.iter().map(|dialect| (dialect.name(), *dialect)).collect()
    }

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(&Self::words())
    }
}

/// Whether drift refuses a payload (`schema`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// The gate accepts the payload and reports its drift.
    Tolerant,
    /// The gate refuses the payload.
    Strict,
}

impl Schema {
    pub(crate) const WORDS: &[(&str, Self)] = &[("tolerant", Schema::Tolerant), ("strict", Schema::Strict)];

    /// Decides on drift.
    ///
    /// # Errors
    /// [`Reason::SchemaInvalid`] for any drift with a strict schema.
    pub fn check(self, drift: &Drift) -> Result<(), Violation> {
        let detail = match (self, drift.names()) {
            (Schema::Tolerant, _) | (Schema::Strict, []) => return Ok(()),
            (Schema::Strict, [Drift::UNKNOWN_KEYS, ..]) => Detail::new(
                BODY,
                "has an undocumented key",
                "only documented keys, because the schema is strict",
            ),
            (Schema::Strict, [field, ..]) => Detail::new(
                field,
                "is not as documented",
                "the documented form, because the schema is strict",
            ),
        };
        Err(detail.of(Reason::SchemaInvalid))
    }

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(Self::WORDS)
    }
}
