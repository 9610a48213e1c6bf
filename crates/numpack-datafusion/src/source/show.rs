//! A source in a plan's text.

use std::fmt;

use datafusion::physical_plan::DisplayFormatType;

use super::{NumPackSource, RowRanges};

impl NumPackSource {
    pub(super) fn show(
        &self,
        format: DisplayFormatType,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let parts = self.parts();
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                f.write_str("NumPackSource: ")?;
                for (index, (name, value)) in parts.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{name}={value}")?;
                }
                Ok(())
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "format=numpack")?;
                for (name, value) in parts {
                    let value = value.trim_start_matches('[').trim_end_matches(']');
                    writeln!(f, "{name}={value}")?;
                }
                Ok(())
            }
        }
    }

    /// Everything that the source does by itself.
    fn parts(&self) -> Vec<(&'static str, String)> {
        let columns = self.output.iter().zip(self.schema.fields());
        let columns = columns.map(|(&leaf, field)| {
            let read = self.leaves.field(leaf).name();
            if read == field.name() {
                read.clone()
            } else {
                format!("{read} as {}", field.name())
            }
        });
        let rows = self.relation.rows();
        let mut parts = vec![("columns", list(columns)), ("rows", rows.to_string())];
        if self.rows != RowRanges::one(0..rows) {
            parts.push(("row_ids", format!("[{}]", self.rows)));
        }
        if !self.filters.is_empty() {
            parts.push((
                "filters",
                list(self.filters.iter().map(ToString::to_string)),
            ));
        }
        if let Some(fetch) = self.fetch {
            parts.push(("fetch", fetch.to_string()));
        }
        if self.parts > 1 {
            parts.push(("partitions", self.parts.to_string()));
        }
        if self.reversed {
            parts.push(("reversed", "true".to_owned()));
        }
        if let Some(ordering) = self.ordering() {
            parts.push(("output_ordering", format!("[{ordering}]")));
        }
        parts
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}
