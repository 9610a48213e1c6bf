//! What Tab completes, and where a statement that is being typed ends.
use std::cell::RefCell;

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use crate::statements;

const KEYWORDS: &[&str] = &[
    "AND",
    "AS",
    "ASC",
    "AVG",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COPY",
    "COUNT",
    "CREATE",
    "DEALLOCATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXECUTE",
    "EXISTS",
    "EXPLAIN",
    "FROM",
    "GROUP",
    "HAVING",
    "IN",
    "INNER",
    "INSERT",
    "INTO",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MATCHED",
    "MAX",
    "MERGE",
    "MIN",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "PREPARE",
    "SELECT",
    "SET",
    "SHOW",
    "SUM",
    "TABLE",
    "THEN",
    "TO",
    "TRUNCATE",
    "UNION",
    "UPDATE",
    "USING",
    "VALUES",
    "VIEW",
    "WHEN",
    "WHERE",
    "WITH",
];

/// The names of tables and columns, beside the keywords.
pub(super) struct Words<'a> {
    list: Box<dyn Fn() -> Vec<String> + 'a>,
    /// What was listed, until a statement may have changed it.
    names: RefCell<Option<Vec<String>>>,
}

impl<'a> Words<'a> {
    /// Names that `list` gives when the first one is asked for.
    pub(super) fn new(list: Box<dyn Fn() -> Vec<String> + 'a>) -> Self {
        Self {
            list,
            names: RefCell::new(None),
        }
    }

    /// The next completion lists the names anew.
    pub(super) fn forget(&mut self) {
        *self.names.get_mut() = None;
    }

    /// What the word that ends at `pos` may become, and where it starts.
    fn matching(&self, line: &str, pos: usize) -> (usize, Vec<String>) {
        let typed = &line[..pos];
        if let Some(quote) = open_quote(typed) {
            return (quote, self.names(&typed[quote + 1..], true));
        }
        let part = |char: char| char.is_alphanumeric() || char == '_';
        let start = typed
            .char_indices()
            .rev()
            .take_while(|(_, char)| part(*char))
            .last()
            .map_or(pos, |(at, _)| at);
        let word = &typed[start..];
        if word.is_empty() {
            return (start, Vec::new());
        }
        // Names are taken as written; keywords may be typed in any case, and start a statement.
        let mut found = if statements::split(&typed[..start]).1.is_empty() {
            Vec::new()
        } else {
            self.names(word, false)
        };
        let upper = word.to_uppercase();
        let keywords = KEYWORDS.iter().filter(|word| word.starts_with(&upper));
        found.extend(keywords.map(|&word| word.to_owned()));
        (start, found)
    }

    /// The names that start like this, as a statement writes them.
    fn names(&self, start: &str, quoted: bool) -> Vec<String> {
        let mut names = self.names.borrow_mut();
        let names = names.get_or_insert_with(&self.list);
        // A name that a terminal would take for something else is not put into the line.
        let fitting = names
            .iter()
            .filter(|name| name.starts_with(start) && !name.contains(char::is_control));
        let written = fitting.map(|name| {
            if quoted || !plain(name) {
                format!("\"{}\"", name.replace('"', "\"\""))
            } else {
                name.clone()
            }
        });
        written.collect()
    }
}

/// Where the name in quotes starts that the text ends within.
fn open_quote(typed: &str) -> Option<usize> {
    let mut open = None;
    for (at, _) in typed.match_indices('"') {
        open = match open {
            None => Some(at),
            Some(_) => None,
        };
    }
    open
}

/// Whether a name needs no quotes.
fn plain(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|char| !char.is_numeric());
    first
        && name
            .chars()
            .all(|char| char.is_alphanumeric() || char == '_')
}

impl Completer for Words<'_> {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.matching(line, pos))
    }
}

impl Validator for Words<'_> {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input().trim_start();
        let ends = input.starts_with(['.', '\\']) || statements::ended(input);
        Ok(if ends {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Hinter for Words<'_> {
    type Hint = String;
}

impl Highlighter for Words<'_> {}

impl Helper for Words<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keywords_complete_the_word_at_the_cursor() {
        let names = ["label", "Sum", "naïve name", "na\"m", "na\u{1b}[31m"];
        let words = Words::new(Box::new(|| names.map(str::to_owned).to_vec()));
        let found = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(words.matching("sel", 3), (0, found(&["SELECT"])));
        assert_eq!(words.matching("SELECT la FROM", 9), (7, found(&["label"])));
        assert_eq!(words.matching("a; Su", 5), (3, found(&["SUM"])));
        assert_eq!(words.matching("a, Su", 5), (3, found(&["Sum", "SUM"])));
        assert_eq!(words.matching("x.l", 3).0, 2);
        assert_eq!(words.matching("SELECT ", 7), (7, vec![]));
        assert_eq!(words.matching("é", 2), (0, vec![]));
        let both = found(&["\"naïve name\"", "\"na\"\"m\""]);
        assert_eq!(words.matching("x, na", 5), (3, both.clone()));
        assert_eq!(words.matching("\"a\", \"na", 8), (5, both));
        assert_eq!(
            words.matching("\"naïve n", 9),
            (0, found(&["\"naïve name\""]))
        );
    }

    #[test]
    fn names_are_listed_once_until_they_are_forgotten() {
        let asked = std::cell::Cell::new(0);
        let mut words = Words::new(Box::new(|| {
            asked.set(asked.get() + 1);
            vec!["label".to_owned()]
        }));
        words.matching("SELECT ", 7);
        assert_eq!(asked.get(), 0);
        words.matching("x la", 4);
        words.matching("x l", 3);
        assert_eq!(asked.get(), 1);
        words.forget();
        words.matching("x l", 3);
        assert_eq!(asked.get(), 2);
    }
}
