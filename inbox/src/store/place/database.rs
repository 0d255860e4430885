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

/// Reads the URL of a database. What is wrong with it is said without it: a password may be in it.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let (_scheme, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_user, hosts)| hosts);
    if hosts.contains(',') {
        return Err(several_hosts());
    }
    let url = Url::parse(text).map_err(|error| {
        format!(
            "the store's URL is not valid ({error}): write postgres://USER@HOST/DATABASE, with special characters of the password percent-encoded"
        )
    })?;
    check(&url)?;
    Ok(url)
}

fn check(url: &Url) -> Result<(), String> {
    if url.fragment().is_some() {
        return Err("the store's URL has a `#`, which begins no part of it: write it as %23".to_owned());
    }
    let mut seen = BTreeSet::new();
    let mut value = Values::default();
    for (name, text) in url.query_pairs() {
        let name = SAME.iter().find(|(other, _)| *other == name).map_or(&*name, |(_, name)| *name);
        check_parameter(name, &text)?;
        if !seen.insert(name.to_owned()) {
            return Err(format!("the store's URL has {name} twice: leave one out"));
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
        return Err("the store's URL has both host and hostaddr: leave one out".to_owned());
    }
    check_environment(&seen)?;
    value.check()
}

fn check_parameter(name: &str, text: &str) -> Result<(), String> {
    if name == "target_session_attrs" || name == "load_balance_hosts" {
        return Err(format!(
            "the store's URL has {name}, which the inbox does not know: name the primary alone, by an address that follows it"
        ));
    }
    if name == "options" || name.starts_with("options[") {
        return Err(
            "the store's URL has options, which a pooler refuses or ignores: use ALTER ROLE ... SET for settings of the role".to_owned(),
        );
    }
    if !KNOWN.contains(&name) {
        return Err(format!(
            "the store's URL has the parameter {name:?}, which the inbox does not know: correct it or leave it out (known are sslmode, sslrootcert, sslcert, sslkey, host, hostaddr, port, dbname, user, password, application_name, statement-cache-capacity)"
        ));
    }
    if text.is_empty() {
        return Err(format!("the store's URL has {name} without a value: give it one or leave it out"));
    }
    match name {
        "host" | "hostaddr" | "port" if text.contains(',') => Err(several_hosts()),
        "sslmode" if !MODES.contains(&text) => {
            Err(format!("the store's URL has sslmode={text}: write one of {}", MODES.join(", ")))
        }
        "port" if text.parse::<u16>().is_err() => {
            Err(format!("the store's URL has port={text}: write a number from 1 to 65535"))
        }
        "hostaddr" if text.parse::<std::net::IpAddr>().is_err() => {
            Err(format!("the store's URL has hostaddr={text}: write an IP address, or use host"))
        }
        "statement-cache-capacity" if text.parse::<usize>().is_err() => {
            Err(format!("the store's URL has {name}={text}: write a number"))
        }
        _ => Ok(()),
    }
}

/// sqlx takes from the environment what the URL does not say, and passes over what it cannot read.
fn check_environment(seen: &BTreeSet<String>) -> Result<(), String> {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    if set("PGOPTIONS").is_some() {
        return Err("PGOPTIONS is set, which a pooler refuses or ignores: unset it, and use ALTER ROLE ... SET for settings of the role".to_owned());
    }
    match set("PGSSLMODE") {
        Some(mode) if !seen.contains("sslmode") && !MODES.contains(&mode.as_str()) => {
            Err(format!("PGSSLMODE is {mode:?}: set it to one of {}", MODES.join(", ")))
        }
        _ => Ok(()),
    }
}

fn several_hosts() -> String {
    "the store's URL names several hosts: name the primary alone, by an address that follows it".to_owned()
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
    fn check(&self) -> Result<(), String> {
        let mode = self.mode.as_deref().unwrap_or("prefer");
        if self.root && !VERIFYING.contains(&mode) {
            return Err(format!(
                "the store's URL has sslrootcert, which sslmode={mode} does not check: use sslmode=verify-full, or verify-ca"
            ));
        }
        if self.cert != self.key {
            return Err(
                "the store's URL has one of sslcert and sslkey: give both, or leave both out".to_owned()
            );
        }
        if self.cert && ["disable", "allow"].contains(&mode) {
            return Err(format!(
                "the store's URL has sslcert, which sslmode={mode} does not use: use sslmode=verify-full"
            ));
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
        let error = parse(text).unwrap_err();
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
