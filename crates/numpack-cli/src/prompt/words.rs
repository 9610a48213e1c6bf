//! What Tab completes, and where a statement that is being typed ends.
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use crate::statements;

const KEYWORDS: [&str; 40] = [
    "AND", "AS", "ASC", "AVG", "BETWEEN", "BY", "CASE", "CAST", "COUNT", "DESC", "DESCRIBE",
    "DISTINCT", "ELSE", "END", "EXPLAIN", "FROM", "GROUP", "HAVING", "IN", "INNER", "IS", "JOIN",
    "LEFT", "LIKE", "LIMIT", "MAX", "MIN", "NOT", "NULL", "OFFSET", "ON", "OR", "ORDER", "SELECT",
    "SUM", "THEN", "UNION", "USING", "WHEN", "WHERE",
];

/// The names of tables and columns, beside the keywords.
#[derive(Debug)]
pub(super) struct Words(pub(super) Vec<String>);

impl Words {
    /// What the word that ends at `pos` may become, and where it starts.
    fn matching(&self, line: &str, pos: usize) -> (usize, Vec<String>) {
        let typed = &line[..pos];
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
        // Names are taken as written; keywords may be typed in any case.
        let names = self.0.iter().filter(|name| name.starts_with(word));
        let mut found: Vec<String> = names.cloned().collect();
        let upper = word.to_uppercase();
        let keywords = KEYWORDS.iter().filter(|word| word.starts_with(&upper));
        found.extend(keywords.map(|&word| word.to_owned()));
        (start, found)
    }
}

impl Completer for Words {
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

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input().trim_start();
        let ends = input.starts_with(['.', '\\']) || statements::split(input).1.is_empty();
        Ok(if ends {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}

impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keywords_complete_the_word_at_the_cursor() {
        let words = Words(vec!["label".to_owned(), "Sum".to_owned()]);
        let found = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(words.matching("sel", 3), (0, found(&["SELECT"])));
        assert_eq!(words.matching("SELECT la FROM", 9), (7, found(&["label"])));
        assert_eq!(words.matching("Su", 2), (0, found(&["Sum", "SUM"])));
        assert_eq!(words.matching("x.l", 3).0, 2);
        assert_eq!(words.matching("SELECT ", 7), (7, vec![]));
        assert_eq!(words.matching("é", 2), (0, vec![]));
    }
}
