//! Figures over many runs, each with its standard error.

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// A proportion, a median or a mean.
    pub value: f64,
    /// Its standard error.
    pub std_error: f64,
}

/// `count` of `of`, with the binomial standard error; at (count + ½)/(of + 1), so that 0 of 400 has one too.
/// `None` of nothing.
#[must_use]
pub fn proportion(count: usize, of: usize) -> Option<Figure> {
    let n = of as f64;
    let smoothed = (count as f64 + 0.5) / (n + 1.0);
    (of > 0).then(|| Figure {
        value: count as f64 / n,
        std_error: (smoothed * (1.0 - smoothed) / n).sqrt(),
    })
}

/// The median, and half the distance between the order statistics one binomial standard deviation to either
/// side of it. `None` of nothing; infinite values are never reached.
#[must_use]
pub fn median(values: &mut [f64]) -> Option<Figure> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = quantile(values, 0.5)?;
    let reach = 0.5 / (values.len() as f64).sqrt();
    let (low, high) = (
        quantile(values, 0.5 - reach)?,
        quantile(values, 0.5 + reach)?,
    );
    Some(Figure {
        value: middle,
        std_error: if middle.is_finite() {
            (high - low) / 2.0
        } else {
            f64::INFINITY
        },
    })
}

/// The `q`-quantile of ascending values: the smallest one that has at least that share at or below it.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportions_and_medians_with_their_errors() {
        let half = proportion(50, 100).unwrap();
        assert!((half.value - 0.5).abs() < 1e-12 && (half.std_error - 0.05).abs() < 1e-3);
        assert!(proportion(0, 400).unwrap().std_error > 0.0);
        assert_eq!(proportion(0, 0), None);
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let figure = median(&mut values).unwrap();
        assert_eq!(figure.value, 50.0);
        assert!((figure.std_error - 5.0).abs() <= 0.5, "{figure:?}");
        assert_eq!(median(&mut []), None);
        let mut never = vec![f64::INFINITY; 3];
        assert_eq!(median(&mut never).unwrap().value, f64::INFINITY);
    }
}
