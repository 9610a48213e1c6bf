//! The names of the files in a store.

/// Metadata of the store, replaced as a whole.
pub const METADATA_FILE: &str = "metadata.npkm";
/// Metadata while it is being written.
pub const METADATA_TMP: &str = "metadata.npkm.tmp";
/// Directory of everything that NumPack 0.4 does not know.
pub const PRIVATE_DIR: &str = ".npk";
/// The redo journal, in [`PRIVATE_DIR`].
pub const JOURNAL_FILE: &str = "journal";
/// The file that writers lock, in [`PRIVATE_DIR`].
pub const LOCK_FILE: &str = "LOCK";

/// The file of an unpromoted generation, in [`PRIVATE_DIR`]: `g` and 16 hex digits.
pub fn generation_file(generation: u64) -> String {
    format!("g{generation:016x}")
}

/// The generation of a file that [`generation_file`] named.
pub fn parse_generation_file(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('g')?;
    let generation = u64::from_str_radix(digits, 16).ok()?;
    (generation_file(generation) == name).then_some(generation)
}

/// The file of the block sums that have this hash, in [`PRIVATE_DIR`]: `s` and 16 hex digits.
pub fn sums_file(hash: u64) -> String {
    format!("s{hash:016x}")
}

/// The hash in a name that [`sums_file`] gave.
pub fn parse_sums_file(name: &str) -> Option<u64> {
    let hash = u64::from_str_radix(name.strip_prefix('s')?, 16).ok()?;
    (sums_file(hash) == name).then_some(hash)
}

/// Whether the name is that of stored rows: a data file, or the list or directory of segments.
pub fn is_data_file(name: &str) -> bool {
    const SUFFIXES: [&str; 3] = [".npkd", ".npkseg", "_segments"];
    SUFFIXES
        .iter()
        .any(|suffix| is_framed(name, "data_", suffix))
}

/// Whether an entry of a directory can belong to a store of any release.
///
/// Opening with `mode="w"` and deleting a store refuse a directory that holds anything else.
pub fn is_store_file(name: &str) -> bool {
    if matches!(
        name,
        METADATA_FILE | METADATA_TMP | PRIVATE_DIR | "metadata.tmp"
    ) {
        return true;
    }
    // NumPack 0.7 adds process, thread and time to the name of its temporary file.
    if let Some(unique) = name.strip_prefix("metadata.npkm.tmp.") {
        return !unique.is_empty()
            && unique
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    }
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    is_data_file(name) || is_framed(name, "deleted_", ".npkb")
}

fn is_framed(name: &str, prefix: &str, suffix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.strip_suffix(suffix).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_release_are_known() {
        for name in [
            "metadata.npkm",
            "metadata.npkm.tmp",
            "metadata.tmp",
            "metadata.npkm.tmp.123_ThreadId1_456",
            "data_a.npkd",
            "data_.npkd",
            "data_a.npkd.tmp",
            "data_a.npkseg",
            "data_a.npkseg.tmp",
            "data_a_segments",
            "deleted_a.npkb",
            "deleted_a.npkb.tmp",
            ".npk",
        ] {
            assert!(is_store_file(name), "{name}");
        }
    }

    #[test]
    fn other_files_are_not() {
        for name in [
            "",
            ".git",
            "thesis.tex",
            "metadata",
            "metadata.npkm.bak",
            "metadata.npkm.tmp.",
            "metadata.npkm.tmp.a/b",
            "data_a",
            "data.npkd",
            "xdata_a.npkd",
            "data_a.npkd.tmp.tmp",
            "deleted_a.npkd",
            "DATA_a.npkd",
        ] {
            assert!(!is_store_file(name), "{name}");
        }
        assert!(is_data_file("data_a.npkd") && !is_data_file("deleted_a.npkb"));
    }

    #[test]
    fn sums_files_read_back() {
        assert_eq!(sums_file(255), "s00000000000000ff");
        assert_eq!(parse_sums_file("s00000000000000ff"), Some(255));
        for name in ["s", "sff", "s00000000000000FF", "g00000000000000ff"] {
            assert_eq!(parse_sums_file(name), None, "{name}");
        }
    }

    #[test]
    fn generation_files_read_back() {
        assert_eq!(generation_file(255), "g00000000000000ff");
        for generation in [0, 1, u64::MAX] {
            assert_eq!(
                parse_generation_file(&generation_file(generation)),
                Some(generation)
            );
        }
        for name in [
            "g",
            "gff",
            "g00000000000000FF",
            "g+0000000000000ff",
            "h00000000000000ff",
        ] {
            assert_eq!(parse_generation_file(name), None, "{name}");
        }
    }
}
