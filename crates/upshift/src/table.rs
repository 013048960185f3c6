//! Tables for people: columns as wide as their widest cell, no frames, so that they can be cut and searched.

use std::fmt;

/// A table.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Table {
            rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl Table {
    /// Lines of at most so many characters: the widest columns are made narrower, and their cells go on in further lines.
    fn lines(&self, most: Option<usize>) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..columns).map(width).collect();
        let room = most.map(|most| most.saturating_sub(2 * columns.saturating_sub(1)));
        while room.is_some_and(|room| widths.iter().sum::<usize>() > room) {
            match widths.iter_mut().max() {
                Some(widest) if *widest > NARROWEST => *widest -= 1,
                _ => break,
            }
        }
        let mut lines = Vec::new();
        for row in &self.rows {
            let cells: Vec<Vec<String>> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| pieces(cell, *width))
                .collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(1);
            for at in 0..height {
                let mut line = String::new();
                for (cell, width) in cells.iter().zip(&widths) {
                    let piece = cell.get(at).map_or("", String::as_str);
                    line.push_str(&format!("{piece:<width$}  "));
                }
                lines.push(line.trim_end().to_owned());
            }
        }
        lines
    }
}

/// No column is made narrower than this.
const NARROWEST: usize = 8;

/// A cell in lines of at most so many characters: broken between words, and words only where they are longer.
fn pieces(cell: &str, width: usize) -> Vec<String> {
    if cell.chars().count() <= width {
        return vec![cell.to_owned()];
    }
    let mut pieces: Vec<String> = Vec::new();
    let mut current = String::new();
    for word in cell.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if !current.is_empty() && current.chars().count() + 1 + word.len() > width {
            pieces.push(std::mem::take(&mut current));
        }
        while word.len() > width {
            let rest = word.split_off(width);
            pieces.push(word.into_iter().collect());
            word = rest;
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.extend(word);
    }
    pieces.push(current);
    pieces
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines(crate::output::columns())
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn a_table_is_no_wider_than_the_terminal_and_wraps_by_columns() {
        let mut table = Table::new(["BEGAN", "HOST", "STEP", "RESULT"]);
        table.row([
            "1.20 s".into(),
            "a-host-with-a-long-name".into(),
            "every other member serves and has caught up".into(),
            "failed: n2 is not healthy".into(),
        ]);
        let lines = table.lines(Some(60));
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:#?}");
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(["HOST", "VERSION", "NOTE"]);
        table.row(["n1".into(), "3.4.23".into(), String::new()]);
        table.row(["a-long-name".into(), "3.5".into(), "leader".into()]);
        insta::assert_snapshot!(table.to_string(), @r"
        HOST         VERSION  NOTE
        n1           3.4.23
        a-long-name  3.5      leader
        ");
    }
}
