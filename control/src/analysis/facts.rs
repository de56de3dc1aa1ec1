//! The sums that a decision is made of, stage by stage: small enough to be written down with every decision,
//! and enough to repeat it to the last bit. Read off the counts here; what follows from them stands in
//! [`figures`](super::figures), which never sees a count again.

use serde::{Deserialize, Serialize};
use serin_config::model::{Metric, MetricKind};
use serin_stats::cluster::Moments;
use serin_stats::histogram::Quantiles;
use serin_stats::quantile::{QuantileBounds, QuantileLevel, RHO};
use serin_stats::snapshot::{ArmCounts, Buckets, PerArm};
use serin_stats::split::LatencyReference;

use super::stored;

/// What one stage says about the difference between the arms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StageFacts {
    pub(super) epoch: u64,
    pub(super) share: f64,
    pub(super) error: RateFacts,
    pub(super) rejected: RateFacts,
    pub(super) aborted: RateFacts,
    /// Of the whole response, once latencies are ranked.
    pub(super) whole: Option<RankFacts>,
    /// Of the time to the first byte, once it is ranked.
    pub(super) first_byte: Option<BinFacts>,
    /// One for each latency guardrail.
    pub(super) quantiles: Vec<QuantileFacts>,
}

/// Requests, and those that count, per user bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RateFacts {
    #[serde(with = "stored::moments")]
    pub(super) baseline: Moments,
    #[serde(with = "stored::moments")]
    pub(super) canary: Moments,
    /// User buckets of the canary with a request that counts.
    pub(super) canary_hit: u64,
}

/// Ranks and slowness per user bucket, against the frozen reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RankFacts {
    /// Sums of half ranks.
    #[serde(with = "stored::moments")]
    pub(super) half_ranks_baseline: Moments,
    #[serde(with = "stored::moments")]
    pub(super) half_ranks_canary: Moments,
    pub(super) slow: RateFacts,
}

/// Ranks of a time that is counted in bins only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct BinFacts {
    pub(super) baseline: BinSums,
    pub(super) canary: BinSums,
    pub(super) reference_total: u64,
}

/// One arm's values against the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct BinSums {
    pub(super) n: u64,
    pub(super) half_ranks: u64,
    pub(super) slow: u64,
}

/// One quantile in both arms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct QuantileFacts {
    pub(super) metric: Metric,
    pub(super) baseline: Readings,
    pub(super) canary: Readings,
}

/// What was read off one arm's histogram, in milliseconds: the quantile, and those at the ends of its
/// confidence sequence, half a rank width w below and above.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Readings {
    pub(super) n: u64,
    pub(super) point: f64,
    /// At the guardrail's share of α.
    pub(super) shown: [Option<f64>; 2],
    /// At the level of a proof.
    pub(super) proof: [Option<f64>; 2],
}

/// What facts depend on beside the counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scale {
    /// The latency guardrails with their shares of α.
    pub(super) quantiles: Vec<(Metric, f64)>,
    /// Error rate of the bounds of a proof.
    pub(super) proof_alpha: f64,
}

impl StageFacts {
    pub(super) fn of(
        (epoch, share): (u64, f64),
        arms: &PerArm<ArmCounts>,
        first_byte: Option<&LatencyReference>,
        scale: &Scale,
    ) -> Self {
        let (b, c) = (&arms.baseline, &arms.canary);
        let rate = |of: fn(&ArmCounts) -> &Buckets| RateFacts::of(b, c, |arm| &arm.requests, of);
        // A stage is ranked for its whole life, or not at all.
        let is_ranked = b.latency.measured.total() + c.latency.measured.total() > 0;
        let mut facts = Self {
            epoch,
            share,
            error: rate(|arm| &arm.errors),
            rejected: rate(|arm| &arm.rejected),
            aborted: rate(|arm| &arm.aborted),
            whole: is_ranked.then(|| RankFacts::of(b, c)),
            first_byte: first_byte
                .filter(|_| is_ranked)
                .map(|reference| BinFacts::of(b, c, reference)),
            quantiles: Vec::new(),
        };
        let deff = facts.slow_deff();
        let read = |first_byte: bool| {
            let is_read = |&(metric, _): &(Metric, f64)| (metric == Metric::TtftP95) == first_byte;
            let times = |arm: &ArmCounts| match first_byte {
                true => arm.latency.first_byte.quantiles(),
                false => arm.latency.total.quantiles(),
            };
            let wanted = scale.quantiles.iter().any(is_read);
            wanted.then(|| [times(b), times(c)])
        };
        let (whole, first_byte) = (read(false), read(true));
        facts.quantiles = scale
            .quantiles
            .iter()
            .filter_map(|&(metric, alpha)| {
                let arms = match metric {
                    Metric::TtftP95 => first_byte.as_ref(),
                    _ => whole.as_ref(),
                };
                QuantileFacts::of(metric, arms?, deff, [alpha, scale.proof_alpha])
            })
            .collect();
        facts
    }

    /// Whether the arms can be compared in this stage.
    pub(super) fn compares(&self) -> bool {
        self.share > 0.0 && self.share < 1.0
    }

    /// The design effect of slowness: how much users of one bucket resemble each other in latency.
    pub(super) fn slow_deff(&self) -> f64 {
        self.whole
            .map_or(1.0, |whole| whole.slow.baseline.design_effect())
    }

    pub(super) fn quantile(&self, metric: Metric) -> Option<&QuantileFacts> {
        self.quantiles.iter().find(|facts| facts.metric == metric)
    }
}

impl RateFacts {
    fn of(
        baseline: &ArmCounts,
        canary: &ArmCounts,
        requests: fn(&ArmCounts) -> &Buckets,
        counted: fn(&ArmCounts) -> &Buckets,
    ) -> Self {
        let moments = |arm| Moments::of(&requests(arm).0, &counted(arm).0);
        let hit = counted(canary).0.iter().filter(|&&x| x > 0).count();
        Self {
            baseline: moments(baseline),
            canary: moments(canary),
            canary_hit: hit as u64,
        }
    }
}

impl RankFacts {
    fn of(baseline: &ArmCounts, canary: &ArmCounts) -> Self {
        let ranks = |arm: &ArmCounts| {
            let latency = &arm.latency;
            Moments::of(&latency.measured.0, &latency.half_ranks.0)
        };
        Self {
            half_ranks_baseline: ranks(baseline),
            half_ranks_canary: ranks(canary),
            slow: RateFacts::of(
                baseline,
                canary,
                |arm| &arm.latency.measured,
                |arm| &arm.latency.slow,
            ),
        }
    }
}

impl BinFacts {
    fn of(baseline: &ArmCounts, canary: &ArmCounts, reference: &LatencyReference) -> Self {
        let sums = |arm: &ArmCounts| {
            let mut sums = BinSums::default();
            let counts = arm.latency.first_byte.counts();
            for (bin, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
                let (half_rank, slow) = reference.rank_bin(bin);
                sums.n += count;
                sums.half_ranks = sums
                    .half_ranks
                    .saturating_add(count.saturating_mul(u64::from(half_rank)));
                sums.slow += if slow { count } else { 0 };
            }
            sums
        };
        Self {
            baseline: sums(baseline),
            canary: sums(canary),
            reference_total: reference.total(),
        }
    }
}

impl QuantileFacts {
    fn of(
        metric: Metric,
        [baseline, canary]: &[Quantiles; 2],
        deff: f64,
        [shown, proof]: [f64; 2],
    ) -> Option<Self> {
        let MetricKind::Latency { quantile } = metric.kind() else {
            return None;
        };
        let read = |times: &Quantiles| {
            let n = times.total() as f64;
            let bounds = |alpha| level(quantile, alpha).bounds(n, deff, |q| times.at_ms(q));
            let (shown, proof) = (bounds(shown)?, bounds(proof)?);
            Some(Readings {
                n: times.total(),
                point: shown.point,
                shown: [shown.low, shown.high],
                proof: [proof.low, proof.high],
            })
        };
        Some(Self {
            metric,
            baseline: read(baseline)?,
            canary: read(canary)?,
        })
    }
}

impl Readings {
    /// The bounds at the guardrail's share of α, or at the level of a proof.
    pub(super) fn bounds(&self, proof: bool) -> QuantileBounds {
        let [low, high] = if proof { self.proof } else { self.shown };
        QuantileBounds {
            point: self.point,
            rank_half_width: 0.0,
            low,
            high,
        }
    }
}

/// The engine's bounds of a quantile at this error rate.
pub(super) const fn level(quantile: f64, alpha: f64) -> QuantileLevel {
    QuantileLevel {
        quantile,
        rho: RHO,
        alpha,
    }
}
