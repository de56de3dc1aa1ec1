//! What people see: colours, numbers, tables and a live screen.
//!
//! Nothing here knows what a rollout is. Colours and redrawing happen on a terminal only; a pipe gets the same
//! words without them.

mod numbers;
mod paint;
mod screen;
mod table;

pub(crate) use numbers::{count, p_value, percent, points, signed, significant, time};
pub(crate) use paint::{Colour, Paint};
pub(crate) use screen::Screen;
pub(crate) use table::{Align, Table};

use std::io::{self, IsTerminal as _, Write as _};

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes to standard output; an error instead of a panic when nobody reads.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to standard error; there is nowhere left to complain when that fails.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
