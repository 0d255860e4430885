//! Stage 8: a payload becomes one event. A dialect is the shape of one product's webhook, a file each.

use crate::Reason;
use crate::event::{Claim, Drift, GenerationId, InvalidPayload};
#[cfg(not(target_family = "wasm"))]
use crate::event::{Event, Kind};
use crate::json::{KnownKeys, Value};
use crate::settings::{ConfigError, Node};
use std::fmt;

/// A line for each dialect, and a module of that name with everything that [`Dialect`] takes from it.
macro_rules! dialects {
    ($($(#[$doc:meta])* $variant:ident = $module:ident $name:literal,)*) => {
        $(pub mod $module;)*

        /// The shape of a product's webhook.
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

            /// The keys that the dialect knows.
            pub const fn known(self) -> KnownKeys {
                match self {
                    $(Dialect::$variant => $module::KNOWN,)*
                }
            }

            /// Reads a payload. `Err` where a load-bearing field is missing or of another type.
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

            /// The prompt of a payload, to which a token can be bound.
            pub fn prompt<'a>(self, payload: &'a Value<'_>) -> Option<&'a str> {
                match self {
                    $(Dialect::$variant => $module::prompt(payload),)*
                }
            }

            /// The path at which the provider's status API tells about a generation.
            pub fn status_path(self, id: GenerationId) -> String {
                match self {
                    $(Dialect::$variant => $module::status_path(id),)*
                }
            }

            /// Whether an answer of the status API says that the generation has not ended.
            pub fn is_still_working(self, answer: &Value<'_>) -> bool {
                match self {
                    $(Dialect::$variant => $module::is_still_working(answer),)*
                }
            }

            /// Whether the body of a 404 says that the provider knows no such generation. A path that the provider does not
            /// serve, a proxy or a maintenance page says nothing about a generation.
            pub fn is_no_such_generation(self, answer: &Value<'_>) -> bool {
                match self {
                    $(Dialect::$variant => $module::is_no_such_generation(answer),)*
                }
            }
        }

        /// For the inbox, which reads what the gate could not.
        #[cfg(not(target_family = "wasm"))]
        impl Dialect {
            /// A dialect by its name.
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|dialect| dialect.name() == name)
            }

            /// The webhook's body that the provider would have sent, by an answer of its status API and the event in it.
            pub(crate) fn webhook(self, event: &Event, answer: &[u8]) -> Option<Vec<u8>> {
                match self {
                    $(Dialect::$variant => $module::webhook(event, answer),)*
                }
            }

            /// The first field that keeps a payload from being an event.
            pub fn violation(self, payload: &Value<'_>) -> Option<Violation> {
                match self {
                    $(Dialect::$variant => $module::violation(payload),)*
                }
            }

            /// The generation that a payload names, of any form, in an envelope too.
            pub fn generation(self, payload: &Value<'_>) -> Option<GenerationId> {
                match self {
                    $(Dialect::$variant => $module::generation(payload),)*
                }
            }

            /// Where the result of a payload is, of any form, in an envelope too. It is not checked.
            pub fn result_url<'a>(self, payload: &'a Value<'_>) -> Option<&'a str> {
                match self {
                    $(Dialect::$variant => $module::result_url(payload),)*
                }
            }

            /// The event that a person says a payload of any form is. Nothing in it is checked.
            pub fn event_as(self, payload: &Value<'_>, kind: Kind, generation_id: GenerationId) -> Event {
                match self {
                    $(Dialect::$variant => $module::event_as(payload, kind, generation_id),)*
                }
            }
        }
    };
}

dialects! {
    /// RunBlob's Veo3, as docs.runblob.io shows it.
    Veo3 = veo3 "veo3",
}

impl Dialect {
    /// What a configuration may name.
    pub(crate) fn names() -> String {
        Self::ALL.iter().map(|dialect| dialect.name()).collect::<Vec<_>>().join(" or ")
    }

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(&Self::ALL.iter().map(|dialect| (dialect.name(), *dialect)).collect::<Vec<_>>())
    }
}

/// A field that keeps a payload from being an event. It shows no value of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key, or `body`.
    pub field: &'static str,
    /// What is there.
    pub found: Mismatch,
    /// What the provider documents.
    pub expected: &'static str,
}

/// What is in the place of a documented field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// No such key.
    Missing,
    /// A number where a text belongs, say.
    OtherType,
    /// A text of another form, say.
    OtherValue,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = match self.found {
            Mismatch::Missing => "is missing",
            Mismatch::OtherType => "has another type",
            Mismatch::OtherValue => "has another value",
        };
        write!(f, "field `{}` {found}, expected {}", self.field, self.expected)
    }
}

/// What to do with a payload that is not quite as documented (`schema`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Let it through, and name what drifted.
    Tolerant,
    /// Refuse it.
    Strict,
}

impl Schema {
    /// Decides on drift.
    ///
    /// # Errors
    /// [`Reason::SchemaInvalid`] for any drift where the schema is strict.
    pub fn check(self, drift: &Drift) -> Result<(), Reason> {
        match self {
            Schema::Strict if !drift.is_empty() => Err(Reason::SchemaInvalid),
            _ => Ok(()),
        }
    }

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(&[("tolerant", Schema::Tolerant), ("strict", Schema::Strict)])
    }
}
