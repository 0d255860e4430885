//! Checks the URL of a database. sqlx ignores an unknown parameter with a log line, so the inbox refuses it.

use std::collections::BTreeSet;
use url::Url;

/// The parameters that sqlx knows: libpq's names and its own.
const PARAMETERS: [&str; 18] = [
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
/// Other names of a parameter.
const ALIASES: [(&str, &str); 5] = [
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
const VERIFYING_MODES: [&str; 2] = ["verify-ca", "verify-full"];

/// Why a database URL is refused. The messages never show the URL: it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// The URL does not parse.
    #[error(
        "the store's URL is not valid ({0}): write postgres://USER@HOST/DATABASE, and percent-encode special characters of the password"
    )]
    Syntax(#[from] url::ParseError),
    /// The URL names several hosts. libpq would try one after the other.
    #[error("the store's URL names several hosts: write one address, which leads to the primary")]
    SeveralHosts,
    /// The URL has a user without a host.
    #[error(
        "the store's URL has a user and no host: write postgres://USER@HOST/DATABASE, or postgres:///DATABASE?user=USER&host=/FOLDER for a socket"
    )]
    NoHost,
    /// The URL has a fragment.
    #[error("the store's URL has a `#`, which begins a fragment: write it as %23")]
    Fragment,
    /// A parameter is repeated.
    #[error("the store's URL has {0} twice: remove one")]
    Twice(String),
    /// The URL names the server twice.
    #[error("the store's URL has both host and hostaddr: remove one")]
    TwoAddresses,
    /// A parameter chooses among servers.
    #[error(
        "the store's URL has {0}, which the inbox does not support: write one address, which leads to the primary"
    )]
    ChoosesServer(String),
    /// The URL sets session options.
    #[error("the store's URL has options, which a pooler refuses or ignores: use ALTER ROLE ... SET instead")]
    Options,
    /// A parameter is unknown.
    #[error(
        "the store's URL has the parameter {0:?}, which the inbox does not know: correct or remove it (known are sslmode, sslrootcert, sslcert, sslkey, host, hostaddr, port, dbname, user, password, application_name, statement-cache-capacity)"
    )]
    Unknown(String),
    /// A parameter has no value.
    #[error("the store's URL has {0} without a value: add one, or remove the parameter")]
    Empty(String),
    /// A value is invalid.
    #[error("the store's URL has {name}={value}: {expected}")]
    Value {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
        /// The remedy.
        expected: String,
    },
    /// TLS does not check the given root.
    #[error(
        "the store's URL has sslrootcert, which sslmode={0} does not check: use sslmode=verify-full or verify-ca"
    )]
    UnusedRoot(String),
    /// The certificate or the key of the client is missing.
    #[error("the store's URL has only one of sslcert and sslkey: give both, or remove both")]
    HalfCertificate,
    /// The client has a certificate, and the connection may have no TLS.
    #[error("the store's URL has sslcert, which sslmode={0} does not use: use sslmode=verify-full")]
    UnusedCertificate(String),
    /// The environment sets session options.
    #[error(
        "PGOPTIONS is set, which a pooler refuses or ignores: unset it, and use ALTER ROLE ... SET instead"
    )]
    EnvironmentOptions,
    /// The environment names several hosts.
    #[error("{0} names several hosts: name one address, which leads to the primary, in --store")]
    EnvironmentHosts(&'static str),
    /// The environment chooses among servers.
    #[error(
        "{0} is set, which the inbox does not support: unset it, and write one address, which leads to the primary"
    )]
    EnvironmentServer(&'static str),
    /// The environment sets an unknown TLS mode.
    #[error("PGSSLMODE has the unknown value {0:?}: set it to one of {modes}", modes = SSL_MODES.join(", "))]
    EnvironmentMode(String),
}

/// Reads the URL of a database, and checks it.
pub(super) fn parse(text: &str) -> Result<Url, DatabaseUrlError> {
    let (_scheme, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, hosts) =
        authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
    if [",", "%2C", "%2c"].iter().any(|comma| hosts.contains(comma)) {
        return Err(DatabaseUrlError::SeveralHosts);
    }
    if user.is_some() && hosts.is_empty() {
        return Err(DatabaseUrlError::NoHost);
    }
    let url = Url::parse(text)?;
    check(&url, |name| std::env::var(name).ok())?;
    Ok(url)
}

fn check(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Result<(), DatabaseUrlError> {
    if url.fragment().is_some() {
        return Err(DatabaseUrlError::Fragment);
    }
    let mut seen = BTreeSet::new();
    let mut tls = TlsParameters::default();
    for (name, text) in url.query_pairs() {
        let name = ALIASES.iter().find(|(other, _)| *other == name).map_or(&*name, |(_, name)| *name);
        check_parameter(name, &text)?;
        if !seen.insert(name.to_owned()) {
            return Err(DatabaseUrlError::Twice(name.to_owned()));
        }
        match name {
            "sslmode" => tls.mode = Some(text.into_owned()),
            "sslrootcert" => tls.root = true,
            "sslcert" => tls.cert = true,
            "sslkey" => tls.key = true,
            _ => {}
        }
    }
    if ["host", "hostaddr"].iter().all(|name| seen.contains(*name)) {
        return Err(DatabaseUrlError::TwoAddresses);
    }
    let names_host = url.has_host() || ["host", "hostaddr"].iter().any(|name| seen.contains(*name));
    let names_port = url.port().is_some() || seen.contains("port");
    check_environment(variable, seen.contains("sslmode"), names_host, names_port)?;
    tls.check()
}

fn check_parameter(name: &str, text: &str) -> Result<(), DatabaseUrlError> {
    if name == "target_session_attrs" || name == "load_balance_hosts" {
        return Err(DatabaseUrlError::ChoosesServer(name.to_owned()));
    }
    if name == "options" || name.starts_with("options[") {
        return Err(DatabaseUrlError::Options);
    }
    if !PARAMETERS.contains(&name) {
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
        "sslmode" if !SSL_MODES.contains(&text) => wrong(format!("write one of {}", SSL_MODES.join(", "))),
        "port" if text.parse::<u16>().is_err() => wrong("write a number from 1 to 65535".to_owned()),
        "hostaddr" if text.parse::<std::net::IpAddr>().is_err() => {
            wrong("write an IP address, or use host".to_owned())
        }
        "statement-cache-capacity" if text.parse::<usize>().is_err() => wrong("write a number".to_owned()),
        _ => Ok(()),
    }
}

/// Checks the environment. sqlx reads missing parameters from it, and ignores unknown and invalid ones.
fn check_environment(
    variable: impl Fn(&str) -> Option<String>,
    names_mode: bool,
    names_host: bool,
    names_port: bool,
) -> Result<(), DatabaseUrlError> {
    let set = |name| variable(name).filter(|value: &String| !value.is_empty());
    if set("PGOPTIONS").is_some() {
        return Err(DatabaseUrlError::EnvironmentOptions);
    }
    for (name, is_unused) in [("PGHOST", names_host), ("PGHOSTADDR", names_host), ("PGPORT", names_port)] {
        if set(name).is_some_and(|value| !is_unused && value.contains(',')) {
            return Err(DatabaseUrlError::EnvironmentHosts(name));
        }
    }
    // libpq's other variables that choose a server.
    for name in ["PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGSERVICE"] {
        if set(name).is_some() {
            return Err(DatabaseUrlError::EnvironmentServer(name));
        }
    }
    match set("PGSSLMODE") {
        Some(mode) if !names_mode && !SSL_MODES.contains(&mode.as_str()) => {
            Err(DatabaseUrlError::EnvironmentMode(mode))
        }
        _ => Ok(()),
    }
}

/// The TLS parameters of a URL.
#[derive(Default)]
struct TlsParameters {
    mode: Option<String>,
    root: bool,
    cert: bool,
    key: bool,
}

impl TlsParameters {
    fn check(&self) -> Result<(), DatabaseUrlError> {
        let mode = self.mode.as_deref().unwrap_or("prefer");
        if self.root && !VERIFYING_MODES.contains(&mode) {
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
    fn accepts(text: &str) {
        assert_eq!(parse(text).map(|_| ()), Ok(()), "{text}");
    }

    #[track_caller]
    fn refuses(text: &str, why: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(why), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn accepts_known_parameters() {
        accepts("postgres://app@db/inbox");
        accepts("postgres://app:a%2Cb@db:5432/inbox?sslmode=verify-full&sslrootcert=/ca.pem");
        accepts("postgresql://app@localhost/inbox?host=/run/postgresql&application_name=inbox-2");
        accepts("postgres:///inbox");
        accepts("postgres:///inbox?user=app&host=/run/postgresql&port=5433");
        accepts("postgres://app@%2Frun%2Fpostgresql/inbox");
        accepts("postgres://app@[::1]/inbox?sslmode=require&sslcert=/a&sslkey=/b");
        accepts("postgres://app:a,b@db/inbox");
    }

    #[test]
    fn refuses_unknown_and_useless_parameters() {
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
        refuses("postgres://a@db/inbox?sslcert=/c", "the store's URL has only one of sslcert and sslkey");
        refuses("postgres://a@db/inbox?options=-csearch_path%3Dx", "the store's URL has options");
        refuses("postgres://a@db/inbox?options[search_path]=x", "the store's URL has options");
        refuses(
            "postgres://a@db/inbox?target_session_attrs=primary",
            "the store's URL has target_session_attrs",
        );
    }

    #[track_caller]
    fn reads(text: &str, (name, value): (&str, &str), expected: Result<(), DatabaseUrlError>) {
        let url = Url::parse(text).unwrap();
        let variable = |other: &str| (other == name).then(|| value.to_owned());
        assert_eq!(check(&url, variable), expected, "{text} {name}={value}");
    }

    #[test]
    fn refuses_variables_that_name_several_servers() {
        for (text, name) in [
            ("postgres:///inbox", "PGHOST"),
            ("postgres:///inbox?user=app", "PGHOSTADDR"),
            ("postgres://app@db/inbox", "PGPORT"),
        ] {
            reads(text, (name, "1,2"), Err(DatabaseUrlError::EnvironmentHosts(name)));
            reads(text, (name, "1"), Ok(()));
        }
        reads("postgres://app@db:5432/inbox", ("PGPORT", "5432,5433"), Ok(()));
        reads("postgres://app@db/inbox", ("PGHOST", "one,two"), Ok(()));
        reads("postgres:///inbox?host=/run/postgresql", ("PGHOST", "one,two"), Ok(()));
        for name in ["PGTARGETSESSIONATTRS", "PGLOADBALANCEHOSTS", "PGSERVICE"] {
            let url = "postgres://app@db/inbox";
            reads(url, (name, "read-write"), Err(DatabaseUrlError::EnvironmentServer(name)));
            reads(url, (name, ""), Ok(()));
        }
    }

    #[test]
    fn refuses_several_hosts() {
        for text in [
            "postgres://a:secret@one,two/inbox",
            "postgres://a:secret@one:5432,two:5433/inbox",
            "postgres://one,two/inbox?sslmode=require",
            "postgres:///inbox?host=one,two",
            "postgres:///inbox?host=one&port=5432,5433",
            "postgres:///inbox?host=/run/one,/run/two",
            "postgres:///inbox?hostaddr=10.0.0.1,10.0.0.2",
            "postgres://one%2Ctwo/inbox",
            "postgres://a:secret@[::1],[::2]/inbox",
            "postgres://a:secret@one,two/inbox?target_session_attrs=read-write",
        ] {
            refuses(text, "the store's URL names several hosts");
        }
        refuses("postgres://a:secret@/inbox", "the store's URL has a user and no host");
        refuses("postgres://a:secret@/inbox?host=/run/postgresql", "the store's URL has a user and no host");
        refuses("postgres://a:secret#x@db/inbox", "the store's URL is not valid");
        refuses("postgres://a@db/inbox#secret", "the store's URL has a `#`");
    }
}
