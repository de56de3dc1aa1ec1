//! Metrics, traces and logs leave the process as promised, and cost its clients nothing.

mod collectors;
mod logs;
mod page;
mod prometheus;
mod traces;

use crate::support::collector::{Collector, Manner};
use crate::support::model::{Behaviour, ModelServer};
use crate::support::process::Serin;
use crate::support::site::{Digits, Site};

/// A secret of the collector's headers.
const TOKEN: &str = "t0ken-of-the-collector";

/// A process that reports to a collector.
struct Scene {
    site: Site,
    serin: Serin,
    collector: Collector,
    model: ModelServer,
}

impl Scene {
    /// Half the users are the canary's. `protocol` is `grpc` or `http`.
    async fn start(protocol: &str, sample: &str, manner: Manner) -> Self {
        Self::start_with(protocol, sample, manner, |_, text| text).await
    }

    /// The same with an edited configuration.
    async fn start_with(
        protocol: &str,
        sample: &str,
        manner: Manner,
        edit: impl FnOnce(&ModelServer, String) -> String,
    ) -> Self {
        let model = ModelServer::start(Behaviour::EchoTrace);
        let collector = Collector::start(manner);
        let site = Site::new();
        std::fs::write(
            site.path("headers"),
            format!("Authorization: Bearer {TOKEN}\n"),
        )
        .unwrap();
        let digits = Digits::new(model.address(), model.address(), "weight: 50%");
        site.write(format!(
            "{}{}",
            telemetry(&collector.address().to_string(), protocol, sample),
            edit(&model, site.text(&digits)),
        ));
        let serin = site.start().await;
        Self {
            site,
            serin,
            collector,
            model,
        }
    }
}

/// The line of the configuration.
fn telemetry(collector: &str, protocol: &str, sample: &str) -> String {
    let path = if protocol == "http" { "/otlp" } else { "" };
    format!(
        "telemetry: {{otlp: {{endpoint: \"http://{collector}{path}\", protocol: {protocol}, headers_file: headers, \
         interval: 200ms}}, trace_sample: {sample}, service_name: digits-router}}\n"
    )
}
