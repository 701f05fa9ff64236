//! Tables for people: columns as wide as their widest cell, two spaces apart.

use std::fmt;

/// How the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under a head.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: impl IntoIterator<Item = (&'static str, Side)>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// One row more; as many cells as there are columns.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |at: usize| {
            let cells = lines.iter().filter_map(|line| line.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in lines {
            let mut text = String::new();
            for ((cell, (_, side)), width) in line.iter().zip(&self.columns).zip(&widths) {
                let cell = match side {
                    Side::Left => format!("{cell:<width$}"),
                    Side::Right => format!("{cell:>width$}"),
                };
                text.push_str(&cell);
                text.push_str("  ");
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// A part of a million as per cent with one place: `34.1 %`.
pub(super) fn percent(ppm: u64) -> String {
    let tenths = (ppm + 500) / 1_000;
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// `part` of `whole` in parts of a million, rounded.
pub(super) fn ppm(part: u128, whole: u128) -> u32 {
    let whole = whole.max(1);
    u32::try_from((part * 1_000_000 + whole / 2) / whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_where_words_end() {
        let mut table = Table::new([("NODE", Side::Left), ("N", Side::Right), ("", Side::Left)]);
        assert!(table.is_empty());
        table.row(["n1".into(), "5".into(), "é".into()]);
        table.row(["n-long".into(), "4096".into(), String::new()]);
        assert_eq!(table.to_string(), "NODE       N\nn1         5  é\nn-long  4096\n");
    }

    #[test]
    fn parts_are_rounded() {
        assert_eq!(percent(341_449), "34.1 %");
        assert_eq!(percent(341_500), "34.2 %");
        assert_eq!((percent(0), percent(1_000_000)), ("0.0 %".into(), "100.0 %".into()));
        assert_eq!((ppm(1, 3), ppm(2, 3), ppm(0, 0)), (333_333, 666_667, 0));
        assert_eq!(ppm(1 << 64, 1 << 64), 1_000_000);
    }
}
