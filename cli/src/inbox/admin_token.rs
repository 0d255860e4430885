//! The admin tokens of `inbox serve`.

use crate::env::read_env;
use crate::option::UsageError;
use blobgate_inbox::{AccessRole, AccessToken, WebhookKeys, check_tokens};

/// The admin tokens that the options name. The values stay texts until they are used: a usage error would print them.
#[derive(clap::Args)]
pub(super) struct AdminTokenArgs {
    /// A token of the admin listener and of its page: its name, its role (read, expect or operate) and its environment variable; repeat the option for each token, and during a rotation
    #[arg(
        long = "admin-token",
        value_name = "NAME:ROLE:VARIABLE",
        env = "BLOBGATE_INBOX_ADMIN_TOKENS",
        value_delimiter = ',',
        hide_env_values = true
    )]
    admin_tokens: Vec<String>,
}

/// The admin tokens of an inbox.
pub(super) struct AdminTokens {
    pub(super) tokens: Vec<AccessToken>,
    /// The variables and their values.
    variables: Vec<(String, String)>,
}

/// A value of `--admin-token` that cannot be read. It does not show the value, which may be a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidAdminToken {
    #[error(
        "a value of --admin-token is not NAME:ROLE:VARIABLE. Write one such as prometheus:read:BLOBGATE_READ_TOKEN"
    )]
    Form,
    #[error(
        "a value of --admin-token has an unknown role. Write read, expect or operate between the name and the variable"
    )]
    Role,
}

impl AdminTokenArgs {
    pub(super) fn read(&self) -> Result<AdminTokens, UsageError> {
        let mut read = AdminTokens { tokens: Vec::new(), variables: Vec::new() };
        for text in &self.admin_tokens {
            let (name, role, variable) = parse(text).map_err(UsageError::new)?;
            let value = read_env(variable)?;
            read.tokens.push(AccessToken::new(name, role, &value).map_err(UsageError::new)?);
            read.variables.push((variable.to_owned(), value));
        }
        check_tokens(&read.tokens).map_err(UsageError::new)?;
        Ok(read)
    }
}

impl AdminTokens {
    /// The variable whose token is one of these keys.
    pub(super) fn variable_in(&self, keys: &WebhookKeys) -> Option<&str> {
        let mut variables = self.variables.iter();
        variables.find(|(_, token)| keys.are_in(token)).map(|(variable, _)| variable.as_str())
    }
}

fn parse(text: &str) -> Result<(&str, AccessRole, &str), InvalidAdminToken> {
    let mut parts = text.trim().split(':');
    let (Some(name), Some(role), Some(variable), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(InvalidAdminToken::Form);
    };
    if name.is_empty() || variable.is_empty() {
        return Err(InvalidAdminToken::Form);
    }
    let role =
        AccessRole::ALL.into_iter().find(|known| known.name() == role).ok_or(InvalidAdminToken::Role)?;
    Ok((name, role, variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_name_role_and_variable() {
        assert_eq!(parse("prometheus:read:READ_TOKEN"), Ok(("prometheus", AccessRole::Read, "READ_TOKEN")));
        assert_eq!(parse("app:expect:APP"), Ok(("app", AccessRole::Expect, "APP")));
        assert_eq!(parse(" ops:operate:OPS "), Ok(("ops", AccessRole::Operate, "OPS")));
        for text in ["", "OPS", "ops:operate", "ops:operate:OPS:x", ":operate:OPS", "ops:operate:"] {
            assert_eq!(parse(text), Err(InvalidAdminToken::Form), "{text}");
        }
        for text in ["ops::OPS", "ops:admin:OPS", "ops:Operate:OPS", "ops:read,operate:OPS"] {
            assert_eq!(parse(text), Err(InvalidAdminToken::Role), "{text}");
        }
    }
}
