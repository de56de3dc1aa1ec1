//! How counts are written down: serde forms of the values of `serin-stats`, which knows no serde.
//!
//! Most of 256 buckets, 852 bins and 1,024 words are zero in a young rollout, so lists of (index, value) are
//! kept. Reading back gives the same counts to the bit; what lies outside the known range is an error.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serin_stats::histogram::{BINS, Histogram};
use serin_stats::shadow::ShadowCounts;
use serin_stats::snapshot::{ArmCounts, Buckets, LatencyCounts, PerArm, USER_BUCKETS};
use serin_stats::split::LatencyReference;

/// The non-zero entries of a list of counts.
pub(crate) type Sparse = Vec<(u32, u64)>;

pub(crate) fn sparse(counts: &[u64]) -> Sparse {
    (0..)
        .zip(counts)
        .filter(|&(_, &count)| count != 0)
        .map(|(index, &count)| (index, count))
        .collect()
}

pub(crate) fn dense(entries: &[(u32, u64)], len: usize) -> Result<Vec<u64>, String> {
    let mut counts = vec![0; len];
    for &(index, count) in entries {
        let slot = usize::try_from(index)
            .ok()
            .and_then(|index| counts.get_mut(index))
            .ok_or_else(|| format!("index {index} is out of range 0..{len}"))?;
        *slot = count;
    }
    Ok(counts)
}

/// A list of counts of any length.
pub(crate) mod counts {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Sparse, dense, sparse};
    use serde::de::Error as _;

    /// No list here is longer.
    const MAX_LEN: usize = 1 << 16;

    pub(crate) fn serialize<S: Serializer>(list: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        (list.len(), sparse(list)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u64>, D::Error> {
        let (len, entries) = <(usize, Sparse)>::deserialize(deserializer)?;
        if len > MAX_LEN {
            return Err(D::Error::custom(format!("a list of {len} counts")));
        }
        dense(&entries, len).map_err(D::Error::custom)
    }
}

/// A bitmap, as its 64-bit words.
pub(crate) use counts as words;

/// A frozen latency reference, as its histogram.
pub(crate) mod reference {
    use std::sync::Arc;

    use super::{
        BINS, Deserialize, Deserializer, Histogram, LatencyReference, Serialize, Serializer,
        Sparse, dense, sparse,
    };
    use serde::de::Error as _;

    /// Writes the non-zero bins.
    pub(crate) fn serialize<S: Serializer>(
        reference: &Arc<LatencyReference>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        sparse(reference.histogram().counts()).serialize(serializer)
    }

    /// Reads the bins and freezes them again.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<LatencyReference>, D::Error> {
        freeze(&Sparse::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    pub(super) fn freeze(bins: &[(u32, u64)]) -> Result<Arc<LatencyReference>, String> {
        let histogram = Histogram::from_counts(dense(bins, BINS)?);
        LatencyReference::freeze(histogram)
            .map(Arc::new)
            .ok_or_else(|| "an empty latency reference".to_owned())
    }
}

/// A frozen latency reference that may not be there yet.
pub(crate) mod optional_reference {
    use std::sync::Arc;

    use super::{
        Deserialize, Deserializer, LatencyReference, Serialize, Serializer, Sparse, reference,
        sparse,
    };
    use serde::de::Error as _;

    /// Writes the non-zero bins, or nothing.
    pub(crate) fn serialize<S: Serializer>(
        reference: &Option<Arc<LatencyReference>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        reference
            .as_ref()
            .map(|reference| sparse(reference.histogram().counts()))
            .serialize(serializer)
    }

    /// Reads the bins, if there are any, and freezes them again.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<LatencyReference>>, D::Error> {
        Option::<Sparse>::deserialize(deserializer)?
            .map(|bins| reference::freeze(&bins))
            .transpose()
            .map_err(D::Error::custom)
    }
}

/// The counts of both arms.
pub(crate) mod arms {
    use super::{ArmCounts, ArmForm, Deserialize, Deserializer, PerArm, Serialize, Serializer};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(
        arms: &PerArm<ArmCounts>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        [ArmForm::from(&arms.baseline), ArmForm::from(&arms.canary)].serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PerArm<ArmCounts>, D::Error> {
        let [baseline, canary] = <[ArmForm; 2]>::deserialize(deserializer)?;
        Ok(PerArm {
            baseline: baseline.try_into().map_err(D::Error::custom)?,
            canary: canary.try_into().map_err(D::Error::custom)?,
        })
    }
}

/// The sums of both arms.
pub(in crate::analysis) mod totals {
    use super::super::counts::{BothTotals, Totals};
    use super::{Deserialize, Deserializer, PerArm, Serialize, Serializer};

    pub(in crate::analysis) fn serialize<S: Serializer>(
        totals: &BothTotals,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        [&totals.baseline, &totals.canary].serialize(serializer)
    }

    pub(in crate::analysis) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BothTotals, D::Error> {
        let [baseline, canary] = <[Totals; 2]>::deserialize(deserializer)?;
        Ok(PerArm { baseline, canary })
    }
}

/// The counts of copies, by epoch.
pub(in crate::analysis) mod shadow_epochs {
    use std::collections::BTreeMap;

    use super::{Deserialize, Deserializer, Serialize, Serializer, ShadowCounts, ShadowForm};
    use serde::de::Error as _;

    pub(in crate::analysis) fn serialize<S: Serializer>(
        epochs: &BTreeMap<u64, ShadowCounts>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let forms = epochs.iter();
        let forms = forms.map(|(epoch, counts)| (*epoch, ShadowForm::from(counts)));
        forms.collect::<Vec<_>>().serialize(serializer)
    }

    pub(in crate::analysis) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u64, ShadowCounts>, D::Error> {
        let forms = Vec::<(u64, ShadowForm)>::deserialize(deserializer)?.into_iter();
        forms
            .map(|(epoch, form)| Ok((epoch, form.try_into().map_err(D::Error::custom)?)))
            .collect()
    }
}

/// The counts of copies.
pub(in crate::analysis) mod shadow_counts {
    use super::{Deserialize, Deserializer, Serialize, Serializer, ShadowCounts, ShadowForm};
    use serde::de::Error as _;

    pub(in crate::analysis) fn serialize<S: Serializer>(
        counts: &ShadowCounts,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        ShadowForm::from(counts).serialize(serializer)
    }

    pub(in crate::analysis) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ShadowCounts, D::Error> {
        let form = ShadowForm::deserialize(deserializer)?;
        form.try_into().map_err(D::Error::custom)
    }
}

/// One target's counts, written down. A result that is new since then counts none.
#[derive(Serialize, Deserialize)]
struct ShadowForm {
    results: Sparse,
    paired: Sparse,
    only_shadow_failed: Sparse,
    only_baseline_failed: Sparse,
    both_failed: u64,
    latency: Sparse,
    baseline_latency: Sparse,
}

impl From<&ShadowCounts> for ShadowForm {
    fn from(counts: &ShadowCounts) -> Self {
        Self {
            results: sparse(&counts.results),
            paired: sparse(&counts.paired.0),
            only_shadow_failed: sparse(&counts.only_shadow_failed.0),
            only_baseline_failed: sparse(&counts.only_baseline_failed.0),
            both_failed: counts.both_failed,
            latency: sparse(counts.latency.counts()),
            baseline_latency: sparse(counts.baseline_latency.counts()),
        }
    }
}

impl TryFrom<ShadowForm> for ShadowCounts {
    type Error = String;

    fn try_from(form: ShadowForm) -> Result<Self, String> {
        let buckets = |entries: Sparse| dense(&entries, USER_BUCKETS).map(Buckets);
        let histogram = |entries: Sparse| dense(&entries, BINS).map(Histogram::from_counts);
        let mut counts = Self {
            paired: buckets(form.paired)?,
            only_shadow_failed: buckets(form.only_shadow_failed)?,
            only_baseline_failed: buckets(form.only_baseline_failed)?,
            both_failed: form.both_failed,
            latency: histogram(form.latency)?,
            baseline_latency: histogram(form.baseline_latency)?,
            ..Self::default()
        };
        let results = dense(&form.results, counts.results.len())?;
        for (count, result) in counts.results.iter_mut().zip(results) {
            *count = result;
        }
        Ok(counts)
    }
}

/// One arm's counts, written down.
#[derive(Serialize, Deserialize)]
struct ArmForm {
    outcomes: [u64; 4],
    unreachable: u64,
    requests: Sparse,
    errors: Sparse,
    rejected: Sparse,
    aborted: Sparse,
    total: Sparse,
    first_byte: Sparse,
    measured: Sparse,
    slow: Sparse,
    half_ranks: Sparse,
    half_ranks_squared: u64,
}

impl From<&ArmCounts> for ArmForm {
    fn from(counts: &ArmCounts) -> Self {
        let latency = &counts.latency;
        Self {
            outcomes: counts.outcomes,
            unreachable: counts.unreachable,
            requests: sparse(&counts.requests.0),
            errors: sparse(&counts.errors.0),
            rejected: sparse(&counts.rejected.0),
            aborted: sparse(&counts.aborted.0),
            total: sparse(latency.total.counts()),
            first_byte: sparse(latency.first_byte.counts()),
            measured: sparse(&latency.measured.0),
            slow: sparse(&latency.slow.0),
            half_ranks: sparse(&latency.half_ranks.0),
            half_ranks_squared: latency.half_ranks_squared,
        }
    }
}

impl TryFrom<ArmForm> for ArmCounts {
    type Error = String;

    fn try_from(form: ArmForm) -> Result<Self, String> {
        let buckets = |entries: Sparse| dense(&entries, USER_BUCKETS).map(Buckets);
        let histogram = |entries: Sparse| dense(&entries, BINS).map(Histogram::from_counts);
        Ok(Self {
            outcomes: form.outcomes,
            unreachable: form.unreachable,
            requests: buckets(form.requests)?,
            errors: buckets(form.errors)?,
            rejected: buckets(form.rejected)?,
            aborted: buckets(form.aborted)?,
            latency: LatencyCounts {
                total: histogram(form.total)?,
                first_byte: histogram(form.first_byte)?,
                measured: buckets(form.measured)?,
                slow: buckets(form.slow)?,
                half_ranks: buckets(form.half_ranks)?,
                half_ranks_squared: form.half_ranks_squared,
            },
        })
    }
}

/// Sums over user buckets, as a list: filled, n, x, nn, nx, xx.
pub(in crate::analysis) mod moments {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use serin_stats::cluster::Moments;

    type Form = (u64, u64, u64, f64, f64, f64);

    pub(in crate::analysis) fn serialize<S: Serializer>(
        sums: &Moments,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let Moments {
            filled,
            n,
            x,
            nn,
            nx,
            xx,
        } = *sums;
        (filled, n, x, nn, nx, xx).serialize(serializer)
    }

    pub(in crate::analysis) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Moments, D::Error> {
        let (filled, n, x, nn, nx, xx) = Form::deserialize(deserializer)?;
        Ok(Moments {
            filled,
            n,
            x,
            nn,
            nx,
            xx,
        })
    }
}

/// Sums over user buckets that may be missing.
pub(in crate::analysis) mod optional_moments {
    use super::{Deserialize, Deserializer, Serialize, Serializer, moments};
    use serin_stats::cluster::Moments;

    #[derive(Serialize, Deserialize)]
    struct Form(#[serde(with = "moments")] Moments);

    pub(in crate::analysis) fn serialize<S: Serializer>(
        sums: &Option<Moments>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        sums.map(Form).serialize(serializer)
    }

    pub(in crate::analysis) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Moments>, D::Error> {
        Ok(Option::<Form>::deserialize(deserializer)?.map(|Form(sums)| sums))
    }
}
