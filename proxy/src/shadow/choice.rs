//! Which requests are copied, and to whom.
//!
//! A key's point in [0, 1) decides its arm; hashed once more, with a seed of its own, it decides whether the
//! request is copied. So a user's requests are copied all or none, the same users in every process and at every
//! share below, and who is copied says nothing about who is given the canary next. A request without a key
//! falls by itself, and so do the requests of a route without a canary, which needs no keys.
//!
//! A step takes users from the low end of that line and a mirror to a backend of its own from the high end:
//! while both are on, as few requests as possible are wanted by both.

use serin_config::model::Route;
use serin_stats::shadow::Target;
use serin_stats::split::Split;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seed of the hash that decides: the bytes of "shadowed".
const SHADOW_SEED: u64 = u64::from_be_bytes(*b"shadowed");

/// 2⁻⁵³: the spacing of the points that 53 hash bits fall on.
const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;

/// One route's shares, under the split in force.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Choice {
    /// Copied to the canary.
    canary: f64,
    /// Copied to the `shadow` backend.
    shadow: f64,
}

impl Choice {
    /// What the configuration asks and the split allows.
    pub(crate) fn new(route: &Route, split: &Split) -> Self {
        let mirror = route.mirror.filter(|_| split.mirror);
        let mirror = mirror.map_or(0.0, |mirror| mirror.share);
        let step = if route.canary.is_some() {
            split.shadow
        } else {
            0.0
        };
        match (&route.shadow, &route.canary) {
            (Some(_), _) => Self {
                canary: step,
                shadow: mirror,
            },
            (None, Some(_)) => Self {
                canary: step.max(mirror),
                shadow: 0.0,
            },
            (None, None) => Self::default(),
        }
    }

    /// Nothing is copied at all.
    pub(crate) fn is_none(&self) -> bool {
        self.canary <= 0.0 && self.shadow <= 0.0
    }

    /// Who gets a copy of the request whose key falls on this point.
    pub(crate) fn target(&self, unit: f64) -> Option<Target> {
        let hash = xxh3_64_with_seed(&unit.to_bits().to_le_bytes(), SHADOW_SEED);
        let point = (hash >> 11) as f64 * UNIT;
        if point < self.canary {
            Some(Target::Canary)
        } else if 1.0 - point <= self.shadow {
            Some(Target::Shadow)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serin_config::model::Mirror;

    use super::*;
    use crate::route::Salt;
    use crate::route::example::{backend, plain_route, rollout_route};

    fn split(shadow: f64, mirror: bool) -> Split {
        Split {
            shadow,
            mirror,
            ..Split::baseline_only(1)
        }
    }

    fn mirrored(mut route: Route, share: f64) -> Route {
        route.mirror = Some(Mirror { share });
        route
    }

    #[test]
    fn the_split_and_the_configuration_must_both_want_it() {
        let (plain, rollout) = (plain_route("a"), rollout_route("a"));
        let shadowed = Route {
            shadow: Some(backend("3")),
            ..mirrored(rollout.clone(), 0.25)
        };
        let shares = |route: &Route, split| {
            let choice = Choice::new(route, &split);
            (choice.canary, choice.shadow)
        };
        assert_eq!(shares(&plain, split(0.5, true)), (0.0, 0.0));
        assert_eq!(shares(&rollout, split(0.5, true)), (0.5, 0.0));
        let own = mirrored(rollout, 0.25);
        assert_eq!(shares(&own, split(0.0, true)), (0.25, 0.0));
        assert_eq!(shares(&own, split(0.1, true)), (0.25, 0.0));
        assert_eq!(shares(&own, split(0.0, false)), (0.0, 0.0));
        assert_eq!(shares(&own, split(1.0, false)), (1.0, 0.0));
        assert_eq!(shares(&shadowed, split(0.1, true)), (0.1, 0.25));
        assert_eq!(shares(&shadowed, split(0.1, false)), (0.1, 0.0));
    }

    /// Shares are kept, larger shares hold the smaller ones, and arms are as many among the copied.
    #[test]
    fn who_is_copied_is_stable_and_has_nothing_to_do_with_the_arm() {
        let salt = Salt::new(None, "digits", Some("v2"));
        let of = |canary, shadow| Choice { canary, shadow };
        let (mut fifth, mut below, mut high, mut arms) = (0_u32, 0_u32, 0_u32, 0_u32);
        for user in 0_u64..20_000 {
            let unit = salt.assign(&user.to_le_bytes()).unit;
            let copied = of(0.2, 0.0).target(unit) == Some(Target::Canary);
            fifth += u32::from(copied);
            if of(0.1, 0.0).target(unit).is_some() {
                assert!(copied);
                below += 1;
            }
            high += u32::from(of(0.2, 0.3).target(unit) == Some(Target::Shadow));
            arms += u32::from(copied && unit < 0.5);
            assert_eq!(of(1.0, 1.0).target(unit), Some(Target::Canary));
            assert_eq!(of(0.0, 1.0).target(unit), Some(Target::Shadow));
            assert_eq!(of(0.0, 0.0).target(unit), None);
        }
        // Five standard deviations.
        assert!(fifth.abs_diff(4_000) < 283, "{fifth}");
        assert!(below.abs_diff(2_000) < 213, "{below}");
        assert!(high.abs_diff(6_000) < 325, "{high}");
        assert!(arms.abs_diff(fifth / 2) < 160, "{arms}");
    }
}
