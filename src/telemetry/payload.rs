//! The page of metrics, and spans, as OTLP's messages.
//!
//! Everything on the page is cumulative since the process started, and said to be so. OTLP's histograms have
//! the same buckets as the page's: inclusive upper bounds, not cumulative.

use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use serin_stats::metrics::{Buckets, Family, Kind, Page, Sample, Value};

/// Writes messages in the name of this process.
pub(super) struct Payload {
    resource: ResourceAttributesWithSchema,
    /// In nanoseconds of Unix time.
    started: u64,
}

impl Payload {
    /// Counting begins now.
    pub(super) fn new(resource: &Resource) -> Self {
        Self {
            resource: resource.into(),
            started: nanoseconds(SystemTime::now()),
        }
    }

    pub(super) fn traces(&self, spans: Vec<SpanData>) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(spans, &self.resource),
        }
    }

    pub(super) fn metrics(&self, page: &Page, at: SystemTime) -> ExportMetricsServiceRequest {
        let span = TimeSpan {
            from: self.started,
            to: nanoseconds(at),
        };
        let families = page.families().iter();
        let families = families.filter(|family| !family.samples.is_empty());
        let scope = InstrumentationScope {
            name: "serin".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let resource = v1::Resource {
            attributes: self.resource.attributes.0.clone(),
            ..v1::Resource::default()
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope),
                    metrics: families.map(|family| span.metric(family)).collect(),
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        }
    }
}

/// What counts are counts of.
#[derive(Clone, Copy)]
struct TimeSpan {
    from: u64,
    to: u64,
}

impl TimeSpan {
    fn metric(self, family: &Family) -> Metric {
        let cumulative = AggregationTemporality::Cumulative.into();
        let numbers = || family.samples.iter().filter_map(|it| self.number(it));
        let data = match family.metric.kind {
            Kind::Counter => metric::Data::Sum(Sum {
                data_points: numbers().collect(),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            Kind::Gauge => metric::Data::Gauge(Gauge {
                data_points: numbers().collect(),
            }),
            Kind::Histogram => {
                let points = family.samples.iter().filter_map(|it| self.histogram(it));
                metric::Data::Histogram(Histogram {
                    data_points: points.collect(),
                    aggregation_temporality: cumulative,
                })
            }
        };
        Metric {
            name: family.metric.name.to_owned(),
            description: family.metric.help.to_owned(),
            unit: family.metric.unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        }
    }

    fn number(self, sample: &Sample) -> Option<NumberDataPoint> {
        let value = match &sample.value {
            Value::Count(count) => {
                number_data_point::Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX))
            }
            Value::Number(number) => number_data_point::Value::AsDouble(*number),
            Value::Buckets(_) => return None,
        };
        Some(NumberDataPoint {
            attributes: attributes(sample),
            start_time_unix_nano: self.from,
            time_unix_nano: self.to,
            value: Some(value),
            ..NumberDataPoint::default()
        })
    }

    fn histogram(self, sample: &Sample) -> Option<HistogramDataPoint> {
        let Value::Buckets(buckets) = &sample.value else {
            return None;
        };
        let Buckets {
            bounds,
            counts,
            sum,
        } = buckets;
        Some(HistogramDataPoint {
            attributes: attributes(sample),
            start_time_unix_nano: self.from,
            time_unix_nano: self.to,
            count: buckets.count(),
            sum: Some(*sum),
            bucket_counts: counts.clone(),
            explicit_bounds: bounds.to_vec(),
            ..HistogramDataPoint::default()
        })
    }
}

fn attributes(sample: &Sample) -> Vec<KeyValue> {
    let labels = sample.labels.iter();
    labels
        .map(|(name, text)| KeyValue {
            key: (*name).to_owned(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(text.clone())),
            }),
            ..KeyValue::default()
        })
        .collect()
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serin_stats::names;

    use super::*;

    #[test]
    fn a_page_keeps_its_names_kinds_and_numbers() {
        let mut page = Page::default();
        page.family(&names::REQUESTS)
            .add(&[("rollout", "r"), ("arm", "canary")], 7_u64);
        page.family(&names::WEIGHT).add(&[("kind", "actual")], 0.25);
        page.family(&names::EFFECT);
        let buckets = Buckets {
            bounds: &[0.5],
            counts: vec![3, 1],
            sum: 2.5,
        };
        page.family(&names::SERVER_DURATION).add(&[], buckets);
        let resource = Resource::builder_empty().with_service_name("me").build();
        let payload = Payload::new(&resource);
        let message = payload.metrics(&page, SystemTime::now());
        let [of_resource] = &message.resource_metrics[..] else {
            panic!("{message:?}")
        };
        let service = &of_resource.resource.as_ref().unwrap().attributes[0];
        assert_eq!(service.key, "service.name");
        let [requests, weight, durations] = &of_resource.scope_metrics[0].metrics[..] else {
            panic!("an empty family is left out: {message:?}")
        };
        assert_eq!(requests.name, "serin.requests");
        let Some(metric::Data::Sum(sum)) = &requests.data else {
            panic!("{requests:?}")
        };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        let point = &sum.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(7)));
        assert_eq!(point.attributes[1].key, "arm");
        assert!(point.start_time_unix_nano <= point.time_unix_nano);
        let Some(metric::Data::Gauge(gauge)) = &weight.data else {
            panic!("{weight:?}")
        };
        let value = &gauge.data_points[0].value;
        assert_eq!(*value, Some(number_data_point::Value::AsDouble(0.25)));
        assert_eq!(
            (durations.name.as_str(), durations.unit.as_str()),
            ("http.server.request.duration", "s")
        );
        let Some(metric::Data::Histogram(histogram)) = &durations.data else {
            panic!("{durations:?}")
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (4, Some(2.5)));
        assert_eq!(point.bucket_counts, [3, 1]);
        assert_eq!(point.explicit_bounds, [0.5]);
    }
}
