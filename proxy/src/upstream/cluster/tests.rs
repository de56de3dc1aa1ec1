//! Members through look-ups and reloads, and who of them is picked.

use serin_config::model::{Handling, HealthCheck, HealthProbe};

use super::*;
use crate::route::example::plain_route;

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
