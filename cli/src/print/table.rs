//! Aligned columns that fit a terminal.

use super::terminal::one_line;

/// The most columns of characters that a table takes, unless the reader asked for a wide one.
pub const WIDTH: usize = 100;
/// No cell is cut shorter than this.
const LEAST: usize = 12;
const GAP: usize = 3;

/// Rows under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The headings.
    pub head: Vec<String>,
    /// The cells; missing ones are empty.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(head: &[&str]) -> Table {
        Table { head: head.iter().map(|h| (*h).into()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The width of each column, so that all of them take at most `most` characters. The widest gives way first, the
    /// first column (the name) last.
    pub fn widths(&self, most: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(one_line(cell).chars().count());
            }
        }
        let heads: Vec<usize> = self.head.iter().map(|h| h.chars().count().max(LEAST)).collect();
        loop {
            let over =
                (widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)).saturating_sub(most);
            if over == 0 {
                return widths;
            }
            let may_shrink = |(i, width): &(usize, &usize)| **width > heads[*i];
            let (rest, first): (Vec<_>, Vec<_>) =
                widths.iter().enumerate().filter(may_shrink).partition(|(i, _)| *i > 0);
            let Some((i, width)) = rest.into_iter().max_by_key(|(_, w)| **w).or(first.first().copied())
            else {
                return widths;
            };
            // Down to the next widest at most, so that several wide columns share the loss.
            let next = widths.iter().filter(|w| *w < width).max().copied().unwrap_or(0).max(heads[i]);
            widths[i] = (width - over.min((width - next).max(1))).max(heads[i]);
        }
    }

    /// The lines, without trailing blanks.
    pub fn lines(&self, most: usize) -> Vec<String> {
        let widths = self.widths(most);
        std::iter::once(&self.head).chain(&self.rows).map(|row| line(row, &widths)).collect()
    }

    /// Prints it.
    pub fn print(&self, most: usize) {
        for line in self.lines(most) {
            say!("{line}");
        }
    }
}

/// One row in columns of those widths.
pub fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = fit(&one_line(cell), *width);
        let blanks = width.saturating_sub(cell.chars().count()) + GAP;
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', blanks));
    }
    line.truncate(line.trim_end().len());
    line
}

/// Cuts a text, and shows that it was cut.
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.into();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Words in lines of at most that many characters.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(fit(word, width)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_fit() {
        let mut table = Table::new(&["NAME", "STATUS", "MESSAGE"]);
        table.row(vec!["a".into(), "Running".into(), "x".repeat(200)]);
        table.row(vec!["long-name".into(), "Pending".into(), "short".into()]);
        let lines = table.lines(60);
        assert!(lines.iter().all(|l| l.chars().count() <= 60), "{lines:#?}");
        assert_eq!(lines[0], "NAME        STATUS    MESSAGE");
        assert!(lines[1].ends_with('…'));
        assert_eq!(lines[2], "long-name   Pending   short");
    }

    #[test]
    fn a_cell_is_one_line_and_harmless() {
        let mut table = Table::new(&["NAME", "MESSAGE"]);
        table.row(vec!["\x1b[2Ja".into(), "one\nNAME   forged".into()]);
        table.row(vec!["b".into(), "two".into()]);
        let lines = ["NAME     MESSAGE", "^[[2Ja   one...", "b        two"];
        assert_eq!(table.lines(60), lines);
    }

    #[test]
    fn names_are_cut_last_and_never_to_nothing() {
        let mut table = Table::new(&["NAME", "A", "B"]);
        table.row(vec!["n".repeat(40), "a".repeat(40), "b".repeat(40)]);
        let widths = table.widths(80);
        assert_eq!(widths[0], 40, "{widths:?}");
        assert!(widths.iter().sum::<usize>() + 6 <= 80);
        assert!(table.widths(10).iter().all(|w| *w >= LEAST));
    }
}
