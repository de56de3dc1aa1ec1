//! Where Serin listens: for clients, for operators, for probes.
//!
//! Two listeners on one address would fight over it, or silently share it, so that is an error, and so is an
//! address that an earlier "every interface" already covers. Port 0 lets the kernel choose and never clashes.
//! An admin API that others can reach needs a token.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::{secret, tls};
use crate::model::{Admin, Listener};
use crate::units;
use crate::walk::{At, Fields, Keys};

pub(crate) const LISTEN_KEYS: Keys = Keys {
    known: &["address", "tls"],
    later: &[],
};
pub(crate) const ADMIN_KEYS: Keys = Keys {
    known: &["address", "token_file", "tls"],
    later: &[],
};
/// Most addresses for clients.
const MOST_LISTENERS: usize = 64;
/// Where the admin API is unless told otherwise.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9911);

/// Everything this process binds: `listen`, `admin`, `probe`.
pub(crate) fn sockets(fields: &Fields<'_>) -> (Vec<Listener>, Admin, Option<SocketAddr>) {
    let mut taken = Taken::default();
    let listen = fields.require("listen", "an address such as \"127.0.0.1:8080\"");
    let listeners = listen.map(|at| listeners(at, &mut taken));
    let admin = match fields.get("admin") {
        Some(at) => admin(at, &mut taken),
        None => None,
    };
    let admin = admin.unwrap_or_else(|| unguarded(ADMIN));
    if fields.get("admin").is_none() {
        taken.check_default(ADMIN, &fields.at);
    }
    let probe = fields.get("probe").and_then(|at| taken.address(at));
    (listeners.unwrap_or_default(), admin, probe)
}

fn listeners(at: &At<'_>, taken: &mut Taken) -> Vec<Listener> {
    if at.is_list() {
        let items = at.items("at least one address", MOST_LISTENERS);
        return items
            .iter()
            .filter_map(|item| listener(item, taken))
            .collect();
    }
    listener(at, taken).into_iter().collect()
}

/// `127.0.0.1:8080` or `{address: 127.0.0.1:8080, tls: {…}}`.
fn listener(at: &At<'_>, taken: &mut Taken) -> Option<Listener> {
    if !at.is_map() {
        let address = taken.address(at)?;
        return Some(Listener { address, tls: None });
    }
    let fields = at.fields(LISTEN_KEYS)?;
    let tls = fields.get("tls").and_then(tls::server);
    let address = taken.address(fields.require("address", "an IP address and a port")?)?;
    Some(Listener { address, tls })
}

const fn unguarded(address: SocketAddr) -> Admin {
    Admin {
        address,
        token_file: None,
        token: None,
        tls: None,
    }
}

/// `127.0.0.1:9911` or `{address, token_file, tls}`.
fn admin(at: &At<'_>, taken: &mut Taken) -> Option<Admin> {
    if !at.is_map() {
        let address = taken.address(at)?;
        return guarded(at, unguarded(address));
    }
    let fields = at.fields(ADMIN_KEYS)?;
    let file = fields.get("token_file");
    let token = file.and_then(secret::token);
    let token_file = file
        .and_then(At::as_text)
        .map(|text| Path::new(text).to_owned());
    let tls = fields.get("tls").and_then(tls::server);
    let address = match fields.get("address") {
        Some(at) => taken.address(at)?,
        None => ADMIN,
    };
    guarded(
        at,
        Admin {
            address,
            token_file,
            token,
            tls,
        },
    )
}

/// Off loopback a token is required.
fn guarded(at: &At<'_>, admin: Admin) -> Option<Admin> {
    if !admin.address.ip().to_canonical().is_loopback() && admin.token_file.is_none() {
        let hint = format!("write {{address: \"{}\", token_file: PATH}}", admin.address);
        at.refuse_with(
            &format!("{}, which others can reach, without a token", admin.address),
            "a `token_file`, or a loopback address such as \"127.0.0.1:9911\"",
            Some(hint),
        );
        return None;
    }
    Some(admin)
}

/// The addresses given so far and the line of each.
#[derive(Default)]
struct Taken(Vec<(SocketAddr, u64)>);

impl Taken {
    fn address(&mut self, at: &At<'_>) -> Option<SocketAddr> {
        if at.as_text().is_none() {
            // A number, or nothing: the reader says what to write.
            return at.measured(units::parse_address);
        }
        let address = at.measured(units::parse_address)?;
        if let Some((other, line)) = self.clash(address) {
            at.refuse(
                &format!("address {address}"),
                &format!("each address once ({other} on line {line} takes it)"),
            );
        }
        self.0.push((address, at.line()));
        Some(address)
    }

    /// The admin address nobody wrote down may clash as well.
    fn check_default(&mut self, address: SocketAddr, root: &At<'_>) {
        if let Some((other, line)) = self.clash(address) {
            root.refuse(
                &format!("no `admin`, whose default {address} is taken by {other} on line {line}"),
                "`admin`: another address",
            );
        }
        self.0.push((address, 0));
    }

    fn clash(&self, address: SocketAddr) -> Option<(SocketAddr, u64)> {
        let mut taken = self.0.iter().copied();
        taken.find(|&(other, _)| overlap(other, address))
    }
}

/// Whether binding both would fail or share.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let every = |address: SocketAddr| address.ip().is_unspecified();
    let same_family = one.is_ipv4() == other.is_ipv4();
    one.port() == other.port()
        && one.port() != 0
        && (one.ip() == other.ip() || same_family && (every(one) || every(other)))
}
