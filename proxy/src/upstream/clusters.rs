//! All backends of a configuration: made, kept through reloads, shown as metrics.

use std::sync::Arc;

use serin_config::model::Config;
use serin_stats::metrics::Page;
use serin_stats::names::{self, label};
use serin_stats::snapshot::{Arm, PerArm};

use super::cluster::Cluster;

/// By route, in the order of the configuration, and arm.
#[derive(Debug, Default)]
pub(crate) struct Clusters(Box<[PerArm<Option<Arc<Cluster>>>]>);

impl Clusters {
    /// Of this configuration; what a former one learned stays.
    pub(crate) fn new(config: &Config, former: Option<&Self>) -> Self {
        let routes = config.routes.iter().map(|route| {
            let of = |arm: Arm, backend: Option<&_>| {
                let backend = backend?;
                let former = former.and_then(|former| former.named(&route.name, arm));
                Some(match former {
                    Some(former) if former.is_of(backend) => Arc::clone(former),
                    former => {
                        let former = former.map(|former| &**former);
                        Arc::new(Cluster::new(&route.name, arm.name(), backend, former))
                    }
                })
            };
            PerArm {
                baseline: of(Arm::Baseline, Some(&route.baseline)),
                canary: of(Arm::Canary, route.canary.as_ref()),
            }
        });
        let clusters = Self(routes.collect());
        if let Some(former) = former {
            former.retire(&clusters);
        }
        clusters
    }

    /// Of the route at this place.
    pub(crate) fn of(&self, route: usize, arm: Arm) -> Option<&Arc<Cluster>> {
        self.0.get(route)?.get(arm).as_ref()
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.0
            .iter()
            .flat_map(|arms| [&arms.baseline, &arms.canary])
            .flatten()
    }

    fn named(&self, route: &str, arm: Arm) -> Option<&Arc<Cluster>> {
        let is_of = |cluster: &&Arc<Cluster>| *cluster.route == *route && cluster.arm == arm.name();
        self.all().find(is_of)
    }

    /// Members that are in none of the new clusters are asked no more.
    fn retire(&self, new: &Self) {
        for old in self.all() {
            let arm = Arm::ALL.into_iter().find(|arm| arm.name() == old.arm);
            let successor = arm.and_then(|arm| new.named(&old.route, arm));
            old.retire(successor.map(|cluster| &**cluster));
        }
    }

    /// Writes how endpoints are onto the page.
    pub(crate) fn metrics(&self, page: &mut Page, now_ms: u64) {
        let endpoints = page.family(&names::ENDPOINTS);
        for cluster in self.all() {
            for (endpoint, states) in cluster.states(now_ms) {
                let endpoint = endpoint.to_string();
                for (state, count) in states {
                    let [route, arm] = labels(cluster);
                    let labels = [
                        route,
                        arm,
                        (label::ENDPOINT, endpoint.as_str()),
                        (label::STATE, state.name()),
                    ];
                    endpoints.add(&labels, count);
                }
            }
        }
        let ejections = page.family(&names::EJECTIONS);
        for cluster in self.all() {
            ejections.add(&labels(cluster), cluster.ejections());
        }
        let limited = || {
            self.all()
                .filter_map(|cluster| Some((cluster, cluster.admission.as_ref()?)))
        };
        if limited().next().is_none() {
            return;
        }
        let waiting = page.family(&names::BACKEND_WAITING);
        for (cluster, admission) in limited() {
            waiting.add(&labels(cluster), admission.waiting());
        }
        let shed = page.family(&names::BACKEND_SHED);
        for (cluster, admission) in limited() {
            shed.add(&labels(cluster), admission.count_shed());
        }
    }
}

fn labels(cluster: &Cluster) -> [(&'static str, &str); 2] {
    [(label::ROLLOUT, &*cluster.route), (label::ARM, cluster.arm)]
}
