//! The files that operators start from load, and mean what they say.

use std::path::Path;
use std::time::Duration;

use serin_config::model::{KeySource, Plan};

#[test]
fn the_contracts_sample_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/contract.yaml");
    let loaded = serin_config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = &loaded.config;
    assert_eq!(config.listeners, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.limits.max_body, 1 << 30);
    let digits = config.route("digits").unwrap();
    assert_eq!(digits.routing_key, [KeySource::Header("x-user-id".into())]);
    assert_eq!(digits.salt.as_ref().unwrap().0, b"not-a-real-secret");
    let rollout = digits.rollout.as_ref().unwrap();
    let Plan::Steps(steps) = &rollout.plan else {
        panic!("steps expected")
    };
    let weights: Vec<f64> = steps.iter().map(|step| step.weight).collect();
    assert_eq!(weights, [0.05, 0.25, 0.5, 1.0]);
    assert_eq!(steps[3].bake, Some(Duration::from_secs(1800)));
    assert_eq!(steps[3].holdback, 0.05);
    assert_eq!(rollout.guardrails[1].max_increase.over(100.0), 50.0);
    assert_eq!(rollout.guardrails[1].max_increase.over(1000.0), 100.0);
    assert_eq!(rollout.guardrails[1].max, Some(2000.0));
}
