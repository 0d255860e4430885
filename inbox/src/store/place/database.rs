//! The URL of a database: what it says has to have its effect. sqlx logs a parameter that it does not know, and goes on.

use std::collections::BTreeSet;
use url::Url;

/// What sqlx knows, by the names of libpq and by its own.
const KNOWN: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// The same parameter by another name.
const SAME: [(&str, &str); 5] = [
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
];
const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
const VERIFYING: [&str; 2] = ["verify-ca", "verify-full"];

/// What is wrong with the URL of a database. It is not shown itself: a password may be in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// RFC 3986 has no such URL.
    #[error(
        "the store's URL is not valid ({0}): write postgres://USER@HOST/DATABASE, with special characters of the password percent-encoded"
    )]
    Syntax(#[from] url::ParseError),
    /// libpq would try one after the other.
    #[error("the store's URL names several hosts: name the primary alone, by an address that follows it")]
    SeveralHosts,
    /// A fragment.
    #[error("the store's URL has a `#`, which begins no part of it: write it as %23")]
    Fragment,
    /// A parameter twice.
    #[error("the store's URL has {0} twice: leave one out")]
    Twice(String),
    /// Two ways to one server.
    #[error("the store's URL has both host and hostaddr: leave one out")]
    TwoAddresses,
    /// A parameter that chooses among servers.
    #[error(
        "the store's URL has {0}, which the inbox does not know: name the primary alone, by an address that follows it"
    )]
    ChoosesServer(String),
    /// Settings of a session.
    #[error(
        "the store's URL has options, which a pooler refuses or ignores: use ALTER ROLE ... SET for settings of the role"
    )]
    Options,
    /// Another parameter.
    #[error(
        "the store's URL has the parameter {0:?}, which the inbox does not know: correct it or leave it out (known are sslmode, sslrootcert, sslcert, sslkey, host, hostaddr, port, dbname, user, password, application_name, statement-cache-capacity)"
    )]
    Unknown(String),
    /// A parameter without a value.
    #[error("the store's URL has {0} without a value: give it one or leave it out")]
    Empty(String),
    /// A value of another form.
    #[error("the store's URL has {name}={value}: {expected}")]
    Value {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
        /// What to do.
        expected: String,
    },
    /// A root that nothing is compared with.
    #[error(
        "the store's URL has sslrootcert, which sslmode={0} does not check: use sslmode=verify-full, or verify-ca"
    )]
    UnusedRoot(String),
    /// Half of a client's certificate.
    #[error("the store's URL has one of sslcert and sslkey: give both, or leave both out")]
    HalfCertificate,
    /// A client's certificate without TLS.
    #[error("the store's URL has sslcert, which sslmode={0} does not use: use sslmode=verify-full")]
    UnusedCertificate(String),
    /// Settings of a session, from the environment.
    #[error(
        "PGOPTIONS is set, which a pooler refuses or ignores: unset it, and use ALTER ROLE ... SET for settings of the role"
    )]
    EnvironmentOptions,
    /// A mode from the environment.
    #[error("PGSSLMODE is {0:?}: set it to one of {modes}", modes = MODES.join(", "))]
    EnvironmentMode(String),
}

/// Reads the URL of a database.
pub(super) fn parse(text: &str) -> Result<Url, DatabaseUrlError> {
    let (_scheme, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_user, hosts)| hosts);
    if hosts.contains(',') {
        return Err(DatabaseUrlError::SeveralHosts);
    }
    let url = Url::parse(text)?;
    check(&url)?;
    Ok(url)
}

fn check(url: &Url) -> Result<(), DatabaseUrlError> {
    if url.fragment().is_some() {
        return Err(DatabaseUrlError::Fragment);
    }
    let mut seen = BTreeSet::new();
    let mut value = Values::default();
    for (name, text) in url.query_pairs() {
        let name = SAME.iter().find(|(other, _)| *other == name).map_or(&*name, |(_, name)| *name);
        check_parameter(name, &text)?;
        if !seen.insert(name.to_owned()) {
            return Err(DatabaseUrlError::Twice(name.to_owned()));
        }
        match name {
            "sslmode" => value.mode = Some(text.into_owned()),
            "sslrootcert" => value.root = true,
            "sslcert" => value.cert = true,
            "sslkey" => value.key = true,
            _ => {}
        }
    }
    if ["host", "hostaddr"].iter().all(|name| seen.contains(*name)) {
        return Err(DatabaseUrlError::TwoAddresses);
    }
    check_environment(&seen)?;
    value.check()
}

fn check_parameter(name: &str, text: &str) -> Result<(), DatabaseUrlError> {
    if name == "target_session_attrs" || name == "load_balance_hosts" {
        return Err(DatabaseUrlError::ChoosesServer(name.to_owned()));
    }
    if name == "options" || name.starts_with("options[") {
        return Err(DatabaseUrlError::Options);
    }
    if !KNOWN.contains(&name) {
        return Err(DatabaseUrlError::Unknown(name.to_owned()));
    }
    if text.is_empty() {
        return Err(DatabaseUrlError::Empty(name.to_owned()));
    }
    let wrong = |expected: String| {
        Err(DatabaseUrlError::Value { name: name.to_owned(), value: text.to_owned(), expected })
    };
    match name {
        "host" | "hostaddr" | "port" if text.contains(',') => Err(DatabaseUrlError::SeveralHosts),
        "sslmode" if !MODES.contains(&text) => wrong(format!("write one of {}", MODES.join(", "))),
        "port" if text.parse::<u16>().is_err() => wrong("write a number from 1 to 65535".to_owned()),
        "hostaddr" if text.parse::<std::net::IpAddr>().is_err() => {
            wrong("write an IP address, or use host".to_owned())
        }
        "statement-cache-capacity" if text.parse::<usize>().is_err() => wrong("write a number".to_owned()),
        _ => Ok(()),
    }
}

/// sqlx takes from the environment what the URL does not say, and passes over what it cannot read.
fn check_environment(seen: &BTreeSet<String>) -> Result<(), DatabaseUrlError> {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    if set("PGOPTIONS").is_some() {
        return Err(DatabaseUrlError::EnvironmentOptions);
    }
    match set("PGSSLMODE") {
        Some(mode) if !seen.contains("sslmode") && !MODES.contains(&mode.as_str()) => {
            Err(DatabaseUrlError::EnvironmentMode(mode))
        }
        _ => Ok(()),
    }
}

/// What is said about TLS.
#[derive(Default)]
struct Values {
    mode: Option<String>,
    root: bool,
    cert: bool,
    key: bool,
}

impl Values {
    fn check(&self) -> Result<(), DatabaseUrlError> {
        let mode = self.mode.as_deref().unwrap_or("prefer");
        if self.root && !VERIFYING.contains(&mode) {
            return Err(DatabaseUrlError::UnusedRoot(mode.to_owned()));
        }
        if self.cert != self.key {
            return Err(DatabaseUrlError::HalfCertificate);
        }
        if self.cert && ["disable", "allow"].contains(&mode) {
            return Err(DatabaseUrlError::UnusedCertificate(mode.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn takes(text: &str) {
        assert_eq!(parse(text).map(|_| ()), Ok(()), "{text}");
    }

    #[track_caller]
    fn refuses(text: &str, why: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(why), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn takes_what_has_its_effect() {
        takes("postgres://app@db/inbox");
        takes("postgres://app:a%2Cb@db:5432/inbox?sslmode=verify-full&sslrootcert=/ca.pem");
        takes("postgresql://app@localhost/inbox?host=/run/postgresql&application_name=inbox-2");
        takes("postgres:///inbox");
        takes("postgres://app@[::1]/inbox?sslmode=require&sslcert=/a&sslkey=/b");
        takes("postgres://app:a,b@db/inbox");
    }

    #[test]
    fn refuses_what_would_have_none() {
        let unknown =
            |name: &str| format!("the store's URL has the parameter {name:?}, which the inbox does not");
        for name in
            ["sslmod", "SSLMODE", "ssl", "connect_timeout", "channel_binding", "sslcrl", "service", "x"]
        {
            refuses(&format!("postgres://app:secret@db/inbox?{name}=require"), &unknown(name));
        }
        refuses("postgres://a:secret@db/inbox?sslmode=requir", "the store's URL has sslmode=requir:");
        refuses("postgres://a:secret@db/inbox?sslmode=", "the store's URL has sslmode without a value");
        refuses(
            "postgres://a@db/inbox?sslmode=disable&ssl-mode=require",
            "the store's URL has sslmode twice",
        );
        refuses("postgres://a@db/inbox?sslmode=require&sslrootcert=/ca", "the store's URL has sslrootcert,");
        refuses("postgres://a@db/inbox?sslcert=/c", "the store's URL has one of sslcert and sslkey");
        refuses("postgres://a@db/inbox?options=-csearch_path%3Dx", "the store's URL has options");
        refuses("postgres://a@db/inbox?options[search_path]=x", "the store's URL has options");
        refuses(
            "postgres://a@db/inbox?target_session_attrs=primary",
            "the store's URL has target_session_attrs",
        );
    }

    #[test]
    fn refuses_several_hosts() {
        for text in [
            "postgres://a:secret@one,two/inbox",
            "postgres://a:secret@one:5432,two:5433/inbox",
            "postgres://one,two/inbox?sslmode=require",
            "postgres:///inbox?host=one,two",
            "postgres:///inbox?host=one&port=5432,5433",
        ] {
            refuses(text, "the store's URL names several hosts");
        }
        refuses("postgres://a:secret#x@db/inbox", "the store's URL is not valid");
        refuses("postgres://a@db/inbox#secret", "the store's URL has a `#`");
    }
}
