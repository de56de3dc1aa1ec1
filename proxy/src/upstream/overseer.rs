//! Looks names and health up, on a thread of its own, and tells the clusters.
//!
//! One task for each cluster that has names or checks, for as long as the cluster is in force. A name that can't
//! be looked up keeps its last addresses; so does one that has none any more.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serin_config::model::Endpoint;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::cluster::Cluster;
use super::clusters::Clusters;
use super::dial::Wire;
use super::health::{self, Streak};
use super::member::Member;
use crate::plane::{Phase, Signal};

/// For one look-up.
const LOOKUP: Duration = Duration::from_secs(10);
/// Members that are asked at the same time, of one cluster.
const AT_ONCE: usize = 32;
/// The most addresses that one name stands for.
const MOST_ADDRESSES: usize = 1000;

/// Watches over what is in force until told to stop.
pub(crate) async fn run(
    mut clusters: watch::Receiver<Arc<Clusters>>,
    mut signal: watch::Receiver<Signal>,
) {
    let mut watched: HashMap<usize, (Arc<Cluster>, AbortHandle)> = HashMap::new();
    loop {
        let in_force = Arc::clone(&clusters.borrow_and_update());
        let address = |cluster: &Arc<Cluster>| Arc::as_ptr(cluster) as usize;
        let wanted: BTreeSet<usize> = in_force.all().map(address).collect();
        watched.retain(|address, (_, task)| {
            let stays = wanted.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for cluster in in_force.all() {
            watched.entry(address(cluster)).or_insert_with(|| {
                let task = tokio::task::spawn_local(watch_over(Arc::clone(cluster)));
                // Held, so that no other cluster comes to lie at its address.
                (Arc::clone(cluster), task.abort_handle())
            });
        }
        tokio::select! {
            changed = clusters.changed() => if changed.is_err() { return },
            _ = signal.wait_for(|signal| signal.phase == Phase::Stopped) => return,
        }
    }
}

async fn watch_over(cluster: Arc<Cluster>) {
    tokio::join!(look_up_all(&cluster), check_all(&cluster));
}

async fn look_up_all(cluster: &Cluster) {
    if cluster.names().next().is_none() {
        return;
    }
    let mut failing = BTreeSet::new();
    let mut ticks = interval(cluster.backend.handling.resolve);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (at, endpoint) in cluster.names() {
            match look_up(endpoint).await {
                Ok(addresses) => {
                    cluster.resolved(at, &addresses);
                    if failing.remove(&at) {
                        tracing::info!(%endpoint, "an endpoint's name is known again");
                    }
                }
                Err(error) => {
                    // Said once: it may stay so for long.
                    if failing.insert(at) {
                        tracing::warn!(%endpoint, error, "an endpoint's name cannot be looked up");
                    }
                }
            }
        }
    }
}

/// All of a name's addresses, each once, in an order of their own.
async fn look_up(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let name = (endpoint.host.as_str(), endpoint.port);
    let found = timeout(LOOKUP, tokio::net::lookup_host(name)).await;
    let found = found.map_err(|_| "no answer in time".to_owned())?;
    let found: BTreeSet<SocketAddr> = found.map_err(|error| error.to_string())?.collect();
    if found.is_empty() {
        return Err("it has no addresses".to_owned());
    }
    Ok(found.into_iter().take(MOST_ADDRESSES).collect())
}

async fn check_all(cluster: &Cluster) {
    let Some(rule) = &cluster.backend.handling.health_check else {
        return;
    };
    let wire = Wire::of(&cluster.backend, false);
    let mut streaks: HashMap<u64, Streak> = HashMap::new();
    let mut ticks = interval(rule.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let members: Vec<Arc<Member>> = cluster.with_members(<[_]>::to_vec);
        let asking = members.iter().map(|member| async move {
            let answer = health::ask(member, rule, wire).await;
            (member, answer)
        });
        let mut answers = stream::iter(asking).buffer_unordered(AT_ONCE);
        let mut asked = HashMap::new();
        while let Some((member, answer)) = answers.next().await {
            let streak = streaks.remove(&member.id);
            let streak = streak.unwrap_or_else(|| Streak::new(member.is_well()));
            let (streak, has_turned) = streak.after(answer.is_ok(), rule);
            if answer.is_ok() {
                member.set_proven(true);
            }
            if has_turned {
                tell(cluster, member, streak, answer.err());
            }
            asked.insert(member.id, streak);
        }
        streaks = asked;
    }
}

fn tell(cluster: &Cluster, member: &Member, streak: Streak, why: Option<String>) {
    member.set_well(streak.is_well());
    let (route, arm) = (&cluster.route, cluster.arm);
    let endpoint = &member.endpoint;
    let address = member.address.map(tracing::field::display);
    if streak.is_well() {
        tracing::info!(%route, arm, %endpoint, address, "an endpoint is well again");
    } else {
        tracing::warn!(%route, arm, %endpoint, address, why, "an endpoint is unwell");
    }
}
