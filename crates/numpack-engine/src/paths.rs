//! Every path in the store's directory that is not an array's own file (those are `ArrayName`'s).

use numpack_format::store_files;

/// The metadata, in 0.4.2's format with a trailer of ours.
pub(crate) const METADATA: &str = store_files::METADATA_FILE;
/// The directory of everything that 0.4.2 does not know.
pub(crate) const PRIVATE_DIR: &str = store_files::PRIVATE_DIR;
/// Where the next metadata is written before it replaces [`METADATA`].
pub(crate) const METADATA_NEXT: &str = ".npk/metadata.next";
/// A copy of the metadata, for when another program rewrites it under an unfinished session.
pub(crate) const METADATA_LAST: &str = ".npk/metadata.last";
/// Where the next deletion bitmap is written before it replaces the array's.
pub(crate) const BITMAP_NEXT: &str = ".npk/bitmap.next";
/// Locked exclusively by the writer; never unlinked.
pub(crate) const LOCK: &str = ".npk/LOCK";
/// The journal; never renamed nor unlinked.
pub(crate) const JOURNAL: &str = ".npk/journal";

/// The file of a generation that has not been given the array's own file name yet.
pub(crate) fn generation(generation: u64) -> String {
    format!("{PRIVATE_DIR}/{}", store_files::generation_file(generation))
}

/// The file of the block sums that have this hash.
pub(crate) fn sums(hash: u64) -> String {
    format!("{PRIVATE_DIR}/{}", store_files::sums_file(hash))
}

/// Whether a name in the private directory is of a file that has not taken its place yet.
pub(crate) fn is_next(name: &str) -> bool {
    [METADATA_NEXT, BITMAP_NEXT].iter().any(|next| {
        next.strip_prefix(PRIVATE_DIR)
            .and_then(|n| n.strip_prefix('/'))
            == Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_lie_in_the_private_directory() {
        assert_eq!(LOCK, format!("{PRIVATE_DIR}/{}", store_files::LOCK_FILE));
        assert_eq!(
            JOURNAL,
            format!("{PRIVATE_DIR}/{}", store_files::JOURNAL_FILE)
        );
        assert_eq!(sums(0xabc), ".npk/s0000000000000abc");
        assert!(is_next("metadata.next") && is_next("bitmap.next") && !is_next("journal"));
        assert_eq!(generation(0xabc), ".npk/g0000000000000abc");
    }
}
