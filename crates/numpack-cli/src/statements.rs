//! Where statements end: at a `;` that is no part of a string, a name or a comment.

/// What the text before a position is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Code,
    /// A string or a quoted name, up to this character. A doubled quote ends one and starts another,
    /// which comes to the same.
    Quote(char),
    Line,
    /// Comments nest.
    Block(usize),
}

/// The statements of `sql` that end with `;`, and the rest behind the last of them.
///
/// Statements that hold nothing but blanks and comments are left out.
pub(crate) fn split(sql: &str) -> (Vec<&str>, &str) {
    let mut statements = Vec::new();
    let mut within = Within::Code;
    let (mut start, mut empty) = (0, true);
    let mut chars = sql.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let mut pair = false;
        within = match (within, char, next) {
            (Within::Code, '-', Some('-')) => Within::Line,
            (Within::Code, '/', Some('*')) => {
                pair = true;
                Within::Block(1)
            }
            (Within::Code, ';', _) => {
                if !empty {
                    statements.push(sql[start..at].trim());
                }
                (start, empty) = (at + 1, true);
                Within::Code
            }
            (Within::Code, char, _) => {
                empty &= char.is_whitespace();
                match char {
                    '\'' | '"' | '`' => Within::Quote(char),
                    _ => Within::Code,
                }
            }
            (Within::Quote(quote), char, _) if char == quote => Within::Code,
            (Within::Line, '\n', _) => Within::Code,
            (Within::Block(depth), '*', Some('/')) => {
                pair = true;
                match depth {
                    1 => Within::Code,
                    deeper => Within::Block(deeper - 1),
                }
            }
            (Within::Block(depth), '/', Some('*')) => {
                pair = true;
                Within::Block(depth + 1)
            }
            (same, _, _) => same,
        };
        if pair {
            chars.next();
        }
    }
    let open = !matches!(within, Within::Code | Within::Line);
    let rest = if empty && !open {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_strings_names_and_comments_end_nothing() {
        let cases: [(&str, &[&str]); 8] = [
            ("a; b", &["a", "b"]),
            ("a;;\n ;", &["a"]),
            ("'x;''y;' ; b", &["'x;''y;'", "b"]),
            ("\"a;b\"; `c;d`", &["\"a;b\"", "`c;d`"]),
            ("a -- one; two\n; b", &["a -- one; two", "b"]),
            ("a /* ; /* ; */ ; */ ; b", &["a /* ; /* ; */ ; */", "b"]),
            ("-- nothing; at all\n", &[]),
            ("a - 1; b /2", &["a - 1", "b /2"]),
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
}
