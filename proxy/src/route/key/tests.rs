//! One table of cases per source, then the order of sources and the fallbacks.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::route::example::{request, rollout_route};

fn rule(sources: &[KeySource], fallback: KeyFallback) -> KeyRule {
    let mut route = rollout_route("digits");
    route.routing_key = sources.to_vec();
    route.key_fallback = fallback;
    KeyRule::new(&route)
}

fn header(name: &str) -> KeySource {
    KeySource::Header(name.into())
}

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        })
        .collect()
}

fn found(key: &str) -> Result<Key<'_>, Unassigned> {
    Ok(Key::Found(Cow::Borrowed(key.as_bytes())))
}

const ABSENT: Result<Key<'static>, Unassigned> = Err(Unassigned::KeyMissing);

fn check_headers(source: KeySource, lines: &[(&str, &str)], expected: Option<&str>) {
    let fields = fields(lines);
    let key = rule(&[source], KeyFallback::Reject).find(&request(&fields));
    assert_eq!(key, expected.map_or(ABSENT, found), "{lines:?}");
}

#[test]
fn headers() {
    let check = |lines: &[(&str, &str)], expected| {
        check_headers(header("x-user-id"), lines, expected);
    };
    check(&[("X-User-Id", "ada")], Some("ada"));
    check(&[("x-user-id", " ada\t")], Some("ada"));
    check(&[("x-user-id", ""), ("x-user-id", "bob")], Some("bob"));
    check(&[("x-user-id", "zoë")], Some("zoë"));
    check(&[("x-user-id", " ")], None);
    check(&[("x-user", "ada")], None);
    check(&[], None);
}

#[test]
fn cookies() {
    let check = |lines: &[(&str, &str)], expected| {
        check_headers(KeySource::Cookie("uid".into()), lines, expected);
    };
    check(&[("cookie", "uid=ada")], Some("ada"));
    check(&[("cookie", "a=b; uid=ada; c=d")], Some("ada"));
    check(&[("cookie", "a=b;uid=ada")], Some("ada"));
    check(&[("cookie", "uid=\"ada\"")], Some("ada"));
    check(&[("cookie", "uid=a=b==")], Some("a=b=="));
    check(&[("cookie", "uid=; uid=late")], Some("late"));
    // HTTP/2 may send every pair as a field of its own.
    check(&[("cookie", "a=b"), ("cookie", "uid=ada")], Some("ada"));
    check(&[("cookie", "uid=\"\"")], None);
    check(&[("cookie", "UID=ada; xuid=bob; uid")], None);
    check(&[("cookie", "a=\"uid=ada\"")], None);
}

#[test]
fn query_parameters() {
    let fields = HeaderMap::new();
    let check = |query: Option<&str>, expected: Option<&str>| {
        let mut facts = request(&fields);
        facts.query = query;
        let key = rule(&[KeySource::Query("user id".into())], KeyFallback::Reject).find(&facts);
        assert_eq!(key, expected.map_or(ABSENT, found), "{query:?}");
    };
    check(Some("user+id=ada"), Some("ada"));
    check(Some("a=b&user%20id=a%2Bd+a%c3%ab"), Some("a+d aë"));
    check(Some("user+id=&user+id=late"), Some("late"));
    check(Some("user+id=100%"), Some("100%"));
    check(Some("user+id=%zz%4"), Some("%zz%4"));
    check(Some("user+id=a=b"), Some("a=b"));
    check(Some("user+id"), None);
    check(Some("userid=ada"), None);
    check(Some(""), None);
    check(None, None);
}

#[test]
fn bodies() {
    let fields = HeaderMap::new();
    let rule = rule(
        &[KeySource::JsonPointer("/user/id".into())],
        KeyFallback::Reject,
    );
    let check = |body: Body<'_>, expected| {
        let mut facts = request(&fields);
        facts.body = body;
        assert_eq!(rule.find(&facts), expected, "{body:?}");
    };
    check(Body::Unread, Err(Unassigned::BodyNeeded));
    check(Body::TooLarge, ABSENT);
    check(Body::Whole(b""), ABSENT);
    check(Body::Whole(br#"{"user": {"id": ""}}"#), ABSENT);
    check(Body::Whole(br#"{"user": {"id": "ada"}}"#), found("ada"));
    check(Body::Whole(br#"{"user": {"id": 17}}"#), found("17"));
}

#[test]
fn sources_are_tried_in_order_and_the_body_only_when_needed() {
    let sources = [
        header("x-user-id"),
        KeySource::Query("user".into()),
        KeySource::JsonPointer("/user".into()),
        KeySource::Cookie("uid".into()),
    ];
    let rule = rule(&sources, KeyFallback::Reject);
    let fields = fields(&[("x-user-id", ""), ("cookie", "uid=last")]);
    let mut facts = request(&fields);
    assert_eq!(rule.find(&facts), Err(Unassigned::BodyNeeded));
    facts.query = Some("user=second");
    assert_eq!(rule.find(&facts), found("second"));
    facts.query = None;
    facts.body = Body::Whole(br#"{"user": "third"}"#);
    assert_eq!(rule.find(&facts), found("third"));
    facts.body = Body::TooLarge;
    assert_eq!(rule.find(&facts), found("last"));
}

#[test]
fn without_a_key_the_fallback_holds() {
    let fields = HeaderMap::new();
    let facts = request(&fields);
    let find = |fallback| rule(&[header("x-user-id")], fallback).find(&facts);
    assert_eq!(find(KeyFallback::Random), Ok(Key::Request(b"request-1")));
    assert_eq!(find(KeyFallback::ClientIp), Ok(Key::Address(facts.peer)));
    assert_eq!(find(KeyFallback::Reject), ABSENT);
}

#[test]
fn a_peer_is_the_same_client_on_both_address_families() {
    let fields = HeaderMap::new();
    let rule = rule(&[header("x-user-id")], KeyFallback::ClientIp);
    let mut facts = request(&fields);
    let plain = rule.find(&facts).unwrap();
    facts.peer = "::ffff:192.0.2.7".parse().unwrap();
    assert_eq!(rule.find(&facts).unwrap(), plain);
    let salt = Salt::new(None, "digits", None);
    assert_eq!(plain.assign(salt), salt.assign(&[192, 0, 2, 7]));
}

proptest! {
    #[test]
    fn no_header_and_no_query_panics(
        cookie in "[ -~]{0,40}",
        query in "[ -~é]{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let fields = fields(&[("cookie", &cookie)]);
        let mut facts = request(&fields);
        facts.query = Some(&query);
        facts.body = Body::Whole(&body);
        let sources = [
            KeySource::Cookie("a".into()),
            KeySource::Query("a".into()),
            KeySource::JsonPointer("/a".into()),
        ];
        if let Ok(Key::Found(key)) = rule(&sources, KeyFallback::Reject).find(&facts) {
            prop_assert!(!key.is_empty());
        }
    }
}
