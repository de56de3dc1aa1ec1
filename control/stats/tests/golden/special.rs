//! Special functions.

use serin_stats::special::{beta, gamma, kolmogorov, normal};

use crate::answers::{Answers, Case, SPECIAL};

pub(crate) fn special_functions(case: &Case) -> Option<Answers> {
    let answers = Answers::default();
    if case.has("p") {
        return Some(answers.within("x", normal::quantile(case.f64("p")), SPECIAL, 1e-15));
    }
    if case.has("a") {
        let (a, b, x) = (case.f64("a"), case.f64("b"), case.f64("x"));
        return Some(
            answers
                .tail("lower", beta::ln_lower(a, b, x).exp())
                .tail("upper", beta::ln_upper(a, b, x).exp()),
        );
    }
    if case.has("t") {
        let sf = beta::ln_student_sf(case.f64("t"), case.f64("dof")).exp();
        return Some(answers.tail("sf", sf));
    }
    let x = case.f64("x");
    if case.has("dof") {
        let ln_sf = gamma::ln_chi_squared_sf(x, case.f64("dof"));
        return Some(answers.tail("sf", ln_sf.exp()).tail("ln_sf", ln_sf));
    }
    if case.expects("cdf") {
        return Some(
            answers
                .tail("cdf", normal::cdf(x))
                .tail("log_cdf", normal::ln_cdf(x))
                .tail("sf", normal::sf(x)),
        );
    }
    if case.expects("value") {
        return Some(answers.within("value", gamma::ln_gamma(x), SPECIAL, 1e-14));
    }
    Some(answers.tail("sf", kolmogorov::sf(x)))
}
