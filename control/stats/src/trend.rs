//! Does a series rise or fall? Ordinary least squares with its t-test.
//!
//! Sums are taken around the means, so that times in Unix seconds lose no digits. Fixed-horizon; used for
//! drift.

use crate::special::beta::ln_student_sf;

/// A straight line through points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Change of y per unit of x.
    pub slope: f64,
    /// y at x = 0.
    pub intercept: f64,
    /// Correlation, in [−1, 1]; 0 for a constant y.
    pub r: f64,
    /// The test of a zero slope; `None` for fewer than three points.
    pub test: Option<TrendTest>,
}

/// The t-test of a zero slope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrendTest {
    /// Standard error of the slope.
    pub stderr: f64,
    /// Standard error of the intercept.
    pub intercept_stderr: f64,
    /// Slope over its standard error; ±∞ for points exactly on a sloping line, 0 for a constant y.
    pub t: f64,
    /// Degrees of freedom, points − 2.
    pub dof: u64,
    /// Two-sided p-value.
    pub p: f64,
}

/// The line through paired points. `None` for fewer than two, a constant x, or values that are not finite or
/// too large to square.
#[must_use]
pub fn linear(x: &[f64], y: &[f64]) -> Option<Trend> {
    let points = || x.iter().copied().zip(y.iter().copied());
    let count = points().count();
    if count < 2 || points().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
        return None;
    }
    let n = count as f64;
    let mean_x = points().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = points().map(|(_, y)| y).sum::<f64>() / n;
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in points() {
        let (dx, dy) = (x - mean_x, y - mean_y);
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    if !(xx > 0.0) || !xx.is_finite() || !yy.is_finite() {
        return None;
    }
    let slope = xy / xx;
    let intercept = mean_y - slope * mean_x;
    if !slope.is_finite() || !intercept.is_finite() {
        return None;
    }
    let r = if yy > 0.0 {
        (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0)
    } else {
        0.0
    };
    let residual: f64 = points()
        .map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2))
        .sum();
    Some(Trend {
        slope,
        intercept,
        r,
        test: (count > 2).then(|| {
            let dof = n - 2.0;
            let stderr = (residual / dof / xx).sqrt();
            let t = if slope == 0.0 { 0.0 } else { slope / stderr };
            TrendTest {
                stderr,
                intercept_stderr: stderr * (xx / n + mean_x * mean_x).sqrt(),
                t,
                dof: count as u64 - 2,
                p: (2.0 * ln_student_sf(t.abs(), dof).exp()).min(1.0),
            }
        }),
    })
}
