use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::ParamValues;
use datafusion::common::ScalarValue;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use crate::error::{Result, SqlError};

/// What a query is given beside its text: values for `?`, `$1` and `$name`, and tables by name.
///
/// ```
/// use datafusion::common::ScalarValue;
/// use numpack_datafusion::Params;
/// let params = Params::from(vec![ScalarValue::from(3_i64)]);        // ... WHERE label = ?
/// let params = Params::default().with_value("label", 3_i64.into()); // ... WHERE label = $label
/// ```
#[derive(Clone, Debug, Default)]
pub struct Params {
    positional: Vec<ScalarValue>,
    named: BTreeMap<String, ScalarValue>,
    pub(crate) tables: BTreeMap<String, Arc<dyn TableProvider>>,
}

impl From<Vec<ScalarValue>> for Params {
    fn from(positional: Vec<ScalarValue>) -> Self {
        Self {
            positional,
            ..Self::default()
        }
    }
}

impl Params {
    /// Adds the value of `$name`.
    #[must_use]
    pub fn with_value(mut self, name: impl Into<String>, value: ScalarValue) -> Self {
        self.named.insert(name.into(), value);
        self
    }

    /// Adds a table that this query alone can name; it hides an array or store of that name.
    #[must_use]
    pub fn with_table(mut self, name: impl Into<String>, table: Arc<dyn TableProvider>) -> Self {
        self.tables.insert(name.into(), table);
        self
    }

    /// Adds a table of batches in memory.
    ///
    /// # Errors
    /// Batches of another schema than `schema`.
    pub fn with_batches(
        self,
        name: impl Into<String>,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<Self> {
        Ok(self.with_table(name, in_memory(schema, batches)?))
    }

    /// The plan with values in place of its parameters.
    pub(crate) fn bind(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let asked = plan.get_parameter_names()?;
        if asked.is_empty() && self.positional.is_empty() && self.named.is_empty() {
            return Ok(plan);
        }
        let mut values: HashMap<String, ScalarAndMetadata> = HashMap::new();
        for (at, value) in (1..).zip(&self.positional) {
            values.insert(at.to_string(), value.clone().into());
        }
        for (name, value) in &self.named {
            values.insert(name.clone(), value.clone().into());
        }
        let without_value = |name: &&String| !values.contains_key(name.trim_start_matches('$'));
        if let Some(name) = asked.iter().filter(without_value).min() {
            return Err(SqlError::Usage(format!(
                "the query has a parameter {name} and no value for it: {}",
                self.given()
            )));
        }
        let unused = |name: &&String| !asked.contains(&format!("${name}"));
        if let Some(name) = values.keys().filter(unused).min() {
            return Err(SqlError::Usage(format!(
                "the query has no parameter ${name}, for which a value is given"
            )));
        }
        Ok(plan.with_param_values(ParamValues::Map(values))?)
    }

    /// Fails where values are given.
    pub(crate) fn none(&self) -> Result<()> {
        if self.positional.is_empty() && self.named.is_empty() {
            return Ok(());
        }
        Err(SqlError::Usage(format!(
            "PREPARE takes no values, EXECUTE does: {}",
            self.given()
        )))
    }

    fn given(&self) -> String {
        let names: Vec<String> = self.named.keys().map(|name| format!("${name}")).collect();
        match (self.positional.len(), names.join(", ")) {
            (0, names) if names.is_empty() => "none is given".to_owned(),
            (0, names) => format!("given are {names}"),
            (1, names) if names.is_empty() => "1 value is given".to_owned(),
            (count, names) if names.is_empty() => format!("{count} values are given"),
            (count, names) => format!("given are {count} values and {names}"),
        }
    }
}

/// A table of batches in memory, in their order.
pub(crate) fn in_memory(
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
}

/// The text with each `?` as the number of its value, `$1` for the first: DataFusion knows only
/// these.
pub(crate) fn numbered(sql: &str) -> Result<String> {
    if !sql.contains('?') {
        return Ok(sql.to_owned());
    }
    // What is no SQL is left to the parser, which says so.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() else {
        return Ok(sql.to_owned());
    };
    let mut marks = Vec::new();
    let mut numbers = false;
    for token in tokens {
        if let Token::Placeholder(text) = &token.token {
            match text.strip_prefix('?') {
                Some("") => marks.push(token.span.start),
                Some(_) => {
                    return Err(SqlError::Usage(format!(
                        "parameter {text}: a numbered parameter is written $1, $2 and so on"
                    )));
                }
                None => numbers |= text[1..].starts_with(|first: char| first.is_ascii_digit()),
            }
        }
    }
    if numbers && !marks.is_empty() {
        return Err(SqlError::Usage(
            "a query has parameters written ? or $1, not both".to_owned(),
        ));
    }
    Ok(replaced(sql, &marks))
}

/// The text with a `$n` in place of the character at each of `marks`, which are in order.
fn replaced(sql: &str, marks: &[Location]) -> String {
    let mut text = String::with_capacity(sql.len() + 2 * marks.len());
    let mut marks = (1..).zip(marks).peekable();
    let mut here = Location { line: 1, column: 1 };
    for character in sql.chars() {
        match marks.next_if(|(_, mark)| **mark == here) {
            Some((number, _)) => {
                text.push('$');
                text.push_str(&number.to_string());
            }
            None => text.push(character),
        }
        if character == '\n' {
            here = Location {
                line: here.line + 1,
                column: 1,
            };
        } else {
            here.column += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_are_numbered_in_the_order_of_the_text() {
        let text = "SELECT ?, '?', \"?\" -- ?\nFROM t /* ? */ WHERE \u{e4} = ? LIMIT ?";
        let expected = "SELECT $1, '?', \"?\" -- ?\nFROM t /* ? */ WHERE \u{e4} = $2 LIMIT $3";
        assert_eq!(numbered(text).unwrap(), expected);
        assert_eq!(numbered("SELECT $1, $q").unwrap(), "SELECT $1, $q");
    }

    #[test]
    fn two_ways_of_counting_are_refused() {
        for text in ["SELECT ?, $1", "SELECT ?1"] {
            assert!(numbered(text).is_err(), "{text}");
        }
        assert_eq!(numbered("SELECT ?, $q").unwrap(), "SELECT $1, $q");
    }
}
