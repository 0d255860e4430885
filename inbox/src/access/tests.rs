//! Tests of tokens and sessions.

use super::*;

const OPERATOR: &str = "operator-0123456789";
const READER: &str = "reader-0123456789";
const APP: &str = "application-0123456789";
const NOW: u64 = 1_800_000_000;

fn token(name: &str, role: AccessRole, text: &str) -> AccessToken {
    AccessToken::new(name, role, text).unwrap()
}

fn access() -> Access {
    Access::new(vec![
        token("ops", AccessRole::Operate, OPERATOR),
        token("grafana", AccessRole::Read, READER),
        token("app", AccessRole::Expect, APP),
    ])
}

fn cookie(access: &Access, sent: &str) -> String {
    access.sign_in(sent.as_bytes(), NOW).ok().unwrap().cookie
}

#[test]
fn finds_the_caller_of_a_token() {
    let access = access();
    for (sent, name, role) in [
        (OPERATOR, "ops", AccessRole::Operate),
        (READER, "grafana", AccessRole::Read),
        (APP, "app", AccessRole::Expect),
    ] {
        assert_eq!(access.caller(sent.as_bytes()), Some(Caller::named(name.into(), role)));
    }
    for wrong in ["", "operator-012345678", "operator-0123456789 ", "OPERATOR-0123456789"] {
        assert_eq!(access.caller(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn a_session_ends_with_its_time_and_its_sign_out() {
    let access = access();
    let value = cookie(&access, READER);
    let session = access.session(&value, NOW + SESSION_SECONDS - 1).unwrap();
    assert_eq!(session.caller(), &Caller::named("grafana".into(), AccessRole::Read));
    assert!(access.session(&value, NOW + SESSION_SECONDS).is_none(), "expired");
    let other = cookie(&access, READER);
    access.sign_out(&session, NOW);
    assert!(access.session(&value, NOW).is_none(), "signed out");
    assert!(access.session(&other, NOW).is_some(), "another session of the token");
}

#[test]
fn a_session_survives_a_restart_and_ends_with_its_token() {
    let value = cookie(&access(), OPERATOR);
    let proof = access().session(&value, NOW).unwrap().form_proof().to_owned();
    assert_eq!(
        access().session(&value, NOW).unwrap().form_proof(),
        proof,
        "of another inbox with the tokens"
    );
    let rotated = Access::new(vec![token("ops", AccessRole::Operate, "another-0123456789")]);
    assert!(rotated.session(&value, NOW).is_none());
    // The role is the token's of now.
    let lowered = Access::new(vec![token("ops", AccessRole::Read, OPERATOR)]);
    assert!(!lowered.session(&value, NOW).unwrap().caller().may(AccessRole::Operate));
    let announces = Access::new(vec![token("ops", AccessRole::Expect, OPERATOR)]);
    assert!(announces.session(&value, NOW).is_none(), "it may not visit the page");
}

#[test]
fn rejects_altered_cookies() {
    let access = access();
    let value = cookie(&access, READER);
    assert!(access.session(&value, NOW).is_some());
    for at in 0..value.len() {
        let mut bytes = value.clone().into_bytes();
        bytes[at] ^= 1;
        let altered = String::from_utf8(bytes).unwrap();
        assert!(access.session(&altered, NOW).is_none(), "{altered}");
        assert!(access.session(&value[..at], NOW).is_none(), "{at} bytes");
    }
    let operator = cookie(&access, OPERATOR);
    let (reader_signed, _) = value.rsplit_once('.').unwrap();
    let (_, operator_mac) = operator.rsplit_once('.').unwrap();
    assert!(access.session(&format!("{reader_signed}.{operator_mac}"), NOW).is_none());
    assert!(access.session("", NOW).is_none() && access.session("..", NOW).is_none());
}

#[test]
fn announcing_tokens_begin_no_session() {
    let refused = |sent: &str| access().sign_in(sent.as_bytes(), NOW).err();
    assert_eq!(refused(APP), Some(SignInRefusal::NoVisitor));
    assert_eq!(refused("wrong-0123456789"), Some(SignInRefusal::WrongToken));
    assert_eq!(refused(READER), None);
}

#[test]
fn forms_differ_by_session_and_process() {
    let access = access();
    let proof = |value: &str| access.session(value, NOW).unwrap().form_proof().to_owned();
    assert_ne!(proof(&cookie(&access, READER)), proof(&cookie(&access, READER)));
    assert_ne!(Access::new(Vec::new()).form_proof(), Access::new(Vec::new()).form_proof());
}

#[test]
fn names_what_is_wrong_with_tokens() {
    let one = |name, text: &str| AccessToken::new(name, AccessRole::Read, text).err();
    let long = "x".repeat(65);
    for name in ["", "two words", "a:b", "<b>", "ä", &long] {
        assert_eq!(one(name, READER), Some(InvalidAccessToken::Name), "{name}");
    }
    let of = "a".to_owned();
    assert_eq!(one("a", "fifteen-letters"), Some(InvalidAccessToken::Short(of.clone())));
    assert_eq!(one("a", &"x".repeat(513)), Some(InvalidAccessToken::Long(of.clone())));
    assert_eq!(one("a", "two words of visible text"), Some(InvalidAccessToken::Characters(of.clone())));
    assert_eq!(one("a", "sixteen-letters!"), None);
    let together = |tokens: &[AccessToken]| check_tokens(tokens).err();
    let (old, new) =
        (token("ops", AccessRole::Operate, OPERATOR), token("ops", AccessRole::Operate, "new-0123456789abc"));
    assert_eq!(together(&[old.clone(), new]), None, "a rotation");
    let equal = token("b", AccessRole::Operate, OPERATOR);
    assert_eq!(
        together(&[old.clone(), equal]),
        Some(InvalidAccessToken::Equal("ops".to_owned(), "b".to_owned()))
    );
    let reader = token("ops", AccessRole::Read, READER);
    assert_eq!(
        together(&[old, reader]),
        Some(InvalidAccessToken::Roles("ops".to_owned(), "operate", "read"))
    );
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", token("ops", AccessRole::Operate, OPERATOR));
    assert_eq!(shown, r#"AccessToken { name: "ops", role: Operate, .. }"#);
}

#[tokio::test(start_paused = true)]
async fn a_live_view_ends_after_the_sign_out() {
    let access = access();
    let begun = access.sign_in(READER.as_bytes(), unix_now()).ok().unwrap();
    let minute = Duration::from_secs(60);
    assert!(tokio::time::timeout(minute, access.until_over(&begun.session)).await.is_err(), "it goes on");
    access.sign_out(&begun.session, unix_now());
    tokio::time::timeout(minute, access.until_over(&begun.session)).await.expect("it ends within a minute");
    let expired = access.sign_in(READER.as_bytes(), unix_now() - SESSION_SECONDS).ok().unwrap();
    tokio::time::timeout(minute, access.until_over(&expired.session)).await.expect("it has expired");
}
