//! A block of lines that is drawn again in its place while something changes.

use std::io;

/// Remembers how many lines it drew, so that the next drawing covers them.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    drawn: usize,
}

impl Screen {
    /// Replaces what was drawn before. Lines wider than the terminal are cut by it, lines beyond its height are
    /// left out: both would make the place of the block unknown.
    pub(crate) fn draw(&mut self, text: &str) -> io::Result<()> {
        let rows = terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0));
        let (frame, drawn) = frame(text, self.drawn, rows.saturating_sub(1));
        self.drawn = drawn;
        super::print(&frame)
    }
}

/// The control sequences for one drawing, and the number of lines it takes.
fn frame(text: &str, drawn: usize, rows: usize) -> (String, usize) {
    // ?7l: no wrapping, so that every line takes one row.
    let mut frame = String::from("\x1b[?7l");
    if drawn > 0 {
        frame.push_str(&format!("\x1b[{drawn}A"));
    }
    let mut lines = 0;
    for line in text.lines().take(rows) {
        frame.push_str("\r\x1b[2K");
        frame.push_str(line);
        frame.push('\n');
        lines += 1;
    }
    frame.push_str("\x1b[J\x1b[?7h");
    (frame, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_drawing_covers_the_last() {
        let (first, drawn) = frame("a\nb\n", 0, 10);
        assert_eq!(first, "\x1b[?7l\r\x1b[2Ka\n\r\x1b[2Kb\n\x1b[J\x1b[?7h");
        assert_eq!(drawn, 2);
        let (second, drawn) = frame("c\n", drawn, 10);
        assert!(second.starts_with("\x1b[?7l\x1b[2A"), "{second:?}");
        assert_eq!(drawn, 1);
        assert_eq!(frame("1\n2\n3\n", 0, 2).1, 2);
    }
}
