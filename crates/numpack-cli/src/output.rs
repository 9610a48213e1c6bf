//! How results look: tables for people, JSON for programs.
use std::borrow::Cow;
use std::io::Write;

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, CellAlignment, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Whether each of the two streams takes colors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Results may hold terminal escapes.
    pub color_out: bool,
    /// Complaints may hold terminal escapes.
    pub color_err: bool,
}

/// What `--color` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// As the surroundings ask for.
    Auto,
    /// Also into files and pipes, and whatever `NO_COLOR` says.
    Always,
    /// Nowhere.
    Never,
}

impl Style {
    /// What is left of the surroundings' style under `--color`.
    pub(crate) fn under(self, color: Color) -> Self {
        let both = |wanted| Self {
            color_out: wanted,
            color_err: wanted,
        };
        match color {
            Color::Auto => self,
            Color::Always => both(true),
            Color::Never => both(false),
        }
    }

    /// `text` as the head of a complaint.
    pub(crate) fn error(self, text: &str) -> String {
        if self.color_err {
            format!("\u{1b}[1;31m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Which way a column leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lean {
    /// Names and types.
    Left,
    /// Numbers.
    Right,
}

/// A text as one line without control characters, which a terminal would obey: names of arrays and
/// files, and values, may hold any. Each is shown as a string of Rust or Python would write it.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    Cow::Owned(line)
}

/// Prints rows under a header, without borders or trailing blanks.
pub(crate) fn table(
    out: &mut dyn Write,
    style: Style,
    columns: &[(&str, Lean)],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if style.color_out {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(
        columns
            .iter()
            .map(|(title, _)| Cell::new(escaped(title)).add_attribute(Attribute::Bold)),
    );
    table.add_rows(
        rows.into_iter()
            .map(|row| row.into_iter().map(|cell| Cell::new(escaped(&cell)))),
    );
    for (column, (_, lean)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match lean {
            Lean::Left => CellAlignment::Left,
            Lean::Right => CellAlignment::Right,
        });
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints `name  value` lines with the values in one column.
pub(crate) fn facts(out: &mut dyn Write, facts: &[(&str, String)]) -> Result<(), Failure> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts {
        writeln!(out, "{name:<width$}  {}", escaped(value))?;
    }
    Ok(())
}

/// Prints one JSON object, indented, with a final newline.
pub(crate) fn json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    Ok(writeln!(out)?)
}

/// `1 row`, `2 rows`.
pub(crate) fn row_count(count: usize) -> String {
    format!("{count} {}", if count == 1 { "row" } else { "rows" })
}

/// A length in bytes for people: `40.0 MB`, in powers of ten as disks are sold.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    // Tenths of the unit, rounded to the nearest; u64::MAX is 18.4 EB, so the list never runs out.
    let mut scale = 1000_u64;
    let mut unit = 0;
    while count / scale >= 1000 && unit + 1 < UNITS.len() {
        scale *= 1000;
        unit += 1;
    }
    let tenths = (u128::from(count) * 10 + u128::from(scale) / 2) / u128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Microseconds since 1970 as `2026-01-31 23:59:59` in UTC, by the proleptic Gregorian calendar.
pub(crate) fn utc(microseconds: u64) -> String {
    let seconds = microseconds / 1_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years counted from March put the leap day at the end of the year; 719,468 days lie between
    // the first of March of the year 0 and 1970 (H. Hinnant, "chrono-compatible date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_round_to_tenths_of_the_unit_below_them() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (40_000_000, "40.0 MB"),
            (1_049_999, "1.0 MB"),
            (1_050_000, "1.1 MB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn times_follow_the_calendar_over_leap_days() {
        let cases = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_767_225_599, "2025-12-31 23:59:59"),
            (1_767_225_600, "2026-01-01 00:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ];
        for (seconds, text) in cases {
            assert_eq!(utc(seconds * 1_000_000 + 999_999), text);
        }
    }

    #[test]
    fn a_plain_table_holds_no_escapes_and_no_trailing_blanks() {
        let columns = [("NAME", Lean::Left), ("ROWS", Lean::Right)];
        let rows = || {
            vec![
                vec!["a".to_owned(), "1".to_owned()],
                vec!["bb".into(), "22".into()],
            ]
        };
        let mut plain = Vec::new();
        table(&mut plain, Style::default(), &columns, rows()).unwrap();
        assert_eq!(
            String::from_utf8(plain).unwrap(),
            "NAME  ROWS\na        1\nbb      22\n"
        );
        let mut colored = Vec::new();
        table(
            &mut colored,
            Style {
                color_out: true,
                color_err: false,
            },
            &columns,
            rows(),
        )
        .unwrap();
        assert!(String::from_utf8(colored).unwrap().contains('\u{1b}'));
    }

    #[test]
    fn control_characters_are_shown_and_nothing_else_changes() {
        assert_eq!(
            escaped("a\nb\t\u{1b}[31m\u{7f}\u{9b}"),
            r"a\nb\t\u{1b}[31m\u{7f}\u{9b}"
        );
        for plain in ["", r"a\n", "naïve \"name\" 漢字"] {
            assert!(matches!(escaped(plain), Cow::Borrowed(same) if same == plain));
        }
        let columns = [("A\nB", Lean::Left)];
        let mut out = Vec::new();
        table(
            &mut out,
            Style::default(),
            &columns,
            vec![vec!["x\ny".to_owned()]],
        )
        .unwrap();
        assert_eq!(out, b"A\\nB\nx\\ny\n");
    }
}
