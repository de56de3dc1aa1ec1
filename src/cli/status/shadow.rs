//! What copies of requests say, as text: how many succeeded, how they compare with their originals, and whether
//! both criteria of a shadow deployment are met (volume processed without failure, P95 within its limit).

use super::unit::Unit;
use crate::client::view::{Agreement, Shadow, ShadowLatency};
use crate::term::{Colour, Paint, count, p_value, percent};

/// The block below the arms; nothing where nothing is copied.
pub(super) fn render(shadow: &Shadow, paint: Paint) -> String {
    let Some(target) = &shadow.target else {
        return String::new();
    };
    let mut text = String::from("\n");
    let mut line = |label: &str, value: &str| {
        let label = paint.paint(Colour::Faint, &format!("{label:<8}"));
        text.push_str(&format!("  {label}{value}\n"));
    };
    let who = if target == "canary" {
        "the canary"
    } else {
        "the shadow backend"
    };
    let processed = shadow.processed.map_or_else(String::new, |share| {
        format!(", {} processed without failure", percent(share))
    });
    line(
        "copies",
        &format!(
            "{} of requests to {who}: {} offered{processed}",
            percent(shadow.share),
            count(shadow.offered)
        ),
    );
    let pairs = shadow.pairs;
    line(
        "pairs",
        &format!(
            "{} both fine, {} only baseline, {} only shadow, {} neither",
            count(pairs.both_ok),
            count(pairs.only_baseline_ok),
            count(pairs.only_shadow_ok),
            count(pairs.neither)
        ),
    );
    if let Some(agreement) = shadow.agreement {
        line("agree", &agreed(agreement));
    }
    if let Some(latency) = shadow.latency_p95 {
        line("p95", &p95(latency, paint));
    }
    if let Some(why) = &shadow.stopped {
        line("stopped", &paint.paint(Colour::Bad, why));
    }
    text
}

fn agreed(agreement: Agreement) -> String {
    let [low, high] = agreement.interval;
    let mut text = format!(
        "{} ({} … {})",
        percent(agreement.rate),
        percent(low),
        percent(high)
    );
    if let Some(p) = agreement.mcnemar_p {
        text.push_str(&format!(", McNemar p={}", p_value(p)));
    }
    if let Some(kappa) = agreement.kappa {
        text.push_str(&format!(", kappa {kappa:.2}"));
    }
    text
}

fn p95(latency: ShadowLatency, paint: Paint) -> String {
    let ms = |value: Option<f64>| {
        value.map_or_else(|| "-".to_owned(), |ms| Unit::Milliseconds.value(ms))
    };
    let verdict = match latency.met {
        Some(true) => paint.paint(Colour::Good, "met"),
        Some(false) => paint.paint(Colour::Bad, "not met"),
        None => return format!("{}, baseline {}", ms(latency.shadow), ms(latency.baseline)),
    };
    format!(
        "{}, baseline {}, limit {}: {verdict}",
        ms(latency.shadow),
        ms(latency.baseline),
        ms(latency.limit)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_criteria_and_the_agreement_are_shown() {
        let shadow: Shadow = serde_json::from_value(serde_json::json!({
            "target": "canary", "share": 1.0, "offered": 1200, "processed": 0.99,
            "pairs": {"both_ok": 1180, "only_baseline_ok": 10, "only_shadow_ok": 3, "neither": 2},
            "agreement": {"rate": 0.989, "interval": [0.981, 0.994], "mcnemar_p": 0.092, "kappa": 0.23},
            "latency_p95": {"baseline": 14.0, "shadow": 70.5, "limit": 64.0, "met": false},
            "stopped": "shadow_down: the last 20 copies all failed"
        }))
        .unwrap();
        assert_eq!(
            render(&shadow, Paint::plain()),
            "\n  copies  100% of requests to the canary: 1,200 offered, 99% processed without failure\n\
             \x20 pairs   1,180 both fine, 10 only baseline, 3 only shadow, 2 neither\n\
             \x20 agree   98.9% (98.1% … 99.4%), McNemar p=0.09, kappa 0.23\n\
             \x20 p95     70.5ms, baseline 14ms, limit 64ms: not met\n\
             \x20 stopped shadow_down: the last 20 copies all failed\n"
        );
        assert_eq!(render(&Shadow::default(), Paint::plain()), "");
    }
}
