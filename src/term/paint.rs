//! Colours: on a terminal only, and not with `NO_COLOR` (no-color.org) or a dumb terminal.

use std::ffi::OsStr;

/// Whether to colour, decided once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

/// What a colour means, not how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Good,
    Bad,
    Wait,
    Strong,
    Faint,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Wait => "33",
            Self::Strong => "1",
            Self::Faint => "2",
        }
    }
}

impl Paint {
    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self::decide(
            super::is_terminal(),
            std::env::var_os("NO_COLOR").as_deref(),
            std::env::var_os("TERM").as_deref(),
        )
    }

    /// Without colours.
    pub(crate) const fn plain() -> Self {
        Self { on: false }
    }

    fn decide(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        Self {
            on: terminal && !refused && term != Some(OsStr::new("dumb")),
        }
    }

    /// The text, coloured when that is wanted.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", colour.code())
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_where_they_are_wanted() {
        let set = Some(OsStr::new("1"));
        let xterm = Some(OsStr::new("xterm"));
        assert!(Paint::decide(true, None, xterm).on);
        assert!(Paint::decide(true, Some(OsStr::new("")), xterm).on);
        assert!(!Paint::decide(true, set, xterm).on);
        assert!(!Paint::decide(false, None, xterm).on);
        assert!(!Paint::decide(true, None, Some(OsStr::new("dumb"))).on);
        assert_eq!(
            Paint { on: true }.paint(Colour::Bad, "x"),
            "\x1b[31mx\x1b[0m"
        );
        assert_eq!(Paint::plain().paint(Colour::Bad, "x"), "x");
    }
}
