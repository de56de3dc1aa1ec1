//! A plain table: columns as wide as their widest cell, two spaces between, no frame.
//!
//! Widths are counted in characters of the words, so that colours, which take no room, don't shift columns.

use super::paint::{Colour, Paint};

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<(String, Option<Colour>)>>,
}

impl Table {
    /// A table with these headings and no rows yet.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; a missing cell is empty.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.painted(cells.map(|cell| (cell, None)));
    }

    /// Adds a row of cells, some of them coloured.
    pub(crate) fn painted<const N: usize>(&mut self, cells: [(String, Option<Colour>); N]) {
        self.rows.push(Vec::from(cells));
    }

    /// The lines, each indented, none with trailing spaces.
    pub(crate) fn render(&self, paint: Paint, indent: &str) -> String {
        let widths = self.widths();
        let heading: Vec<_> = self
            .columns
            .iter()
            .map(|(name, _)| ((*name).to_owned(), Some(Colour::Faint)))
            .collect();
        std::iter::once(&heading)
            .chain(&self.rows)
            .map(|row| self.line(row, &widths, paint, indent))
            .collect()
    }

    fn widths(&self) -> Vec<usize> {
        self.columns
            .iter()
            .enumerate()
            .map(|(index, (name, _))| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(index))
                    .map(|(cell, _)| cell.chars().count())
                    .fold(name.chars().count(), usize::max)
            })
            .collect()
    }

    fn line(
        &self,
        row: &[(String, Option<Colour>)],
        widths: &[usize],
        paint: Paint,
        indent: &str,
    ) -> String {
        let mut line = indent.to_owned();
        let mut owed = 0;
        for ((cell, colour), ((_, align), width)) in row.iter().zip(self.columns.iter().zip(widths))
        {
            let room = width.saturating_sub(cell.chars().count());
            let (before, after) = match align {
                Align::Left => (0, room),
                Align::Right => (room, 0),
            };
            if !cell.is_empty() {
                line.push_str(&" ".repeat(owed + before));
                line.push_str(&match colour {
                    Some(colour) => paint.paint(*colour, cell),
                    None => cell.clone(),
                });
                owed = after + 2;
            } else {
                owed += width + 2;
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[
            ("arm", Align::Left),
            ("requests", Align::Right),
            ("note", Align::Left),
        ]);
        table.row(["baseline".into(), "9,120".into(), String::new()]);
        table.row(["canary".into(), String::new(), "µ".into()]);
        assert_eq!(
            table.render(Paint::plain(), "  "),
            "  arm       requests  note\n  baseline     9,120\n  canary              µ\n"
        );
    }
}
