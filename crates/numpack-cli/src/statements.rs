//! Where statements end: at a `;` that the parser reads as one, which is no part of a string, a name or
//! a comment.
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Token, TokenWithSpan, Tokenizer, TokenizerError,
};

/// The statements of `sql` that end with `;`, and the rest behind the last of them.
///
/// Statements that hold nothing but blanks and comments are left out.
pub(crate) fn split(sql: &str) -> (Vec<&str>, &str) {
    let (tokens, error) = tokens(sql);
    let mut statements = Vec::new();
    let mut places = Places::of(sql);
    let (mut start, mut empty) = (0, true);
    for TokenWithSpan { token, span } in tokens {
        let end = match token {
            Token::Whitespace(_) => continue,
            Token::SemiColon => places.semicolon(span.start),
            _ => None,
        };
        let Some(end) = end else {
            empty = false;
            continue;
        };
        if !empty {
            statements.push(sql[start..end].trim());
        }
        (start, empty) = (end + 1, true);
    }
    let rest = if empty && error.is_none() {
        ""
    } else {
        sql[start..].trim()
    };
    (statements, rest)
}

/// The statements of a text, whose last one needs no `;`.
pub(crate) fn all(sql: &str) -> Vec<&str> {
    let (mut statements, rest) = split(sql);
    if !rest.is_empty() {
        statements.push(rest);
    }
    statements
}

/// Whether a text that is being typed is all that it is going to be.
pub(crate) fn ended(sql: &str) -> bool {
    let rest = split(sql).1;
    // What is wrong however it goes on is for the parser to say.
    let wrong = || tokens(rest).1.is_some_and(|error| !unfinished(&error));
    rest.is_empty() || rest.ends_with(';') && wrong()
}

/// The tokens of a text as the SQL engine reads them, up to what it cannot read: most often a string,
/// a name or a comment that has no end yet.
fn tokens(sql: &str) -> (Vec<TokenWithSpan>, Option<TokenizerError>) {
    let mut tokens = Vec::new();
    let read = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location_into_buf(&mut tokens);
    (tokens, read.err())
}

/// Whether more text may make it right.
fn unfinished(error: &TokenizerError) -> bool {
    ["Unterminated", "Unexpected EOF", "Expected close delimiter"]
        .iter()
        .any(|start| error.message.starts_with(start))
}

/// Where lines and columns are in a text; asked for in order.
struct Places<'a> {
    chars: std::str::CharIndices<'a>,
    next: Location,
}

impl<'a> Places<'a> {
    fn of(sql: &'a str) -> Self {
        Self {
            chars: sql.char_indices(),
            next: Location { line: 1, column: 1 },
        }
    }

    /// The offset of the `;` that a token stands for. In the comments that are code to MySQL, tokens
    /// have places where there may be something else.
    fn semicolon(&mut self, wanted: Location) -> Option<usize> {
        for (at, char) in self.chars.by_ref() {
            let here = self.next;
            self.next = match char {
                '\n' => Location {
                    line: here.line + 1,
                    column: 1,
                },
                _ => Location {
                    column: here.column + 1,
                    ..here
                },
            };
            if here == wanted {
                return (char == ';').then_some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_strings_names_and_comments_end_nothing() {
        let cases: [(&str, &[&str]); 13] = [
            ("a; b", &["a", "b"]),
            ("a;;\n ;", &["a"]),
            ("'x;''y;' ; b", &["'x;''y;'", "b"]),
            ("\"a;b\"; `c;d`", &["\"a;b\"", "`c;d`"]),
            ("a -- one; two\n; b", &["a -- one; two", "b"]),
            ("a /* ; /* ; */ ; */ ; b", &["a /* ; /* ; */ ; */", "b"]),
            ("-- nothing; at all\n", &[]),
            ("a - 1; b /2", &["a - 1", "b /2"]),
            ("$$a;b$$; c", &["$$a;b$$", "c"]),
            ("$x$ ; $$ ; $x$ ; $1", &["$x$ ; $$ ; $x$", "$1"]),
            (r"E'a\';b' ; e'\\'; c", &[r"E'a\';b'", r"e'\\'", "c"]),
            (r"'a\'; b", &[r"'a\'", "b"]),
            ("'ä;\n'; 'ö\r\n'; c", &["'ä;\n'", "'ö\r\n'", "c"]),
        ];
        for (sql, statements) in cases {
            assert_eq!(all(sql), statements, "{sql}");
        }
    }

    #[test]
    fn what_is_not_ended_is_the_rest() {
        assert_eq!(split("a; b"), (vec!["a"], "b"));
        assert_eq!(split("a; -- done"), (vec!["a"], ""));
        assert_eq!(split("'a;"), (vec![], "'a;"));
        assert_eq!(split("/* a;"), (vec![], "/* a;"));
    }

    #[test]
    fn a_text_goes_on_until_its_end_and_no_longer() {
        for open in [
            "a",
            "a; b",
            "'a;",
            "\"a;",
            "`a;",
            "E'a\\';",
            "U&'a;",
            "X'a;",
            "$$a;",
            "$x$a;$$;",
            "/* a;",
            "/* /* a; */ ;",
            "._",
        ] {
            assert!(!ended(open), "{open}");
        }
        for whole in ["", "a;", "'a;';", "$$a;$$; ", "a; -- b", "._;", "U&'\\zz';"] {
            assert!(ended(whole), "{whole}");
        }
    }
}
