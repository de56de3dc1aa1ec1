//! A backend as all workers see it: its members, who of them is asked, and how much is asked at once.
//!
//! One for each arm of each route. It outlives reloads that leave the backend as it was, and its members outlive
//! those that leave their endpoint as it was: what was learned about them stays. Members are the endpoints'
//! addresses; a name stands for itself until it was looked up.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serin_config::model::{Backend, Balance, Endpoint};

use super::admission::Admission;
use super::balance;
use super::member::{Member, Siblings, Standing, State};
use crate::error::Failure;
use crate::identity::Identity;

/// A backend's endpoints.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Of the route.
    pub(super) route: Arc<str>,
    /// Of the arm.
    pub(super) arm: &'static str,
    /// What was configured.
    pub(super) backend: Backend,
    /// In front of the members, where that is limited.
    pub(super) admission: Option<Admission>,
    /// How often members were left alone.
    ejections: AtomicU64,
    /// How long good answers take, in milliseconds, as bits.
    typical_ms: AtomicU32,
    members: Members,
    /// By endpoint. Also held while it is decided who is left alone.
    known: Mutex<Vec<Vec<Arc<Member>>>>,
}

/// All members, read at every request.
#[derive(Debug)]
enum Members {
    /// Addresses were configured.
    Fixed(Box<[Arc<Member>]>),
    /// Names were.
    Named(ArcSwap<Box<[Arc<Member>]>>),
}

impl Cluster {
    /// Of this backend; what a former one knew about its members is kept.
    pub(super) fn new(
        route: &Arc<str>,
        arm: &'static str,
        backend: &Backend,
        former: Option<&Self>,
    ) -> Self {
        let kept = former.filter(|former| former.backend.tls == backend.tls);
        let known: Vec<Vec<Arc<Member>>> = backend
            .endpoints
            .iter()
            .map(|endpoint| {
                kept.and_then(|former| former.members_of(endpoint))
                    .unwrap_or_else(|| {
                        vec![Arc::new(member(backend, endpoint, None, Arc::default()))]
                    })
            })
            .collect();
        let all: Box<[Arc<Member>]> = known.iter().flatten().cloned().collect();
        if backend.handling.health_check.is_none() {
            // Nobody would ask again.
            all.iter().for_each(|member| member.set_well(true));
        }
        if backend.handling.ejection.is_none() {
            all.iter().for_each(|member| member.pardon(0));
        }
        let members = if backend.endpoints.iter().all(|each| !is_name(each)) {
            Members::Fixed(all)
        } else {
            Members::Named(ArcSwap::from_pointee(all))
        };
        Self {
            route: Arc::clone(route),
            arm,
            backend: backend.clone(),
            admission: backend.handling.concurrency.map(|limit| {
                let former = former.and_then(|former| former.admission.as_ref());
                Admission::new(limit, former)
            }),
            typical_ms: AtomicU32::new(former.map_or(0, |former| former.typical_ms.load(Relaxed))),
            ejections: AtomicU64::new(former.map_or(0, |former| former.ejections.load(Relaxed))),
            members,
            known: Mutex::new(known),
        }
    }

    /// Whether this backend is the same, its release aside.
    pub(super) fn is_of(&self, backend: &Backend) -> bool {
        let own = &self.backend;
        own.endpoints == backend.endpoints
            && own.protocol == backend.protocol
            && own.tls == backend.tls
            && own.handling == backend.handling
    }

    /// The members at this moment.
    pub(super) fn with_members<T>(&self, see: impl FnOnce(&[Arc<Member>]) -> T) -> T {
        match &self.members {
            Members::Fixed(members) => see(members),
            Members::Named(members) => see(&members.load()),
        }
    }

    /// Whether all members are known to speak HTTP/1.1 where that is their choice.
    pub(crate) fn speaks_http1(&self) -> bool {
        self.with_members(|members| members.iter().all(|member| member.speaks_http1()))
    }

    /// Who of several is asked: one of those who [stand](Standing) best. When nobody is to be asked, everybody is: a
    /// backend that is all unwell fails by itself, and visibly.
    pub(super) fn pick<'m>(
        &self,
        members: &'m [Arc<Member>],
        key: u64,
        now_ms: u64,
        dice: &Identity,
    ) -> Option<&'m Arc<Member>> {
        let picked = match self.backend.handling.balance {
            Balance::LeastLoaded => less_loaded(members, now_ms, dice.draw()),
            Balance::RoutingKey => {
                let best = best(members, now_ms);
                let at = balance::for_key(key, best.clone().map(|each| each.candidate()));
                at.and_then(|at| best.clone().nth(at))
            }
        };
        // Another worker may have thought otherwise of one of them meanwhile.
        picked.or_else(|| members.first())
    }

    /// A good answer of one of the members took this long.
    pub(super) fn succeeded_in(&self, latency_ms: f32) {
        /// Of the newest. A lost update is one sample less.
        const WEIGHT: f32 = 1.0 / 32.0;
        let known = self.typical_ms();
        let next = if known == 0.0 {
            latency_ms
        } else {
            known + (latency_ms - known) * WEIGHT
        };
        self.typical_ms.store(next.to_bits(), Relaxed);
    }

    /// How long good answers take, or 0.
    pub(super) fn typical_ms(&self) -> f32 {
        f32::from_bits(self.typical_ms.load(Relaxed))
    }

    /// A member failed a client: leaves it alone for a while, if that is due.
    pub(super) fn blame(&self, member: &Member, now_ms: u64) {
        let Some(rule) = &self.backend.handling.ejection else {
            return;
        };
        let failures = member.blame();
        if failures < rule.failures {
            return;
        }
        // One at a time, so that no two are left alone where there is room for one.
        let _deciding = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (gone, all, longest) = self.with_members(|members| {
            // Who is unwell is gone already: the last who is there is not left alone.
            let gone = members.iter().filter(|each| !each.is_available(now_ms));
            let ejected = members.iter().filter_map(|each| {
                let since = each.ejected_since(now_ms)?;
                Some((since, each))
            });
            let longest = ejected.min_by_key(|(since, _)| *since);
            let longest = longest.map(|(_, each)| Arc::clone(each));
            (gone.count(), members.len(), longest)
        });
        let trip = |gone| member.past().trip(rule, failures, (gone, all), now_ms);
        let tripped = trip(gone).or_else(|| {
            // Who failed long ago is rather asked than who fails now: they may be restarted one after the other.
            let (longest, past) = (longest?, trip(gone.checked_sub(1)?)?);
            longest.pardon(now_ms);
            Some(past)
        });
        if let Some(past) = tripped {
            member.eject(past, now_ms);
            self.ejections.fetch_add(1, Relaxed);
            tracing::warn!(
                route = %self.route, arm = self.arm, endpoint = %member.endpoint,
                address = member.address.map(tracing::field::display), failures, lasts_ms = past.until_ms - now_ms,
                "an endpoint that fails is left alone"
            );
        }
    }

    /// A member gave no answer: says so in the log now and then, and why. Ejections and checks say only that it is so, and
    /// what a handshake stumbled over can be seen nowhere else.
    pub(super) fn complain(&self, member: &Member, failure: &Failure, now_ms: u64) {
        if let Some(times) = member.is_to_be_told(now_ms) {
            tracing::warn!(
                route = %self.route, arm = self.arm, endpoint = %member.endpoint,
                address = member.address.map(tracing::field::display), times, %failure,
                "an endpoint gives no answer"
            );
        }
    }

    /// Takes over the addresses of an endpoint's name. Members whose address stays are kept.
    pub(super) fn resolved(&self, at: usize, addresses: &[SocketAddr]) {
        let Members::Named(members) = &self.members else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(of_name), Some(endpoint)) = (known.get_mut(at), self.backend.endpoints.get(at))
        else {
            return;
        };
        let former = std::mem::take(of_name);
        let siblings = former.first().map(|member| Arc::clone(&member.siblings));
        let siblings = siblings.unwrap_or_default();
        siblings.store(Arc::new(addresses.to_vec()));
        *of_name = addresses
            .iter()
            .map(|&address| {
                let same = |member: &&Arc<Member>| member.address == Some(address);
                former.iter().find(same).cloned().unwrap_or_else(|| {
                    let siblings = Arc::clone(&siblings);
                    Arc::new(member(&self.backend, endpoint, Some(address), siblings))
                })
            })
            .collect();
        for gone in &former {
            if !of_name.iter().any(|stays| Arc::ptr_eq(stays, gone)) {
                gone.retire();
            }
        }
        members.store(Arc::new(known.iter().flatten().cloned().collect()));
    }

    /// Endpoints whose host is a name, with their place.
    pub(super) fn names(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        let endpoints = self.backend.endpoints.iter().enumerate();
        endpoints.filter(|(_, endpoint)| is_name(endpoint))
    }

    /// How many addresses of each endpoint are in each state.
    pub(super) fn states(&self, now_ms: u64) -> Vec<(&Endpoint, [(State, usize); 3])> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = self.backend.endpoints.iter().zip(known.iter());
        endpoints
            .map(|(endpoint, members)| {
                let count = |state| {
                    let such = members.iter().filter(|each| each.state(now_ms) == state);
                    (state, such.count())
                };
                (endpoint, State::ALL.map(count))
            })
            .collect()
    }

    /// How often members were left alone.
    pub(super) fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// Retires the members that a successor doesn't have.
    pub(super) fn retire(&self, successor: Option<&Self>) {
        let kept = |member: &Arc<Member>| {
            successor.is_some_and(|successor| {
                successor
                    .with_members(|members| members.iter().any(|stays| Arc::ptr_eq(stays, member)))
            })
        };
        self.with_members(|members| {
            for gone in members.iter().filter(|member| !kept(member)) {
                gone.retire();
            }
        });
    }

    fn members_of(&self, endpoint: &Endpoint) -> Option<Vec<Arc<Member>>> {
        let at = self
            .backend
            .endpoints
            .iter()
            .position(|own| own == endpoint)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(at).cloned()
    }
}

fn member(
    backend: &Backend,
    endpoint: &Endpoint,
    address: Option<SocketAddr>,
    siblings: Siblings,
) -> Member {
    let tls = backend.tls.clone().filter(|_| endpoint.is_https);
    let member = Member::new(endpoint, address, siblings, tls);
    member.set_proven(backend.handling.health_check.is_none());
    member
}

fn is_name(endpoint: &Endpoint) -> bool {
    endpoint.host.parse::<std::net::IpAddr>().is_err()
}

/// Those who stand best.
fn best(members: &[Arc<Member>], now_ms: u64) -> impl Iterator<Item = &Arc<Member>> + Clone {
    let best = members.iter().map(|member| member.standing(now_ms)).min();
    let stands = move |member: &&Arc<Member>| Some(member.standing(now_ms)) == best;
    members.iter().filter(stands)
}

/// The less loaded of two that are drawn among those who stand best.
fn less_loaded(members: &[Arc<Member>], now_ms: u64, draw: u64) -> Option<&Arc<Member>> {
    let of_two = |one, other| {
        let (one, other): (&Arc<Member>, &Arc<Member>) = (one, other);
        let is_other = other.load(now_ms) < one.load(now_ms);
        if is_other { other } else { one }
    };
    let (first, second) = balance::two_of(members.len(), draw);
    let (first, second) = (members.get(first)?, members.get(second)?);
    let are_good = [first, second].map(|one| one.standing(now_ms) == Standing::Good);
    if are_good == [true, true] {
        return Some(of_two(first, second));
    }
    let mut best = best(members, now_ms);
    match best.clone().count() {
        0 | 1 => best.next(),
        count => {
            let (first, second) = balance::two_of(count, draw);
            Some(of_two(best.clone().nth(first)?, best.nth(second)?))
        }
    }
}

#[cfg(test)]
mod tests;
