//! A setup folder as a person has it, and the file that `blobgate render` makes of it.

use super::{module, tls};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A folder with `blobgate.yaml`, certificate and keys.
pub struct ProductionFolder {
    folder: TempDir,
}

impl ProductionFolder {
    /// A production setup: the hook `veo3` at `/webhook/{token}`, for services on the ports 5000 to 5002 of this machine.
    pub fn new() -> Self {
        Self::edited(&[])
    }

    /// The same with other texts in `blobgate.yaml`, of which each stands there once.
    #[track_caller]
    pub fn edited(edits: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-setup-").tempdir().unwrap();
        let path = folder.path();
        for name in ["certs", "secrets", "run"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        tls::FIRST.write_to(&path.join("certs"));
        let text = format!(
            "host: hooks.example.com\n\
             tls: {{certificate: certs/edge.pem, key: certs/edge-key.pem}}\n\
             environment: production\n\
             hook:\n  path: /webhook/{{token}}\n  trust: {{any_of: [token, confirmed]}}\n  source: any\n  \
             result_url: [runblob.io, \"*.runblob.io\"]\n\
             api_key_file: secrets/runblob-key\n\
             token_keys: {{\"2026-11\": {{alg: HS256, env: BLOBGATE_TOKEN_KEY}}}}\n\
             services: {{completed: \"http://127.0.0.1:5000\", failed: \"http://127.0.0.1:5001\", \
             quarantined: \"http://127.0.0.1:5002\"}}\n\
             inbox: {{store: \"sqlite:inbox.db\"}}\nmodule_file: {}\n",
            module().canonicalize().unwrap().display()
        );
        let edit = |text: String, (there, here): &(&str, &str)| {
            assert_eq!(text.matches(there).count(), 1, "blobgate.yaml has {there:?} once");
            text.replace(there, here)
        };
        fs::write(path.join("blobgate.yaml"), edits.iter().fold(text, edit)).unwrap();
        let secret = |name: &str, text: &str| {
            let file = path.join("secrets").join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        };
        secret("runblob-key", "rb-4f1c7c0e9d5a4b0b9a5e\n");
        // The key of `TOKEN_KEY`.
        let token_key = "BLOBGATE_TOKEN_KEY=base64:dGhlIGtleSBvZiB0aGUgdGVzdHMsIG9mIDMyIGJ5dGVzLg==";
        let signing_key = "BLOBGATE_SIGNING_KEY=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        secret("env", &format!("{token_key}\n{signing_key}\n"));
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `blobgate render`, and returns `envoy.yaml`.
    #[track_caller]
    pub fn render(&self, program: &str) -> String {
        let setup = self.path().join("blobgate.yaml");
        let done = Command::new(program).arg("render").arg("--setup").arg(setup).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::read_to_string(self.path().join("envoy.yaml")).unwrap()
    }
}

impl Default for ProductionFolder {
    fn default() -> Self {
        Self::new()
    }
}
