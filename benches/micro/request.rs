//! The pieces of a request that are ours and pure: finding the route and the arm, and counting the request.
//!
//! The budgets stand beside them; `cargo bench -p serin-benches` prints what they take.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot be set up should fail where it stands"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use serin_proxy::measure::{Measurements, Record};
use serin_proxy::route::{Assignment, Body, Found, RequestFacts, Salt, Table};
use serin_stats::snapshot::{Arm, Outcome};
use serin_stats::split::Split;
use tokio::sync::Notify;

const CONFIG: &str = r#"
listen: 127.0.0.1:0
admin: 127.0.0.1:0
routes:
  - name: digits
    match: {path_prefix: /v2/models/digits}
    routing_key: {header: x-user-id}
    backends:
      baseline:
        release: {version: "1"}
        endpoints: ["http://127.0.0.1:9001"]
      canary:
        release: {version: "2"}
        endpoints: ["http://127.0.0.1:9002"]
    rollout:
      weight: 10%
"#;

fn table() -> Table {
    let config = serin_config::parse(CONFIG, "benchmark").unwrap();
    let split = Split {
        share: 0.1,
        ..Split::baseline_only(1)
    };
    let splits = BTreeMap::from([("digits".to_owned(), Arc::new(split))]);
    Table::new(
        &config,
        &splits,
        &Measurements::new(1, Arc::new(Notify::new())),
    )
}

fn facts(headers: &HeaderMap) -> RequestFacts<'_> {
    RequestFacts {
        fields: headers,
        host: Some("models.example"),
        path: "/v2/models/digits/infer",
        query: None,
        body: Body::Unread,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        request_id: b"0123456789abcdef",
    }
}

/// Hash and table: at most 25 ns. With the route found and the key taken from its header, the whole of routing.
fn assignment(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("assignment");
    let salt = Salt::new(Some(b"secret"), "digits", Some("digest"));
    let mut user = 0_u64;
    group.bench_function("hash and arm", |bencher| {
        bencher.iter(|| {
            user = user.wrapping_add(0x9e37_79b9_7f4a_7c15);
            salt.assign(black_box(&user.to_le_bytes()))
                .arm(black_box(0.1))
        });
    });
    let table = table();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "models.example"),
        ("content-type", "application/json"),
        ("accept", "*/*"),
        ("x-user-id", "user-314"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    group.bench_function("route, key, hash and arm", |bencher| {
        bencher.iter(|| {
            let facts = facts(black_box(&headers));
            let Found::Route(entry) = table.find(&facts) else {
                panic!("no route");
            };
            let share = entry.stage.split().share;
            entry.assign(&facts).unwrap().arm(share)
        });
    });
    group.finish();
}

fn record(assignment: Assignment, total_ms: f64) -> Record {
    Record {
        arm: assignment.arm(0.1),
        assignment,
        outcome: Outcome::Success,
        unreachable: false,
        arrived_ms: 1_700_000_000_000,
        total_ms,
        first_byte_ms: Some(total_ms * 0.3),
    }
}

/// One record: at most 60 ns. Users and latencies differ, as they do: counters are not always in the cache.
fn records(criterion: &mut Criterion) {
    let table = table();
    let stage = Arc::clone(&table.entries().first().unwrap().stage);
    let salt = Salt::new(None, "digits", Some("digest"));
    let records: Vec<Record> = (0..4_096_u32)
        .map(|user| {
            let total_ms = 5.0 + f64::from(user.wrapping_mul(2_654_435_761) >> 20) / 40.0;
            record(salt.assign(&user.to_le_bytes()), total_ms)
        })
        .collect();
    assert!(records.iter().any(|record| record.arm == Arm::Canary));
    let mut turn = records.iter().cycle();
    criterion.bench_function("one record", |bencher| {
        bencher.iter(|| stage.record(0, black_box(turn.next().unwrap())));
    });
}

criterion_group!(benches, assignment, records);
criterion_main!(benches);
