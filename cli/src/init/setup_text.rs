//! The text of a new setup file, and its check by the loader of setup files.

use super::{CERTIFICATE, CERTIFICATE_KEY};
use crate::setup::{ModuleKind, SETUP_FILE, Setup, SetupFault};
use std::net::IpAddr;

/// What a new setup file has. The texts are as a person wrote them.
#[derive(Clone)]
pub(super) struct SetupDraft {
    pub(super) host: String,
    /// `None`: the default for the host.
    pub(super) listen: Option<String>,
    /// `None`: the default for the host.
    pub(super) environment: Option<String>,
    pub(super) hook: String,
    /// The path at the service.
    pub(super) path: String,
    pub(super) has_api_key: bool,
    pub(super) kid: String,
    pub(super) service: String,
    /// `None`: the same service.
    pub(super) failed_service: Option<String>,
    pub(super) store: String,
    pub(super) run: String,
    pub(super) module: ModuleKind,
}

/// The default of `run` in setup files.
pub(super) const RUN: &str = "run";

impl SetupDraft {
    /// Whether the host is a name or an address of this machine alone.
    pub(super) fn is_local(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The names of a certificate for the host.
    pub(super) fn certificate_names(&self) -> Vec<String> {
        let mut names = vec![self.host.to_ascii_lowercase()];
        if self.is_local() {
            names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
            names.sort();
            names.dedup();
        }
        names
    }

    /// The lines of `.gitignore`: secrets, and what programs write.
    pub(super) fn ignored(&self) -> Vec<String> {
        let mut lines = vec!["/secrets/".to_owned(), "/certs/*-key.pem".to_owned()];
        // A pattern with other characters could match other files.
        let is_plain = |path: &str| {
            !path.is_empty()
                && path.chars().all(|it| it.is_ascii_alphanumeric() || "._-/".contains(it))
                && !path.starts_with(['/', '.'])
        };
        if is_plain(&self.run) {
            lines.push(format!("/{}/", self.run.trim_end_matches('/')));
        }
        if let Some(store) = self.store.strip_prefix("sqlite:").filter(|path| is_plain(path)) {
            // SQLite has files beside it.
            lines.push(format!("/{store}*"));
        }
        lines
    }

    /// Loads the text as `blobgate up` does. Returns the first fault.
    pub(super) fn check(&self) -> Result<Setup, SetupFault> {
        Setup::parse(SETUP_FILE.as_ref(), &self.text()).map_err(|faults| {
            let first = faults.into_iter().next();
            first.unwrap_or_else(|| SetupFault {
                line: 0,
                column: 0,
                field: String::new(),
                wrong: "the setup does not load".to_owned(),
                remedy: "pass other options".to_owned(),
            })
        })
    }

    pub(super) fn text(&self) -> String {
        let listen = match (&self.listen, self.is_local()) {
            (Some(listen), _) => listen.as_str(),
            (None, true) => "127.0.0.1:8443",
            (None, false) => "0.0.0.0:443",
        };
        let environment = match (&self.environment, self.is_local()) {
            (Some(environment), _) => environment.as_str(),
            (None, true) => "development",
            (None, false) => "production",
        };
        let (trust, api_key) = match self.has_api_key {
            true => ("[token, confirmed]", "api_key_file: secrets/runblob-key\n"),
            false => ("[token]", ""),
        };
        let run = match self.run.as_str() {
            RUN => String::new(),
            run => format!("run: {}\n", scalar(run)),
        };
        let module = match self.module {
            ModuleKind::Wasm => "",
            ModuleKind::Native => "module: native  # needs Envoy 1.38\n",
        };
        let failed = self.failed_service.as_deref().unwrap_or(&self.service);
        format!(
            "\
# A gate, its inbox and its services. After a change: blobgate up, or blobgate render.
host: {host}
listen: {listen}
tls: {{certificate: {CERTIFICATE}, key: {CERTIFICATE_KEY}}}
environment: {environment}
hook:
  name: {hook}
  path: {path}  # services get the path without the token
  trust: {{any_of: {trust}}}
  source: any  # RunBlob publishes no addresses
  result_url: [runblob.io, \"*.runblob.io\"]  # where the videos are
{api_key}token_keys: {{\"{kid}\": {{alg: HS256, env: BLOBGATE_TOKEN_KEY}}}}  # in secrets/env
services: {{completed: {completed}, failed: {failed}}}
inbox: {{store: {store}}}
{run}{module}",
            host = scalar(&self.host),
            listen = scalar(listen),
            environment = scalar(environment),
            hook = scalar(&self.hook),
            path = scalar(&format!("{}/{{token}}", self.path)),
            kid = self.kid,
            completed = quoted(&self.service),
            failed = quoted(failed),
            store = quoted(&self.store),
        )
    }
}

/// Text in block context.
fn scalar(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/.{}_~:-".contains(character);
    // Letters in front: no number, no mark, and none of YAML's words for other types has a dot or a hyphen.
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && !text.ends_with(':')
        && text.chars().all(plain);
    let is_address = text.parse::<std::net::SocketAddrV4>().is_ok();
    if is_address || (is_plain && !is_word(text)) { text.to_owned() } else { quoted(text) }
}

/// A word that YAML 1.1 or 1.2 reads as another type.
fn is_word(text: &str) -> bool {
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// JSON's strings are YAML's, with the characters escaped that YAML forbids in a text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            other => match u32::from(other) {
                code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
                code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::{quoted, scalar};

    #[test]
    fn quotes_what_is_no_plain_text() {
        for plain in ["localhost", "hooks.example.com", "/webhook/{token}", "127.0.0.1:8443", "production"] {
            assert_eq!(scalar(plain), plain);
        }
        for text in
            ["", "::1", "[::]:443", "off", "NO", "010", "1e3", "-", "a b", "a:", "x#y", "é", "a\nb: c"]
        {
            assert!(scalar(text).starts_with('"'), "{text:?}");
        }
        assert_eq!(quoted("a\"\\\n\u{85}\u{2028}é😀"), r#""a\"\\\x0a\x85\u2028\xe9\U0001f600""#);
    }
}
