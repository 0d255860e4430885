//! `blobgate mint`: signs callback URLs, and makes keys.

mod callback;
mod claims;
mod key;
mod minter;
mod new_key;
mod of_setup;

use crate::option::UsageError;
use crate::output::{eprint_line, print_json, print_line};
use crate::rfc3339::rfc3339;
use crate::setup::Setup;
use anyhow::{Result, anyhow, ensure};
use blobgate::contract::token::digest;
use callback::CallbackUrl;
pub(crate) use claims::{Audience, Kid};
use claims::{MintedClaims, Reference};
use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
pub(crate) use key::base64_key;
use key::{Algorithm, MintKey};
pub(crate) use minter::Minter;
pub(crate) use new_key::this_month;
use of_setup::SetupToken;
pub(crate) use of_setup::{SetupTokenKey, audience};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use time::OffsetDateTime;

/// Make a callback URL with a signed token, or a key that signs tokens
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(crate) struct Args {
    /// A setup file, which has the URL, the audience, the kid and an HS256 key
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "aud", "key_env"])]
    setup: Option<PathBuf>,
    /// The URL of the hook; the token becomes its last segment
    #[arg(long)]
    url: Option<CallbackUrl>,
    /// The audience of the token: the gate's `environment`, a slash, and the hook's name
    #[arg(long, value_name = "ENVIRONMENT/HOOK")]
    aud: Option<Audience>,
    /// The key's name in the gate's token.keys [default with --new-key: this month, such as 2026-02]
    #[arg(long)]
    kid: Option<Kid>,
    /// Your own reference; the service gets it as blobgate-job
    #[arg(long)]
    job: Option<Reference>,
    /// The prompt that the token is bound to, exactly as RunBlob gets it
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file", allow_hyphen_values = true)]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    prompt: Option<String>,
    /// A file with the prompt; every byte counts, including a last line end
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// The lifetime of the token: 90m, 24h, 3days
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_ttl)]
    ttl: Duration,
    /// The id of the token [default: random]
    #[arg(long, value_name = "ID", conflicts_with = "no_jti")]
    jti: Option<Reference>,
    /// No id in the token, for a shorter URL
    #[arg(long)]
    no_jti: bool,
    // A PEM key begins with hyphens. Without allow_hyphen_values, clap's error would show a key passed here by mistake.
    /// The environment variable with the key
    #[arg(long, value_name = "NAME", default_value = key::VARIABLE)]
    #[arg(conflicts_with = "key_file", allow_hyphen_values = true)]
    key_env: String,
    /// A file with the key; a last line end is no part of it
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    key_file: Option<PathBuf>,
    /// A new key instead of a token, with its lines for the gate and the minter
    #[arg(long, conflicts_with_all = OF_A_TOKEN)]
    new_key: bool,
    /// The algorithm of the new key [default: EdDSA]
    #[arg(long, value_enum, ignore_case = true, conflicts_with_all = OF_A_TOKEN)]
    alg: Option<Algorithm>,
    /// A new file for the private key, with mode 600 [default: standard output]
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_A_TOKEN)]
    out: Option<PathBuf>,
    /// JSON output
    #[arg(long)]
    json: bool,
}

const USAGE: &str = "\
blobgate mint --setup <FILE> [OPTIONS]
       blobgate mint --url <URL> --aud <ENVIRONMENT/HOOK> --kid <KID> [OPTIONS]
       blobgate mint --new-key [--alg <ALG>] [--kid <KID>] [--out <FILE>]";

/// The options of a token, which --new-key excludes.
const OF_A_TOKEN: [&str; 11] =
    ["setup", "url", "aud", "job", "prompt", "prompt_file", "ttl", "jti", "no_jti", "key_env", "key_file"];

const EXAMPLES: &str = "\
RunBlob does not sign its webhooks. A token in the callback URL authenticates them: only RunBlob
gets the URL. A token is valid for one hook, until its --ttl ends. Pass the printed URL to RunBlob
as callback_url, one for each generation. The command needs no network and no gate.

The key comes from the environment or a file, never from the command line:
  EdDSA   -----BEGIN PRIVATE KEY-----   PKCS#8 in PEM; the gate has the public half, and cannot sign
  HS256   base64:..., or 32 or more     the same value as in the gate's environment
          bytes of text

With a setup folder of `blobgate init`, every other option has its value there:
  url=$(blobgate mint --setup my-gate/blobgate.yaml --job order-17)

Without one, make a key once. It prints the lines for the gate and for the minter:
  blobgate mint --new-key --kid 2026-02 --out mint.pem

Make a URL for each generation:
  blobgate mint --key-file mint.pem --kid 2026-02 --aud production/veo3 \\
    --url https://hooks.example.com/hooks/veo3 --job order-17
  url=$(blobgate mint --kid 2026-02 --aud production/veo3 \\
    --url https://hooks.example.com/hooks/veo3)

Replace a key without losing a delivery:
  1. Add the new kid to token.keys of every gate, beside the old one.
  2. Let the minters sign with the new key and its kid.
  3. Remove the old kid once its last token has expired.

Exit code: 0 when it prints a URL or a key, 1 when it cannot, 2 for wrong usage.";

/// A database column of the usual width cuts or refuses a longer URL.
pub(crate) const USUAL_WIDTH: usize = 255;

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if args.new_key {
        new_key::run(args.alg.unwrap_or(Algorithm::EdDsa), args.kid, args.out.as_deref(), args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let prompt = prompt(&args)?;
    let of_setup = match &args.setup {
        Some(file) => Some(SetupToken::of(&Setup::load(file)?, args.kid.as_ref())?),
        None => None,
    };
    let (url, aud, kid, setup_key) = match of_setup {
        Some(SetupToken { url, aud, kid, key }) => (Some(url), Some(aud), Some(kid), key),
        None => (args.url, args.aud, args.kid, None),
    };
    let (Some(url), Some(aud), Some(kid)) = (url, aud, kid) else {
        let message =
            "an option is missing. Pass --setup, or --url, --aud and --kid for a token, or --new-key";
        let mut command = <Args as clap::Args>::augment_args(clap::Command::new("blobgate mint"));
        command.error(ErrorKind::MissingRequiredArgument, message).exit();
    };
    let key = match (args.key_file, setup_key) {
        (Some(file), _) => MintKey::from_file(&file)?,
        (None, Some(key)) => key,
        (None, None) => MintKey::from_environment(&args.key_env)?,
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
        print_json(serde_json::to_string_pretty(&minted)?);
    } else {
        print_line(format_args!("{}", minted.url));
    }
    Ok(ExitCode::SUCCESS)
}

/// The output of `--json`.
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
            let bytes = std::fs::read(file)
                .map_err(|error| anyhow!("cannot read {name}: {error}. Name a file with --prompt-file"))?;
            Some(
                String::from_utf8(bytes).map_err(|_| {
                    anyhow!("cannot use {name} as a prompt: it is not UTF-8. Encode it in UTF-8")
                })?,
            )
        }
    };
    ensure!(
        prompt.as_deref() != Some(""),
        "the prompt is empty, and the gate refuses empty prompts. Pass another one, or none"
    );
    if prompt.as_ref().is_some_and(|prompt| prompt.ends_with('\n')) {
        eprint_line(format_args!(
            "blobgate: warning: the prompt ends with a line end. Send it to RunBlob with that line end"
        ));
    }
    Ok(prompt)
}

/// A value of `--ttl` that is no lifetime.
#[derive(Debug, thiserror::Error)]
enum InvalidTtl {
    #[error("it is no time with a unit. Write 90m, 24h or 3days")]
    NoTime,
    #[error("it is under a second, so the token would never be valid. Write 24h, for example")]
    TooShort,
}

/// Parses `90m`, `24h` or `3days`. `exp` has whole seconds.
fn parse_ttl(text: &str) -> Result<Duration, InvalidTtl> {
    let ttl = humantime::parse_duration(text).map_err(|_| InvalidTtl::NoTime)?;
    if ttl < Duration::from_secs(1) { Err(InvalidTtl::TooShort) } else { Ok(ttl) }
}

fn expiry(now: OffsetDateTime, ttl: Duration) -> Result<OffsetDateTime, UsageError> {
    let end = time::Duration::try_from(ttl).ok().and_then(|ttl| now.checked_add(ttl));
    end.ok_or_else(|| UsageError("--ttl ends after the year 9999. Pass 24h, for example".to_owned()))
}

fn warn(url: &CallbackUrl, minted: &MintOutput) {
    if url.is_plaintext() {
        eprint_line(format_args!(
            "blobgate: warning: http:// shows the token to the network. Use https:// elsewhere"
        ));
    }
    let length = minted.url.len();
    if length > USUAL_WIDTH {
        eprint_line(format_args!(
            "blobgate: warning: the URL has {length} characters, and some databases cut it at {USUAL_WIDTH}. \
             Use HS256, --no-jti, or a shorter --job or --kid"
        ));
    }
}
