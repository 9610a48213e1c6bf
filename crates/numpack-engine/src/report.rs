//! What looking through a store has found.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// What [`Store::verify`](crate::Store::verify) has found.
///
/// As text it is one line a finding, the last line being the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The store.
    pub path: PathBuf,
    /// Whether the rows were read.
    pub deep: bool,
    /// Arrays that were looked at.
    pub arrays: usize,
    /// Bytes of rows that were compared with their checksums, and are what was written.
    pub checked_bytes: u64,
    /// Records that wait in the journal for the next checkpoint, and why it ends after them; none where
    /// there is no journal.
    pub journal: Option<(usize, String)>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Rows of which nobody can tell, and why.
    pub unchecked: Vec<Unchecked>,
    /// Files that belong to nothing. They do no harm; one may be in the hands of a writer right now.
    pub leftovers: Vec<String>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The array; none if it is the store as a whole.
    pub array: Option<String>,
    /// The file, relative to the store.
    pub file: String,
    /// What was found and what was expected.
    pub text: String,
    /// Which of the array's bytes it is about, where that is known.
    pub damage: Option<Damage>,
}

/// Neighbouring blocks of a data file whose bytes are not those that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// Blocks of 64 KiB, counted from the start of the file.
    pub blocks: Range<u64>,
    /// Their bytes in the file.
    pub bytes: Range<u64>,
    /// The physical rows that lie in them, in part or as a whole.
    pub rows: Range<u64>,
}

/// Rows of an array that were compared with nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unchecked {
    /// The array.
    pub array: String,
    /// How many of its bytes.
    pub bytes: u64,
    /// Why.
    pub reason: String,
}

impl Report {
    pub(crate) fn new(path: PathBuf, deep: bool) -> Self {
        Self {
            path,
            deep,
            arrays: 0,
            checked_bytes: 0,
            journal: None,
            problems: Vec::new(),
            unchecked: Vec::new(),
            leftovers: Vec::new(),
        }
    }

    /// Whether nothing is wrong. What could not be checked is no problem.
    pub fn ok(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn problem(&mut self, array: Option<&str>, file: impl Into<String>, text: String) {
        self.problems.push(Problem {
            array: array.map(str::to_owned),
            file: file.into(),
            text,
            damage: None,
        });
    }

    pub(crate) fn unchecked(&mut self, array: &str, bytes: u64, reason: impl Into<String>) {
        self.unchecked.push(Unchecked {
            array: array.to_owned(),
            bytes,
            reason: reason.into(),
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        for unchecked in &self.unchecked {
            writeln!(f, "unchecked: {unchecked}")?;
        }
        for name in &self.leftovers {
            writeln!(f, "leftover: {name} belongs to no array")?;
        }
        let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        write!(
            f,
            "{}: {}, {}",
            self.path.display(),
            count(self.arrays, "array"),
            count(self.problems.len(), "problem"),
        )?;
        if self.deep {
            write!(f, ", {} bytes of rows verified", self.checked_bytes)?;
        }
        match &self.journal {
            Some((records, _)) if *records > 0 => {
                write!(f, ", {} in the journal", count(*records, "record"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text of an error names the array itself.
        match &self.array {
            Some(array) if !self.text.starts_with("array \"") => {
                write!(f, "array \"{array}\": {}", self.text)
            }
            _ => f.write_str(&self.text),
        }
    }
}

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "array \"{}\": {} bytes: {}",
            self.array, self.bytes, self.reason
        )
    }
}
