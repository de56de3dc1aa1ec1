//! Pearson's chi-squared: homogeneity of a table of counts, and goodness of fit to declared shares.
//!
//! Fixed-horizon; shown beside the sequential sample-ratio process ([`srm`](crate::srm)) and used for drift of
//! categories.
//!
//! References: Pearson 1900; Yates 1934 (continuity correction); Cramér 1946 (V).

use crate::special::gamma::ln_chi_squared_sf;

/// Expected counts below this make the approximation doubtful.
pub const SMALL_EXPECTED: f64 = 5.0;

/// A chi-squared test.
#[derive(Clone, Debug, PartialEq)]
pub struct ChiSquared {
    /// Σ (observed − expected)²/expected.
    pub statistic: f64,
    /// Degrees of freedom.
    pub dof: u64,
    /// P(χ² > statistic).
    pub p: f64,
    /// Its logarithm, exact where p underflows.
    pub ln_p: f64,
    /// Expected counts, row by row, in the shape of the table without its empty rows and columns.
    pub expected: Vec<Vec<f64>>,
    /// Smallest expected count; warn below [`SMALL_EXPECTED`].
    pub min_expected: f64,
    /// Cramér's V, √(χ²/(n·max(1, min(rows, columns) − 1))), in [0, 1]; 0 for goodness of fit.
    pub cramers_v: f64,
    /// With Yates' correction, for tables of two by two: statistic and p.
    pub yates: Option<(f64, f64)>,
}

/// Are the rows samples of one distribution over the columns? Empty rows and columns are dropped first;
/// missing cells are 0. `None` for an empty table.
#[must_use]
pub fn homogeneity(table: &[Vec<u64>]) -> Option<ChiSquared> {
    let width = table.iter().map(Vec::len).max()?;
    let cell = |row: &[u64], column: usize| row.get(column).copied().unwrap_or(0) as f64;
    let columns: Vec<usize> = (0..width)
        .filter(|&column| table.iter().any(|row| cell(row, column) > 0.0))
        .collect();
    let rows: Vec<Vec<f64>> = table
        .iter()
        .map(|row| {
            columns
                .iter()
                .map(|&column| cell(row, column))
                .collect::<Vec<f64>>()
        })
        .filter(|row| row.iter().sum::<f64>() > 0.0)
        .collect();
    if rows.is_empty() {
        return None;
    }
    let row_sums: Vec<f64> = rows.iter().map(|row| row.iter().sum()).collect();
    let column_sums: Vec<f64> = (0..columns.len())
        .map(|column| rows.iter().map(|row| row[column]).sum())
        .collect();
    let n: f64 = row_sums.iter().sum();
    let expected: Vec<Vec<f64>> = row_sums
        .iter()
        .map(|row| column_sums.iter().map(|column| row * column / n).collect())
        .collect();
    let dof = (rows.len() - 1) as u64 * (columns.len() - 1) as u64;
    let mut test = assess(&rows, expected, dof, 0.0);
    let smaller = rows.len().min(columns.len()) - 1;
    test.cramers_v = (test.statistic / n / smaller.max(1) as f64).sqrt();
    if rows.len() == 2 && columns.len() == 2 {
        let corrected = assess(&rows, test.expected.clone(), dof, 0.5);
        test.yates = Some((corrected.statistic, corrected.p));
    }
    Some(test)
}

/// Do counts follow declared shares? `weights` are scaled to sum to 1; categories without weight are left out.
/// `None` without counts or with fewer than two categories.
#[must_use]
pub fn goodness_of_fit(observed: &[u64], weights: &[f64]) -> Option<ChiSquared> {
    let (counts, weights): (Vec<f64>, Vec<f64>) = observed
        .iter()
        .zip(weights)
        .filter(|&(_, &weight)| weight > 0.0 && weight.is_finite())
        .map(|(&count, &weight)| (count as f64, weight))
        .unzip();
    let (n, total): (f64, f64) = (counts.iter().sum(), weights.iter().sum());
    if counts.len() < 2 || !(n > 0.0) || !total.is_finite() {
        return None;
    }
    let expected = weights.iter().map(|weight| n * weight / total).collect();
    let dof = counts.len() as u64 - 1;
    Some(assess(&[counts], vec![expected], dof, 0.0))
}

/// The statistic of whole tables, each difference moved towards 0 by at most `correction`.
fn assess(observed: &[Vec<f64>], expected: Vec<Vec<f64>>, dof: u64, correction: f64) -> ChiSquared {
    let cells = || observed.iter().flatten().zip(expected.iter().flatten());
    let statistic: f64 = cells()
        .map(|(seen, expected)| ((seen - expected).abs() - correction).max(0.0).powi(2) / expected)
        .sum();
    let ln_p = if dof == 0 {
        0.0
    } else {
        ln_chi_squared_sf(statistic, dof as f64)
    };
    ChiSquared {
        statistic,
        dof,
        p: ln_p.exp(),
        ln_p,
        min_expected: cells()
            .map(|(_, &expected)| expected)
            .fold(f64::INFINITY, f64::min),
        expected,
        cramers_v: 0.0,
        yates: None,
    }
}
