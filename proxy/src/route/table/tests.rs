//! Which requests a route takes, and in which order routes are asked.

use http::HeaderMap;
use serin_stats::snapshot::Arm;
use tokio::sync::Notify;

use super::*;
use crate::route::example::{config, plain_route, request, rollout_route};

fn table(routes: Vec<Route>, splits: &BTreeMap<String, Arc<Split>>) -> Table {
    let measurements = Measurements::new(1, Arc::new(Notify::new()));
    Table::new(&config(routes), splits, &measurements)
}

fn route(name: &str, matcher: Match) -> Route {
    Route {
        matcher,
        ..plain_route(name)
    }
}

/// The name of the route found, `?` when the body is needed first, empty for none.
fn find<'t>(table: &'t Table, facts: &RequestFacts<'_>) -> &'t str {
    match table.find(facts) {
        Found::Route(entry) => &entry.route.name,
        Found::BodyNeeded => "?",
        Found::Nothing => "",
    }
}

fn check(matcher: Match, change: impl for<'a> Fn(&mut RequestFacts<'a>), taken: bool) {
    let mut fields = HeaderMap::new();
    fields.append("x-tier", "free".parse().unwrap());
    fields.append("x-tier", "gold".parse().unwrap());
    let mut facts = request(&fields);
    change(&mut facts);
    let table = table(vec![route("r", matcher.clone())], &BTreeMap::new());
    let expected = if taken { "r" } else { "" };
    assert_eq!(
        find(&table, &facts),
        expected,
        "{matcher:?} {} {:?}",
        facts.path,
        facts.host
    );
}

#[test]
fn hosts() {
    for (wanted, host, taken) in [
        ("models.example", Some("models.example"), true),
        ("models.example", Some("Models.Example:8080"), true),
        ("MODELS.example", Some("models.example"), true),
        ("models.example", Some("models.example.org"), false),
        ("models.example", Some(""), false),
        ("models.example", None, false),
        ("::1", Some("[::1]:8080"), true),
        ("[::1]", Some("[::1]"), true),
        ("::1", Some("[::2]"), false),
    ] {
        let matcher = Match {
            host: Some(wanted.into()),
            ..Match::default()
        };
        check(matcher, |facts| facts.host = host, taken);
    }
}

#[test]
fn paths() {
    for (path, prefix, asked, taken) in [
        (Some("/v2"), None, "/v2", true),
        (Some("/v2"), None, "/v2/", false),
        (None, Some("/v2"), "/v2", true),
        (None, Some("/v2"), "/v2/x", true),
        (None, Some("/v2"), "/v2x", false),
        (None, Some("/v2/"), "/v2/x", true),
        (None, Some("/v2/"), "/v2", false),
        (None, Some("/"), "/anything", true),
        (None, Some("/"), "*", false),
        (Some("/v2/a"), Some("/v2"), "/v2/a", true),
        (Some("/v2/a"), Some("/v1"), "/v2/a", false),
    ] {
        let matcher = Match {
            path: path.map(Into::into),
            path_prefix: prefix.map(Into::into),
            ..Match::default()
        };
        check(matcher, |facts| facts.path = asked, taken);
    }
}

#[test]
fn headers() {
    for (wanted, taken) in [
        (&[("x-tier", "gold")][..], true),
        (&[("x-tier", "free"), ("x-tier", "gold")], true),
        (&[("x-tier", "Gold")], false),
        (&[("x-tier", "gold"), ("x-other", "1")], false),
        (&[("no such name", "gold")], false),
    ] {
        let headers = wanted
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let matcher = Match {
            headers: headers.collect(),
            ..Match::default()
        };
        check(matcher, |_| {}, taken);
    }
}

#[test]
fn the_first_match_wins_and_the_body_is_asked_for_only_when_it_matters() {
    let model = |name: &str| {
        route(
            name,
            Match {
                path: Some("/chat".into()),
                model: Some(name.into()),
                ..Match::default()
            },
        )
    };
    let health = Match {
        path: Some("/health".into()),
        ..Match::default()
    };
    let table = table(
        vec![
            route("health", health),
            model("small"),
            model("large"),
            plain_route("rest"),
        ],
        &BTreeMap::new(),
    );
    let fields = HeaderMap::new();
    let asked = |path, body| {
        let mut facts = request(&fields);
        facts.path = path;
        facts.body = body;
        find(&table, &facts)
    };
    assert_eq!(asked("/health", Body::Unread), "health");
    assert_eq!(asked("/other", Body::Unread), "rest");
    assert_eq!(asked("/chat", Body::Unread), "?");
    assert_eq!(
        asked("/chat", Body::Whole(br#"{"model":"large"}"#)),
        "large"
    );
    assert_eq!(
        asked("/chat", Body::Whole(br#"{"model":"small"}"#)),
        "small"
    );
    assert_eq!(asked("/chat", Body::Whole(b"not json")), "rest");
    assert_eq!(asked("/chat", Body::TooLarge), "rest");
}

#[test]
fn an_entry_bears_its_split_and_assigns_by_key() {
    let split = Arc::new(Split {
        share: 0.25,
        ..Split::baseline_only(7)
    });
    let splits = BTreeMap::from([("digits".to_owned(), Arc::clone(&split))]);
    let table = table(vec![rollout_route("digits"), plain_route("rest")], &splits);
    let [digits, rest] = table.entries() else {
        panic!("two routes, two entries");
    };
    assert!(Arc::ptr_eq(digits.stage.split(), &split));
    assert_eq!((rest.index, rest.stage.split().share), (1, 0.0));

    let mut fields = HeaderMap::new();
    fields.insert("x-user-id", "user-1".parse().unwrap());
    let facts = request(&fields);
    let expected = Salt::new(None, "digits", Some("digest-2")).assign(b"user-1");
    assert_eq!(digits.assign(&facts), Ok(expected));
    assert_eq!(rest.assign(&facts), Ok(rest.salt.assign(b"request-1")));
    assert_eq!(rest.assign(&facts).unwrap().arm(0.0), Arm::Baseline);
}
