//! Tables for a terminal.

use crate::output::escape;
use unicode_width::UnicodeWidthStr;

/// The alignment of a column.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Left,
    Right,
}

/// The lines of a table: the column names, then one line for each row.
pub(crate) fn lines<const N: usize>(columns: [(&str, Side); N], rows: &[[String; N]]) -> Vec<String> {
    // Widths count the escaped text, because the terminal shows that.
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| escape(cell).into_owned())).collect();
    let names = columns.map(|(name, _)| name.to_owned());
    let mut widths = [0; N];
    for row in std::iter::once(&names).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(columns).map(|((cell, width), (_, side))| {
            let space = " ".repeat(width.saturating_sub(cell.width()));
            match side {
                Side::Left => format!("{cell}{space}"),
                Side::Right => format!("{space}{cell}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&names).chain(&rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_columns_by_displayed_width() {
        let columns = [("ID", Side::Right), ("ANSWER", Side::Left), ("REASON", Side::Left)];
        let rows = [["7", "東京", "-"], ["1234", "a\u{1b}[2J", ""]].map(|row| row.map(str::to_owned));
        let expected = ["  ID  ANSWER      REASON", "   7  東京        -", "1234  a\\u{1b}[2J"];
        assert_eq!(lines(columns, &rows), expected);
    }
}
