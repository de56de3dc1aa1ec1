//! A page of metrics: what every part of the process has to tell at one moment, as plain data.
//!
//! Each part writes its families onto the page; the page is rendered as Prometheus text for `/metrics`, and
//! sent as OTLP by those who know that protocol. One page, so both tell the same numbers. Everything is
//! cumulative since the process started; nothing here counts by itself.

mod text;

/// One metric, save for its values. All of them stand in [`names`](crate::names).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As OpenTelemetry spells it: words joined by dots, without unit.
    pub name: &'static str,
    /// What may be done with its values.
    pub kind: Kind,
    /// In UCUM (`s`, `{request}`); empty when it has none.
    pub unit: &'static str,
    /// One sentence for people.
    pub help: &'static str,
}

/// What may be done with a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by bucket.
    Histogram,
}

/// All metrics at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    families: Vec<Family>,
}

/// One metric's values.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Which metric.
    pub metric: &'static Metric,
    /// By labels.
    pub samples: Vec<Sample>,
}

/// A value and what it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// What was measured.
    pub value: Value,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// How many.
    Count(u64),
    /// How much.
    Number(f64),
    /// How they are spread.
    Buckets(Buckets),
}

/// A histogram's counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// Upper bounds (inclusive), rising.
    pub bounds: &'static [f64],
    /// By bucket, not cumulative; one more than bounds.
    pub counts: Vec<u64>,
    /// Of all values.
    pub sum: f64,
}

impl Page {
    /// Starts a metric's family.
    pub fn family(&mut self, metric: &'static Metric) -> &mut Family {
        let at = self.families.len();
        self.families.push(Family {
            metric,
            samples: Vec::new(),
        });
        &mut self.families[at]
    }

    /// In the order in which they were written.
    #[must_use]
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Puts another page's families behind these.
    pub fn append(&mut self, other: Self) {
        self.families.extend(other.families);
    }
}

impl Family {
    /// Adds a value.
    pub fn add(&mut self, labels: &[(&'static str, &str)], value: impl Into<Value>) {
        let labels = labels.iter();
        self.samples.push(Sample {
            labels: labels
                .map(|&(name, text)| (name, text.to_owned()))
                .collect(),
            value: value.into(),
        });
    }
}

impl Buckets {
    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<bool> for Value {
    fn from(holds: bool) -> Self {
        Self::Count(u64::from(holds))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<Buckets> for Value {
    fn from(buckets: Buckets) -> Self {
        Self::Buckets(buckets)
    }
}
