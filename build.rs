//! How the released binary is laid out on disk, and so in memory.
//!
//! The kernel maps a program in pieces of 64 KiB and more around what is touched. What a start touches is a quarter of the
//! code, but it is spread over nearly all such pieces. `layout.ld` gathers it, and what requests run; `benches/layout` wrote
//! it. Nothing depends on it: names that are not found are passed over, and other linkers and targets go without.

use std::env;
use std::process::Command;

/// Where it was tried: the linker is the one that Rust brings for it.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Since this version the C library's loader understands packed relocations.
const PACKED_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=layout.ld");
    println!("cargo:rerun-if-env-changed=SERIN_LAYOUT");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let is_ours = is("TARGET", TARGET) && is("HOST", TARGET) && is("PROFILE", "release");
    if !is_ours || has_own_linker() {
        return;
    }
    if loader_knows_packed_relocations() {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    if !is("SERIN_LAYOUT", "plain")
        && let Ok(folder) = env::var("CARGO_MANIFEST_DIR")
    {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/layout.ld");
    }
}

/// Whether who builds has chosen a linker, or tells it something.
fn has_own_linker() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    env::var_os("RUSTC_LINKER").is_some() || flags.contains("link")
}

/// Whether the C library of this machine is new enough. A binary runs where the library is no older.
fn loader_knows_packed_relocations() -> bool {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let Ok(output) = output else {
        return false;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = said.split_whitespace().last().unwrap_or_default();
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= PACKED_SINCE,
        _ => false,
    }
}
