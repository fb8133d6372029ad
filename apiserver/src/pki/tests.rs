use std::os::unix::fs::PermissionsExt;

use jiff::ToSpan;

use super::token::{Bound, Private};
use super::*;

fn account() -> Private {
    let bound = |name: &str| Bound { name: name.into(), uid: "u".into() };
    Private {
        namespace: "default".into(),
        node: None,
        pod: Some(bound("web")),
        secret: None,
        serviceaccount: bound("builder"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_authority_stays_and_its_files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open(dir.path(), Clock::system()).unwrap();
    let admin = first.admin("https://localhost:1").unwrap();
    let token = first.make_bootstrap_token(None).unwrap();
    let (account_token, _) = first.accounts().issue(&[], 600, account()).unwrap();

    let second = Pki::open(dir.path(), Clock::system()).unwrap();
    assert_eq!(second.ca(), first.ca());
    assert_eq!(second.admin("https://localhost:1").unwrap(), admin);
    assert!(second.is_bootstrap_token(&token));
    assert!(second.accounts().check(&account_token).is_some());
    second.server_config(&["other.example".into(), "192.0.2.7".into()]).unwrap();

    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&token), "{} holds the token in clear", path.display());
    }
}

#[test]
fn servers_that_start_at_the_same_time_share_one_authority() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let pki = Pki::open(dir.path(), Clock::system()).unwrap();
        let admin = pki.admin("https://localhost:1").unwrap();
        (pki.ca().to_owned(), admin.key, pki.make_bootstrap_token(None).unwrap())
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let servers: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        servers.into_iter().map(|server| server.join().unwrap()).collect()
    });
    let one = Pki::open(dir.path(), Clock::system()).unwrap();
    for (ca, admin, token) in all {
        assert_eq!((ca.as_str(), admin), (one.ca(), one.admin("https://localhost:1").unwrap().key));
        assert!(one.is_bootstrap_token(&token));
    }
}

#[test]
fn a_lost_key_is_an_error_and_not_a_new_authority() {
    let dir = tempfile::tempdir().unwrap();
    Pki::open(dir.path(), Clock::system()).unwrap();
    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = Pki::open(dir.path(), Clock::system()).err().expect("no authority without its key");
    assert!(error.to_string().ends_with("ca.key: missing beside ca.crt"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn tokens_end_and_foreign_or_changed_ones_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::starting_at(Timestamp::from_second(1_800_000_000).unwrap());
    let pki = Pki::open(dir.path(), clock.clone()).unwrap();
    let (token, end) = pki.accounts().issue(&[], 600, account()).unwrap();
    assert_eq!(end.as_second(), 1_800_000_600);
    let claims = pki.accounts().check(&token).unwrap();
    assert_eq!(claims.sub, "system:serviceaccount:default:builder");
    let (for_others, _) = pki.accounts().issue(&["vault".into()], 600, account()).unwrap();
    assert!(pki.accounts().check(&for_others).is_none());
    let mut changed = token.clone().into_bytes();
    changed[60] ^= 1;
    assert!(pki.accounts().check(&String::from_utf8_lossy(&changed)).is_none());
    for text in ["", ".", "a.b.c", "..."] {
        assert!(pki.accounts().check(text).is_none(), "{text:?}");
    }

    let short = pki.make_bootstrap_token(Some(clock.now() + 1.hour())).unwrap();
    assert!(pki.is_bootstrap_token(&short) && !pki.is_bootstrap_token("abcdef.0123456789abcdef"));
    tokio::time::advance(std::time::Duration::from_secs(3601)).await;
    assert!(pki.accounts().check(&token).is_none());
    assert!(!pki.is_bootstrap_token(&short));
}
