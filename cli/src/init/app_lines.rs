//! The lines for the application: it signs callback URLs, announces generations and verifies events.

use crate::mint::{SetupTokenKey, audience};
use crate::setup::{Setup, SetupHost};
use crate::shell;
use crate::up::reachable;
use anyhow::Result;
use blobgate_inbox::AccessRole;
use std::net::Ipv4Addr;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    Python,
    #[value(name = "javascript")]
    JavaScript,
    Curl,
}

/// What the lines of a setup have in common.
pub(super) struct AppLines<'a> {
    setup: &'a Setup,
    key: SetupTokenKey,
    form: KeyForm,
}

/// The value of the variable with the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyForm {
    /// HS256: base64 after `base64:`.
    Base64,
    /// HS256: the bytes of the text.
    Text,
    /// EdDSA: PEM. The gate has the public half alone.
    Pem,
}

/// The application's variable with a private key, as of `blobgate mint`.
const MINT_KEY: &str = "BLOBGATE_MINT_KEY";

impl<'a> AppLines<'a> {
    pub(super) fn of(setup: &'a Setup) -> Result<Self> {
        let key = SetupTokenKey::newest(setup)?;
        let form = match (&key.variable, key.secret(setup)) {
            (None, _) => KeyForm::Pem,
            (Some(_), Ok(Some(secret))) if !secret.starts_with("base64:") => KeyForm::Text,
            // Without the value here, the form of `init`.
            (Some(_), _) => KeyForm::Base64,
        };
        Ok(Self { setup, key, form })
    }

    pub(super) fn text(&self, language: Language) -> Result<String> {
        let (variable, path) =
            (self.key.variable.as_deref().unwrap_or(MINT_KEY), self.setup.hook.service_path());
        let template = match language {
            Language::Python => include_str!("app_lines/python.txt"),
            Language::JavaScript => include_str!("app_lines/javascript.txt"),
            Language::Curl => include_str!("app_lines/curl.txt"),
        };
        // The setup's loader has checked all of these: none contains a quote or a mark of the template.
        let generation = Uuid::new_v4().to_string();
        let kid = self.key.kid.to_string();
        let (url, aud) = (self.setup.hook_url(), audience(self.setup)?.to_string());
        let admin = format!("http://127.0.0.1:{}", self.setup.ports.admin);
        let signing = self.setup.signing_keys.first().map_or("BLOBGATE_SIGNING_KEY", String::as_str);
        let (certificate, setup) =
            (shell::path(&self.setup.resolve(&self.setup.certificate)), shell::path(&self.setup.file));
        let token = self.setup.admin_token([AccessRole::Expect, AccessRole::Operate]);
        let bearer = |text: &str| token.map(|name| text.replace("NAME", name)).unwrap_or_default();
        let values = [
            ("@CURL_TOKEN@", &*bearer(r#" -H "authorization: Bearer $NAME""#)),
            ("@PYTHON_TOKEN@", &bearer(r#", "authorization": "Bearer " + os.environ["NAME"]"#)),
            ("@JS_TOKEN@", &bearer(", authorization: `Bearer ${process.env.NAME}`")),
            ("@PYTHON_KEY@", self.python_key()),
            ("@JS_KEY@", self.javascript_key()),
            ("@JS_IMPORT@", if self.form == KeyForm::Pem { "SignJWT, importPKCS8" } else { "SignJWT" }),
            ("@PYJWT@", if self.form == KeyForm::Pem { "'pyjwt[crypto]'" } else { "pyjwt" }),
            ("@ALG@", if self.form == KeyForm::Pem { "EdDSA" } else { "HS256" }),
            ("@KEY@", variable),
            ("@AUD@", &aud),
            ("@URL@", &url),
            ("@KID@", &kid),
            ("@HOOK@", &self.setup.hook.name),
            ("@ADMIN@", &admin),
            ("@PATH@", path),
            ("@SIGNING@", signing),
            ("@GENERATION@", &generation),
            ("@RESOLVE@", &self.resolve()),
            ("@TOOL@", &shell::program()),
            ("@CERTIFICATE@", &certificate),
            ("@SETUP@", &setup),
        ];
        Ok(values.iter().fold(template.to_owned(), |text, (mark, value)| text.replace(mark, value)))
    }

    fn python_key(&self) -> &'static str {
        match self.form {
            KeyForm::Base64 => r#"base64.b64decode(os.environ["@KEY@"].removeprefix("base64:"))"#,
            KeyForm::Text => r#"os.environ["@KEY@"].encode()"#,
            KeyForm::Pem => r#"os.environ["@KEY@"]"#,
        }
    }

    fn javascript_key(&self) -> &'static str {
        match self.form {
            KeyForm::Base64 => r#"Buffer.from(process.env.@KEY@.replace(/^base64:/, ""), "base64")"#,
            KeyForm::Text => "Buffer.from(process.env.@KEY@)",
            KeyForm::Pem => r#"await importPKCS8(process.env.@KEY@, "EdDSA")"#,
        }
    }

    /// The name may have no address yet, or the address of a load balancer.
    fn resolve(&self) -> String {
        let listen = self.setup.listen;
        match &self.setup.host {
            _ if self.setup.public_port.is_some_and(|port| port != listen.port()) => {
                format!(" --connect-to ::{}", reachable(listen))
            }
            SetupHost::Name(name) if name != "localhost" => {
                let ip = if listen.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen.ip() };
                format!(" --resolve {name}:{}:{ip}", listen.port())
            }
            _ => String::new(),
        }
    }
}
