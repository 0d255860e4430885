//! Columns for people.

use crate::output::escape;

/// Which side of its column a cell is at.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Left,
    Right,
}

/// Lines whose cells stand below each other, the head first.
pub(super) fn lines<const N: usize>(columns: [(&str, Side); N], rows: &[[String; N]]) -> Vec<String> {
    let mut widths = columns.map(|(name, _)| name.len());
    // As wide as they are shown.
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| escape(cell).into_owned())).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: &[String; N]| {
        let cells = cells.iter().zip(&widths).zip(&columns).map(|((cell, width), (_, side))| match side {
            Side::Left => format!("{cell:<width$}"),
            Side::Right => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = columns.map(|(name, _)| name.to_owned());
    std::iter::once(&head).chain(&rows).map(line).collect()
}
