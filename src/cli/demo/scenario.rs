//! What is played: three releases, and the configuration that gives each its chance.

use std::net::SocketAddr;
use std::path::Path;

use super::model_server::{Behaviour, Turn};

/// The route, and so the rollout.
pub(super) const ROLLOUT: &str = "digits";

/// Serves when the demonstration begins.
pub(super) const FIRST: Behaviour = Behaviour {
    version: "1",
    median_latency: 7.0,
    error_rate: 0.001,
    turns: None,
};

/// As good as the first.
pub(super) const GOOD: Behaviour = Behaviour {
    version: "2",
    ..FIRST
};

/// Looks as good, until it met some traffic.
pub(super) const BAD: Behaviour = Behaviour {
    version: "3",
    turns: Some(Turn {
        after: 150,
        error_rate: 0.25,
        slower: 1.5,
    }),
    ..FIRST
};

/// One side of a rollout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Release {
    /// Of the model.
    pub(super) version: &'static str,
    /// Where it is served.
    pub(super) address: SocketAddr,
}

/// The configuration file for one rollout. The times are scaled from minutes to seconds, and so is the
/// evidence: a margin of 2 points instead of the default half point is proven with hundreds of requests instead
/// of thousands. Everything else is the default.
pub(super) fn config(state: &Path, baseline: Release, canary: Release) -> String {
    // A JSON string is a YAML string, whatever stands in the path.
    let state = serde_json::Value::from(state.display().to_string());
    let Release {
        version: old,
        address: old_at,
    } = baseline;
    let Release {
        version: new,
        address: new_at,
    } = canary;
    format!(
        r#"# Written by `serin demo`. Times are scaled from minutes to seconds, and the margin of the error rate is
# wider than the default 0.5pp, so that seconds of traffic are enough to prove it.
listen: 127.0.0.1:0
admin: 127.0.0.1:0
state: {state}
routes:
  - name: {ROLLOUT}
    match: {{path_prefix: /v2/models/digits}}
    routing_key: {{header: x-user-id}}
    backends:
      baseline:
        release: {{model: digits, version: "{old}"}}
        endpoints: ["http://{old_at}"]
      canary:
        release: {{model: digits, version: "{new}"}}
        endpoints: ["http://{new_at}"]
    rollout:
      steps:
        - {{weight: 10%, min_duration: 6s, min_samples: 100}}
        - {{weight: 25%, min_duration: 6s, min_samples: 200}}
        - {{weight: 50%, min_duration: 6s, min_samples: 200}}
        - {{weight: 100%, min_duration: 6s, bake: 6s, holdback: 5%}}
      guardrails:
        - error_rate: {{max_increase: 2pp}}
        - latency_p95: {{max_increase: [50ms, 10%]}}
      analysis: {{interval: 1s, warmup: 1s}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_valid() {
        let release = |version, port| Release {
            version,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        let text = config(
            Path::new("/tmp/it's \"here\""),
            release("1", 9001),
            release("2", 9002),
        );
        let config = serin_config::parse(&text, "serin.yaml").unwrap();
        assert_eq!(config.state, Path::new("/tmp/it's \"here\""));
        assert!(config.route(ROLLOUT).unwrap().rollout.is_some());
    }
}
