//! The options of notifications, and `blobgate inbox test-notify`.

use super::admin_token::AdminTokens;
use super::serve::parse_docs_url;
use crate::env::read_env;
use crate::option::UsageError;
use crate::output::print_line;
use anyhow::{Result, bail};
use blobgate::contract::DOCS;
use blobgate_inbox::{NotificationUrl, Notifications, WebhookKeys};
use std::process::ExitCode;

/// The receiver of notifications. Its URL stays a text until it is used: a usage error would print it.
#[derive(clap::Args)]
pub(super) struct NotifyArgs {
    /// The https URL for a signed call when an event is quarantined, dead, overdue or refused, or a service is down: one a kind and hour
    #[arg(long, value_name = "URL", env = "BLOBGATE_NOTIFY_URL", hide_env_values = true)]
    notify: Option<String>,
    /// The environment variable with the key that signs notifications (Standard Webhooks); repeat the option during a key rotation
    #[arg(long, value_name = "NAME")]
    notify_key_env: Vec<String>,
}

/// The secrets of an inbox. The receiver of notifications must not know them.
pub(super) struct InboxSecrets<'a> {
    pub(super) signing_keys: Option<&'a WebhookKeys>,
    pub(super) admin_tokens: Option<&'a AdminTokens>,
}

impl NotifyArgs {
    /// The settings of notifications, which are off without a URL.
    pub(super) fn read(&self, secrets: &InboxSecrets<'_>) -> Result<Option<Notifications>> {
        let Some(url) = &self.notify else {
            if !self.notify_key_env.is_empty() {
                bail!(usage("--notify-key-env has no use without a receiver. Name its URL with --notify"));
            }
            return Ok(None);
        };
        let url = NotificationUrl::parse(url)
            .map_err(|error| UsageError(format!("cannot use the URL of --notify: {error}")))?;
        if self.notify_key_env.is_empty() {
            bail!(usage("--notify signs each call. Name the variable with its key with --notify-key-env"));
        }
        let keys = self
            .notify_key_env
            .iter()
            .map(|name| Ok((name.clone(), read_env(name)?)))
            .collect::<Result<Vec<_>>>()?;
        let parsed = WebhookKeys::parse(&keys).map_err(UsageError::new)?;
        for (name, key) in &keys {
            if secrets.signing_keys.is_some_and(|signing| signing.are_in(key)) {
                bail!(UsageError(format!(
                    "{name} has the gate's signing key: the receiver of notifications could forge events. Set it to another key"
                )));
            }
        }
        if secrets.admin_tokens.is_some_and(|tokens| tokens.variable_in(&parsed).is_some()) {
            bail!(usage(
                "the key of notifications is an admin token: their receiver could use it at the inbox. Set it to another key"
            ));
        }
        Ok(Some(Notifications::new(url, parsed)?))
    }
}

/// Send a test notification, to see that its receiver takes it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    notify: NotifyArgs,
    /// The base URL of the documentation, in the notification
    #[arg(long, value_name = "URL", default_value = DOCS, value_parser = parse_docs_url)]
    docs_url: String,
}

const EXAMPLES: &str = "\
The call has the type blobgate.test. It needs no running inbox, and makes one try.

Exit code: 0 when the receiver answered 2xx, 1 when it did not, 2 for wrong usage.

Examples:
  blobgate inbox test-notify --notify https://hooks.example/blobgate \\
    --notify-key-env BLOBGATE_NOTIFY_KEY";

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let secrets = InboxSecrets { signing_keys: None, admin_tokens: None };
    let Some(notifications) = args.notify.read(&secrets)? else {
        bail!(usage("there is no receiver. Name its URL with --notify"));
    };
    notifications.test(&args.docs_url).await?;
    print_line(format_args!("the receiver took the test notification"));
    Ok(ExitCode::SUCCESS)
}

fn usage(sentence: &str) -> UsageError {
    UsageError(sentence.to_owned())
}
