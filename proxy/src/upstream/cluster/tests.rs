//! Members through look-ups and reloads, and who of them is picked.

use serin_config::model::{Handling, HealthCheck, HealthProbe};

use super::*;
use crate::route::example::plain_route;
use crate::upstream::ejection::Past;

fn backend(hosts: &[&str]) -> Backend {
    let mut backend = plain_route("a").baseline;
    let first = backend.endpoints[0].clone();
    backend.endpoints = hosts
        .iter()
        .map(|host| Endpoint {
            host: (*host).to_owned(),
            ..first.clone()
        })
        .collect();
    backend
}

fn cluster(backend: &Backend, former: Option<&Cluster>) -> Cluster {
    Cluster::new(&"a".into(), "baseline", backend, former)
}

fn members(cluster: &Cluster) -> Vec<Arc<Member>> {
    cluster.with_members(<[_]>::to_vec)
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    let shown = |member: &Arc<Member>| member.address.map_or("?".to_owned(), |at| at.to_string());
    members(cluster).iter().map(shown).collect()
}

fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_name_stands_for_itself_until_it_is_looked_up_and_keeps_who_stays() {
    let named = cluster(&backend(&["10.0.0.1", "models"]), None);
    assert_eq!(addresses(&named), ["10.0.0.1:9001", "?"]);
    let [fixed, by_name] = <[_; 2]>::try_from(members(&named)).unwrap();
    named.resolved(1, &sockets(&["10.1.0.1:9001", "10.1.0.2:9001"]));
    let expected = ["10.0.0.1:9001", "10.1.0.1:9001", "10.1.0.2:9001"];
    assert_eq!(addresses(&named), expected);
    assert!(by_name.is_retired() && !fixed.is_retired());

    let before = members(&named);
    named.resolved(1, &sockets(&["10.1.0.2:9001", "10.1.0.3:9001"]));
    let after = members(&named);
    assert!(Arc::ptr_eq(&before[2], &after[1]), "who stays is the same");
    assert!(before[1].is_retired() && !before[2].is_retired());
    let siblings = after[1].siblings.load_full();
    assert_eq!(*siblings, sockets(&["10.1.0.2:9001", "10.1.0.3:9001"]));
}

#[test]
fn a_reload_keeps_what_is_known_of_endpoints_that_stay() {
    let old = cluster(&backend(&["10.0.0.1", "models"]), None);
    old.resolved(1, &sockets(&["10.1.0.1:9001"]));
    let new = cluster(&backend(&["models", "10.0.0.2"]), Some(&old));
    assert_eq!(addresses(&new), ["10.1.0.1:9001", "10.0.0.2:9001"]);
    assert!(Arc::ptr_eq(&members(&old)[1], &members(&new)[0]));
    old.retire(Some(&new));
    assert!(members(&old)[0].is_retired() && !members(&new)[0].is_retired());
    old.retire(None);
    assert!(members(&old)[1].is_retired());
}

#[test]
fn only_those_who_are_well_are_picked_and_all_of_them_when_nobody_is() {
    let dice = Identity::default();
    for balance in [Balance::LeastLoaded, Balance::RoutingKey] {
        let mut five = backend(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]);
        five.handling = Handling {
            balance,
            ..Handling::DEFAULT
        };
        let cluster = cluster(&five, None);
        let all = members(&cluster);
        let picked = || -> Vec<usize> {
            let pick = |key| cluster.pick(&all, key, 1, &dice).unwrap();
            let place = |key| all.iter().position(|one| Arc::ptr_eq(one, pick(key)));
            let places: std::collections::BTreeSet<_> = (0..300).filter_map(place).collect();
            places.into_iter().collect()
        };
        for (unwell, left) in [
            (&[][..], &[0, 1, 2, 3, 4][..]),
            (&[1], &[0, 2, 3, 4]),
            (&[3], &[0, 2, 4]),
            (&[0, 4], &[2]),
            (&[2], &[0, 1, 2, 3, 4]),
        ] {
            unwell
                .iter()
                .for_each(|&at: &usize| all[at].set_well(false));
            assert_eq!(picked(), left, "{balance:?}");
        }
    }
}

/// Who stands best, by what has become of each.
#[test]
fn doubtful_ones_are_asked_before_those_that_fail_now() {
    let dice = Identity::default();
    for balance in [Balance::LeastLoaded, Balance::RoutingKey] {
        let mut three = backend(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        three.handling = Handling {
            balance,
            ..Handling::DEFAULT
        };
        let cluster = cluster(&three, None);
        let all = members(&cluster);
        let is_picked = |at: usize| {
            (0..50).all(|key| Arc::ptr_eq(cluster.pick(&all, key, 5, &dice).unwrap(), &all[at]))
        };
        all[0].set_well(false);
        let past = Past {
            times: 1,
            until_ms: 100,
        };
        all[1].eject(past, 1);
        assert!(is_picked(2), "{balance:?}: the only good one");
        all[2].shun(true);
        assert!(is_picked(1), "{balance:?}: ejected, not failing now");
        all[1].shun(true);
        all[2].shun(false);
        all[2].set_well(false);
        assert!(is_picked(1), "{balance:?}: rather than who is unwell");
        // Its answer ends it, if it was asked since.
        all[1].redeem(1, 5);
        assert_eq!(all[1].state(5), State::Ejected);
        all[1].redeem(2, 5);
        assert_eq!(all[1].state(5), State::Healthy);
    }
}

/// At most one of two may be left alone: the one that fails now.
#[test]
fn who_fails_now_takes_the_place_of_who_failed_before() {
    let two = backend(&["10.0.0.1", "10.0.0.2"]);
    let cluster = cluster(&two, None);
    let all = members(&cluster);
    let fail = |at: usize, now_ms| (0..5).for_each(|_| cluster.blame(&all[at], now_ms));
    let states = |now_ms| [all[0].state(now_ms), all[1].state(now_ms)];
    fail(0, 1_000);
    assert_eq!(states(1_001), [State::Ejected, State::Healthy]);
    fail(1, 2_000);
    assert_eq!(states(2_001), [State::Healthy, State::Ejected]);
    assert_eq!(cluster.ejections(), 2);
    // Who is unwell by checks can't be asked in its place.
    all[0].set_well(false);
    fail(1, 50_000);
    assert_eq!(states(50_001), [State::Unhealthy, State::Healthy]);
    // Without a rule nobody is left alone.
    let mut never = two.clone();
    never.handling.ejection = None;
    all[0].set_well(true);
    fail(0, 60_000);
    assert_eq!(all[0].state(60_001), State::Ejected);
    let _new = self::cluster(&never, Some(&cluster));
    assert_eq!(all[0].state(60_001), State::Healthy);
}

/// A new endpoint gets clients when a check has found it well, if there are others.
#[test]
fn who_was_never_found_well_waits() {
    let dice = Identity::default();
    let mut checked = backend(&["10.0.0.1"]);
    checked.handling.health_check = Some(HealthCheck {
        probe: HealthProbe::Http("/".into()),
        interval: std::time::Duration::from_secs(1),
        timeout: std::time::Duration::from_secs(1),
        unhealthy: 3,
        healthy: 1,
    });
    let old = cluster(&checked, None);
    members(&old)[0].set_proven(true);
    checked.endpoints = backend(&["10.0.0.1", "10.0.0.2"]).endpoints;
    let new = cluster(&checked, Some(&old));
    let all = members(&new);
    let asked = || -> std::collections::BTreeSet<_> {
        (0..100)
            .map(|key| new.pick(&all, key, 1, &dice).unwrap().address)
            .collect()
    };
    assert_eq!(asked(), [all[0].address].into());
    all[1].set_proven(true);
    assert_eq!(asked().len(), 2);
}

#[test]
fn who_was_unwell_is_asked_again_when_checks_are_given_up() {
    let mut checked = backend(&["10.0.0.1", "10.0.0.2"]);
    checked.handling.health_check = Some(HealthCheck {
        probe: HealthProbe::Http("/".into()),
        interval: std::time::Duration::from_secs(1),
        timeout: std::time::Duration::from_secs(1),
        unhealthy: 1,
        healthy: 1,
    });
    let old = cluster(&checked, None);
    members(&old)[0].set_well(false);
    checked.handling.resolve *= 2;
    let new = cluster(&checked, Some(&old));
    assert_eq!(members(&new)[0].state(1), State::Unhealthy);
    checked.handling.health_check = None;
    let newest = cluster(&checked, Some(&new));
    assert_eq!(members(&newest)[0].state(1), State::Healthy);
}

#[test]
fn the_same_backend_with_another_release_is_the_same() {
    let one = backend(&["10.0.0.1"]);
    let cluster = cluster(&one, None);
    let released = Backend {
        release: None,
        ..one.clone()
    };
    assert!(cluster.is_of(&released));
    assert!(!cluster.is_of(&backend(&["10.0.0.2"])));
}
