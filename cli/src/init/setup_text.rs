//! The text of a new setup file, and its check by the loader of setup files.

use super::{CERTIFICATE, CERTIFICATE_KEY};
use crate::render::scalar::quote;
use crate::setup::{ModuleKind, PublicHost, SETUP_FILE, Setup, SetupFault};

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

const PATH_REMEDY: &str =
    "write a path such as /webhook: segments of A-Z a-z 0-9 . _ ~ -, with no slash at the end";

/// The default of `run` in setup files.
pub(super) const RUN: &str = "run";

impl SetupDraft {
    /// Whether the host is a name or an address of this machine alone.
    pub(super) fn is_local(&self) -> bool {
        PublicHost::parse(&self.host).is_ok_and(|public| public.host.is_loopback())
    }

    /// The names of a certificate for the host.
    pub(super) fn certificate_names(&self) -> Vec<String> {
        let host = PublicHost::parse(&self.host).map(|public| public.host.to_string());
        let mut names = vec![host.unwrap_or_default()];
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
            let first = faults.into_iter().next().map(|fault| match fault.field.as_str() {
                // A person writes it without the token.
                "hook.path" => SetupFault {
                    wrong: fault.wrong.replace("/{token}\"", "\""),
                    remedy: PATH_REMEDY.to_owned(),
                    ..fault
                },
                _ => fault,
            });
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
        let port = PublicHost::parse(&self.host).ok().and_then(|public| public.port);
        let listen = match (&self.listen, self.is_local()) {
            (Some(listen), _) => listen.clone(),
            (None, true) => format!("127.0.0.1:{}", port.unwrap_or(8443)),
            (None, false) => format!("0.0.0.0:{}", port.unwrap_or(443)),
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
            listen = scalar(&listen),
            environment = scalar(environment),
            hook = scalar(&self.hook),
            path = scalar(&format!("{}/{{token}}", self.path)),
            kid = self.kid,
            completed = quote(&self.service),
            failed = quote(failed),
            store = quote(&self.store),
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
    if is_address || (is_plain && !is_word(text)) { text.to_owned() } else { quote(text) }
}

/// A word that YAML 1.1 or 1.2 reads as another type.
fn is_word(text: &str) -> bool {
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::{ModuleKind, RUN, SetupDraft, scalar};

    #[test]
    fn a_host_of_this_machine_listens_on_this_machine_alone() {
        let draft = |host: &str| SetupDraft {
            host: host.to_owned(),
            listen: None,
            environment: None,
            hook: "veo3".to_owned(),
            path: "/webhook".to_owned(),
            has_api_key: false,
            kid: "2026-11".to_owned(),
            service: "http://127.0.0.1:5000".to_owned(),
            failed_service: None,
            store: "sqlite:inbox.db".to_owned(),
            run: RUN.to_owned(),
            module: ModuleKind::Wasm,
        };
        for host in ["localhost", "LocalHost", "gate.localhost", "127.0.0.2", "::1", "::ffff:127.0.0.1"] {
            let setup = draft(host).check().unwrap();
            assert!(setup.listen.ip().is_loopback(), "{host}: {}", setup.listen);
        }
        let setup = draft("Hooks.example.com:8443").check().unwrap();
        assert_eq!(
            (setup.listen.port(), setup.hook_url().as_str()),
            (8443, "https://hooks.example.com:8443/webhook")
        );
        assert_eq!(draft("Hooks.example.com:8443").certificate_names(), ["hooks.example.com"]);
        assert!(draft("hooks.example.com").check().unwrap().listen.ip().is_unspecified());
    }

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
    }
}
