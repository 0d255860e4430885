//! The effect of a violation: for a whole hook, for one check, and for an authenticated sender.

#[cfg(not(target_family = "wasm"))]
use crate::settings::ValueForm;
use crate::settings::{ConfigError, Node, keys};

keys! {
    /// Single checks of a hook that only observe: the gate lets a violation through, and names its reason in
    /// `blobgate-observed`.
    "hooks[].checks": KEYS, section {
        /// The client address.
        "source": ValueForm::words(Check::WORDS) => "`enforce`";
        /// The host of the result.
        "result_url": ValueForm::words(Check::WORDS) => "`enforce`";
        /// The trust rule. `observe` accepts every valid delivery, and never calls the status API. It quarantines an invalid
        /// delivery from an authenticated sender, and refuses others.
        "trust": ValueForm::words(Check::WORDS) => "`enforce`";
        /// The prompt that a token is bound to by its claim `ph`. The provider may send another wording: observe first.
        "prompt": Check::prompt_form() => "`off`";
    }
}

/// The effect of a hook's violations (`mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A violation refuses the delivery.
    Enforce,
    /// The gate forwards every delivery, with its verdict in headers.
    Observe,
}

/// The effect of an authenticated sender's violation (`quarantine`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// The gate forwards the delivery as quarantined. The sender gets 200 once it is stored.
    Route,
    /// The gate refuses the delivery, as it does for an unauthenticated sender.
    None,
}

/// The effect of one check (`checks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A violation refuses the delivery.
    Enforce,
    /// The gate names a violation in `blobgate-observed`.
    Observe,
    /// The check does not run. Only the prompt's check can be off.
    Off,
}

/// The checks with a setting of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// The allowlist.
    pub source: Check,
    /// The result URL.
    pub result_url: Check,
    /// The trust rule.
    pub trust: Check,
    /// The prompt that a token is bound to.
    pub prompt: Check,
}

impl Mode {
    pub(crate) const WORDS: &[(&str, Self)] = &[("enforce", Mode::Enforce), ("observe", Mode::Observe)];

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(Self::WORDS)
    }
}

impl Quarantine {
    pub(crate) const WORDS: &[(&str, Self)] = &[("route", Quarantine::Route), ("none", Quarantine::None)];

    pub(crate) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(Self::WORDS)
    }
}

impl Checks {
    pub(crate) const DEFAULT: Self = Self {
        source: Check::Enforce,
        result_url: Check::Enforce,
        trust: Check::Enforce,
        prompt: Check::Off,
    };

    pub(crate) fn parse(node: &Node<'_>, takes_token: bool) -> Result<Self, ConfigError> {
        let fields = node.fields(KEYS, "an object with some of source, result_url, trust and prompt")?;
        let check = |key: &str| fields.optional(key).map_or(Ok(Check::Enforce), |node| Check::parse(&node));
        let prompt = match fields.optional("prompt") {
            // YAML reads an unquoted `off` as the boolean false.
            Some(node) if node.is_false() => Check::Off,
            Some(node) => match (node.one_of(Check::PROMPT_WORDS)?, takes_token) {
                (Check::Enforce | Check::Observe, false) => {
                    return Err(node.conflict("needs a token, and the path takes none", "off"));
                }
                (check, _) => check,
            },
            None => Check::Off,
        };
        Ok(Self {
            source: check("source")?,
            result_url: check("result_url")?,
            trust: check("trust")?,
            prompt,
        })
    }
}

impl Check {
    const WORDS: &[(&str, Self)] = &[("enforce", Check::Enforce), ("observe", Check::Observe)];
    const PROMPT_WORDS: &[(&str, Self)] =
        &[("enforce", Check::Enforce), ("observe", Check::Observe), ("off", Check::Off)];

    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        node.one_of(Self::WORDS)
    }

    /// Also false: YAML reads an unquoted `off` so.
    #[cfg(not(target_family = "wasm"))]
    fn prompt_form() -> ValueForm {
        let words = ValueForm::words(Self::PROMPT_WORDS);
        let written = words.written.clone();
        words.or(ValueForm::exactly(false.into())).written(written)
    }
}
