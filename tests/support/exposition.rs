//! Prometheus' text format, read as strictly as Prometheus reads it, and as `promtool check metrics` judges it.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// By name: kind and samples.
    pub(crate) families: BTreeMap<String, Family>,
}

/// One metric.
#[derive(Debug)]
pub(crate) struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: String,
    /// Names with suffix, labels and values.
    pub(crate) samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads a page; panics at anything that is not right.
pub(crate) fn read(text: &str) -> Page {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut page = Page::default();
    let mut current = String::new();
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(name) && !help.is_empty(), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert_eq!(name, helped, "HELP before TYPE");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let family = Family {
                kind: kind.to_owned(),
                samples: Vec::new(),
            };
            let twice = page.families.insert(name.to_owned(), family);
            assert!(twice.is_none(), "{name} a second time");
            name.clone_into(&mut current);
        } else {
            let (name, labels, value) = sample(line);
            let family = page.families.get_mut(&current);
            let family = family.unwrap_or_else(|| panic!("{line} without TYPE"));
            let suffix = name
                .strip_prefix(&current)
                .unwrap_or_else(|| panic!("{line} in family {current}"));
            let suffixes: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            family.samples.push((name, labels, value));
        }
    }
    for (name, family) in &page.families {
        check(name, family);
    }
    page
}

fn check(name: &str, family: &Family) {
    let mut known = BTreeSet::new();
    for (sample, labels, value) in &family.samples {
        assert!(known.insert((sample, labels)), "{sample}{labels:?} twice");
        assert!(family.kind == "gauge" || *value >= 0.0, "{sample} {value}");
    }
    if family.kind != "histogram" {
        return;
    }
    let mut buckets: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for (sample, labels, value) in &family.samples {
        if sample.ends_with("_bucket") {
            let mut labels = labels.clone();
            let bound = labels.remove("le").expect("a bucket has a bound");
            let bound = bound.replace("+Inf", "inf").parse().unwrap();
            buckets.entry(labels).or_default().push((bound, *value));
        }
    }
    for (labels, buckets) in buckets {
        let rises = buckets
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        assert!(rises, "{name}{labels:?}: {buckets:?}");
        let (bound, all) = *buckets.last().unwrap();
        assert_eq!(bound, f64::INFINITY, "{name}{labels:?}");
        let of = |suffix: &str| {
            let wanted = format!("{name}{suffix}");
            let mut samples = family.samples.iter();
            let found = samples.find(|(name, with, _)| *name == wanted && *with == labels);
            found.unwrap_or_else(|| panic!("no {wanted}{labels:?}")).2
        };
        assert_eq!(of("_count"), all, "{name}{labels:?}");
        assert!(of("_sum") >= 0.0);
    }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    let (name, rest) = match series.split_once('{') {
        Some((name, rest)) => (
            name,
            rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}")),
        ),
        None => (series, ""),
    };
    assert!(is_name(name), "{line}");
    (name.to_owned(), labels(rest), value)
}

fn labels(mut rest: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (name, more) = rest.split_once("=\"").unwrap_or_else(|| panic!("{rest}"));
        assert!(is_name(name) && !name.contains(':'), "{rest}");
        let mut value = String::new();
        let mut characters = more.char_indices();
        let end = loop {
            match characters.next().unwrap_or_else(|| panic!("{rest}")) {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, same @ ('\\' | '"'))) => same,
                    other => panic!("{other:?} escaped in {rest}"),
                }),
                (_, plain) => value.push(plain),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{rest}");
        rest = &more[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    labels
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() && name.chars().all(plain)
}
