//! `blobgate mint`: the callback URL with its token, and the keys that sign tokens.

mod callback;
mod claims;
mod key;
mod minter;
mod new_key;

use crate::output::say;
use crate::rfc3339::rfc3339;
use anyhow::{Result, anyhow, ensure};
use blobgate::contract::token::digest;
use callback::CallbackUrl;
pub(crate) use claims::{Audience, Kid};
use claims::{MintedClaims, Reference};
use clap::error::ErrorKind;
use key::{Algorithm, MintKey};
pub(crate) use minter::Minter;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use time::OffsetDateTime;

/// Make a callback URL whose token the gate believes, or a key that signs such tokens
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(crate) struct Args {
    /// The hook, as the provider calls it; the token becomes its last segment
    #[arg(long)]
    url: Option<CallbackUrl>,
    /// Whom the token is for: the gate's `environment`, a slash, and the hook's name
    #[arg(long, value_name = "ENVIRONMENT/HOOK")]
    aud: Option<Audience>,
    /// The key's name in the gate's token.keys [with --new-key: this month, as 2026-02]
    #[arg(long)]
    kid: Option<Kid>,
    /// Your own reference; the service behind the gate gets it as Blobgate-Job
    #[arg(long)]
    job: Option<Reference>,
    /// Bind the token to this prompt, exactly as RunBlob gets it
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// The same, from a file: each of its bytes counts, the last line end too
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// How long the token holds: 90m, 24h, 3days
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// The token's own id [default: a random one]
    #[arg(long, value_name = "ID", conflicts_with = "no_jti")]
    jti: Option<Reference>,
    /// Leave the token's id out: the URL is shorter
    #[arg(long)]
    no_jti: bool,
    // A key in PEM begins with hyphens, and clap would show one that is given to these two by mistake.
    /// The environment variable that holds the key
    #[arg(long, value_name = "NAME", default_value = key::VARIABLE)]
    #[arg(conflicts_with = "key_file", allow_hyphen_values = true)]
    key_env: String,
    /// The file that holds the key, instead; a line end after it is not part of the key
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    key_file: Option<PathBuf>,
    /// Make a new key, and print what goes where
    #[arg(long, conflicts_with_all = OF_A_TOKEN)]
    new_key: bool,
    /// What the new key signs with [default: EdDSA]
    #[arg(long, value_enum, ignore_case = true, conflicts_with_all = OF_A_TOKEN)]
    alg: Option<Algorithm>,
    /// Write the new private key to this new file, with mode 600, instead of printing it
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_A_TOKEN)]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const USAGE: &str = "\
blobgate mint --url <URL> --aud <ENVIRONMENT/HOOK> --kid <KID> [OPTIONS]
       blobgate mint --new-key [--alg <ALG>] [--kid <KID>] [--out <FILE>]";

/// What says something of a token, and nothing of a new key.
const OF_A_TOKEN: [&str; 10] =
    ["url", "aud", "job", "prompt", "prompt_file", "ttl", "jti", "no_jti", "key_env", "key_file"];

const EXAMPLES: &str = "\
RunBlob signs nothing. What proves that a delivery answers your own request is a secret in the callback URL that
only RunBlob was given: a signed token, for one hook, for a day. The URL goes to RunBlob as callback_url with each
generation; it is all that is printed, so that a script can take it. A token is made without asking anybody.

The key comes from the environment or a file, never from the command line. Its form decides the algorithm:
  EdDSA   -----BEGIN PRIVATE KEY-----  PKCS#8 in PEM; the gate has the public half, and cannot make tokens
  HS256   base64:...  or the bytes themselves, 32 or more: the same value as in the gate's environment

Once, a key; it prints the line for the gate and the one for the minter:
  blobgate mint --new-key --kid 2026-02 --out mint.pem

For each generation, a URL:
  blobgate mint --key-file mint.pem --kid 2026-02 --aud production/veo3 \\
    --url https://hooks.example.com/hooks/veo3 --job order-17
  url=$(blobgate mint --url https://hooks.example.com/hooks/veo3 --aud production/veo3 --kid 2026-02)

A new key in place of an old one, without a delivery lost:
  1. gates first: the new kid goes under token.keys beside the old one
  2. then minters: they sign with the new key and its kid
  3. the old kid stays until its longest token has expired (--ttl after the last one was made)

Exit code: 0 when it is made, 1 when it cannot be, 2 for wrong usage.";

/// Where a callback URL is kept in a column of the usual width, a longer one is cut or refused.
const USUAL_WIDTH: usize = 255;

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if args.new_key {
        new_key::run(args.alg.unwrap_or(Algorithm::EdDsa), args.kid, args.out.as_deref(), args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let prompt = prompt(&args)?;
    let (Some(url), Some(aud), Some(kid)) = (args.url, args.aud, args.kid) else {
        let message = "a token wants --url, --aud and --kid, and a new key --new-key";
        let mut command = <Args as clap::Args>::augment_args(clap::Command::new("blobgate mint"));
        command.error(ErrorKind::MissingRequiredArgument, message).exit();
    };
    let key = match args.key_file {
        Some(file) => MintKey::from_file(&file)?,
        None => MintKey::from_environment(&args.key_env)?,
    };

    let expires = expiry(OffsetDateTime::now_utc(), args.ttl)?;
    let jti = match args.jti {
        None if !args.no_jti => Some(Reference::random()?),
        named => named,
    };
    let ph = prompt.map(|prompt| digest(prompt.as_bytes()));
    let claims = MintedClaims { exp: expires.unix_timestamp(), aud, job: args.job, jti, ph };
    let token = claims.sign(&key, &kid)?;
    let minted = MintOutput {
        url: url.with(&token),
        token,
        claims,
        kid,
        alg: key.algorithm(),
        expires: rfc3339(expires),
    };

    warn(&url, &minted);
    if args.json {
        print(&serde_json::to_string_pretty(&minted)?)?
    } else {
        print(&minted.url)?
    }
    Ok(ExitCode::SUCCESS)
}

/// What `--json` prints.
#[derive(Serialize)]
struct MintOutput {
    url: String,
    token: String,
    claims: MintedClaims,
    kid: Kid,
    alg: Algorithm,
    expires: String,
}

fn prompt(args: &Args) -> Result<Option<String>> {
    let prompt = match &args.prompt_file {
        None => args.prompt.clone(),
        Some(file) => {
            let name = file.display();
            let bytes = std::fs::read(file).map_err(|error| anyhow!("{name} cannot be read: {error}"))?;
            Some(String::from_utf8(bytes).map_err(|_| anyhow!("{name} is not UTF-8"))?)
        }
    };
    ensure!(prompt.as_deref() != Some(""), "the prompt is empty: the gate would take no delivery for it");
    if prompt.as_ref().is_some_and(|prompt| prompt.ends_with('\n')) {
        say(format_args!(
            "blobgate: warning: the prompt ends with a line end, and has to reach RunBlob with it"
        ));
    }
    Ok(prompt)
}

/// Whole seconds, as `exp` has them.
fn expiry(now: OffsetDateTime, ttl: Duration) -> Result<OffsetDateTime> {
    ensure!(ttl >= Duration::from_secs(1), "--ttl is under a second: the token would never hold");
    let end = time::Duration::try_from(ttl).ok().and_then(|ttl| now.checked_add(ttl));
    end.ok_or_else(|| anyhow!("--ttl is too long: the token would outlive the year 9999"))
}

fn warn(url: &CallbackUrl, minted: &MintOutput) {
    if url.is_plaintext() {
        say(format_args!("blobgate: warning: over http:// anybody on the way reads the token"));
    }
    let length = minted.url.len();
    if length > USUAL_WIDTH {
        say(format_args!(
            "blobgate: warning: the URL has {length} characters, and what keeps it may cut it at {USUAL_WIDTH}: \
             HS256, --no-jti and a shorter --job or --kid make it shorter"
        ));
    }
}

fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
