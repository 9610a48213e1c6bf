//! Which record has the newest bytes of which rows: sorted lists of stretches, each several times as
//! long as the one after it and older, as a log-structured merge tree has them. Taking in a record
//! costs a few merges on average, asking for a row a binary search in each list.

use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

/// Pages of memory that a map is patched by.
pub(crate) const PAGE: u64 = 4096;
/// How many times as long as the next list a list is at least.
const RATIO: usize = 8;

/// The rows of one record.
#[derive(Debug)]
pub(crate) struct Patch {
    /// First row and number of rows, ascending and disjoint.
    pub(crate) runs: Arc<[(u64, u64)]>,
    pub(crate) rows: Arc<[u8]>,
    pub(crate) row_bytes: usize,
}

impl Patch {
    /// Its runs as pieces of patch number `patch`.
    pub(crate) fn pieces(&self, patch: usize) -> impl Iterator<Item = Piece> {
        let mut at = 0;
        self.runs.iter().map(move |&(start, len)| {
            let piece = Piece {
                start,
                len,
                patch: u32::try_from(patch).unwrap_or(u32::MAX),
                at,
            };
            at += u32::try_from(len).unwrap_or(u32::MAX);
            piece
        })
    }

    pub(crate) fn bytes(&self, piece: &Piece) -> &[u8] {
        let from = piece.at as usize * self.row_bytes;
        &self.rows[from..from + to_usize(piece.len) * self.row_bytes]
    }

    /// Its rows, each run with the offset of its place.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut from = 0;
        self.runs.iter().map(move |&(start, len)| {
            let len = to_usize(len) * self.row_bytes;
            let at = to_usize(start) * self.row_bytes;
            from += len;
            (at, &self.rows[from - len..from])
        })
    }

    pub(crate) fn pages(&self) -> u64 {
        pages_of(self.runs.iter().copied(), self.row_bytes)
    }
}

/// Rows that are in one record next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// Number of the record among those of the index; a later one is newer.
    patch: u32,
    /// Which row of the record is the first: a record has fewer than 2^32 bytes.
    at: u32,
}

impl Piece {
    pub(crate) fn patch(&self) -> usize {
        self.patch as usize
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The part of this from `start` to `end`, both inside of it.
    fn part(&self, start: u64, end: u64) -> Self {
        let skipped = u32::try_from(start - self.start).unwrap_or(u32::MAX);
        Self {
            start,
            len: end - start,
            at: self.at + skipped,
            ..*self
        }
    }
}

/// Pages that runs, ascending and disjoint, lie in.
pub(crate) fn pages_of(runs: impl Iterator<Item = (u64, u64)>, row_bytes: usize) -> u64 {
    let width = row_bytes as u64;
    let (mut pages, mut free_from) = (0, 0);
    for (start, len) in runs {
        let first = (start * width / PAGE).max(free_from);
        free_from = ((start + len) * width).div_ceil(PAGE).max(free_from);
        pages += free_from - first.min(free_from);
    }
    pages
}

/// Pieces in any order as pieces that are ascending and disjoint, where several overlap the newest.
pub(crate) fn flatten(mut pieces: Vec<Piece>) -> Vec<Piece> {
    sort(&mut pieces);
    let disjoint = |pair: &[Piece]| pair[0].end() <= pair[1].start;
    if pieces.windows(2).all(disjoint) {
        return pieces;
    }
    let mut flat = Vec::with_capacity(pieces.len());
    let mut open = BinaryHeap::new();
    let mut rest = pieces.as_slice();
    while let Some(&first) = rest.first() {
        // Those that overlap, one or several of them.
        let (mut together, mut end, mut same) = (1, first.end(), true);
        while let Some(next) = rest.get(together).filter(|next| next.start < end) {
            same &= (next.start, next.len) == (first.start, first.len);
            end = end.max(next.end());
            together += 1;
        }
        let (overlapping, after) = rest.split_at(together);
        if same {
            flat.extend(overlapping.iter().max_by_key(|piece| piece.patch));
        } else {
            newest(overlapping, &mut open, &mut flat);
        }
        rest = after;
    }
    flat
}

/// Sorts by where they start.
fn sort(pieces: &mut [Piece]) {
    /// Up to here a merge sort finds out by itself that there is not much to merge.
    const FEW: usize = 8;
    let falls = pieces
        .windows(2)
        .filter(|pair| pair[0].start > pair[1].start);
    if pieces.len() < 1024 || falls.take(FEW).count() < FEW {
        pieces.sort_by_key(|piece| piece.start);
    } else {
        radsort::sort_by_key(pieces, |piece| piece.start);
    }
}

/// Adds what is newest of pieces that overlap, sorted by where they start, to `flat`. `open` is empty before
/// and after; in between it has pieces that begin at or before `at` and may reach behind it, the newest on top.
fn newest(pieces: &[Piece], open: &mut BinaryHeap<(u32, u64, u32, u64)>, flat: &mut Vec<Piece>) {
    let mut waiting = pieces.iter().peekable();
    let mut at = 0;
    loop {
        while open
            .peek()
            .is_some_and(|&(_, start, _, len)| start + len <= at)
        {
            open.pop();
        }
        let Some(&(patch, start, skipped, len)) = open.peek() else {
            let Some(next) = waiting.next() else {
                return;
            };
            at = next.start;
            open.push((next.patch, next.start, next.at, next.len));
            continue;
        };
        // The newest one holds until it ends or a newer one begins.
        let top = Piece {
            start,
            len,
            patch,
            at: skipped,
        };
        let mut end = top.end();
        while let Some(next) = waiting.peek() {
            if next.start >= end {
                break;
            }
            if next.patch > patch && next.start > at {
                end = next.start;
                break;
            }
            let newer = next.patch > patch;
            if let Some(next) = waiting.next()
                && next.end() > at
            {
                open.push((next.patch, next.start, next.at, next.len));
            }
            if newer {
                end = at;
                break;
            }
        }
        if end > at {
            flat.push(top.part(at, end));
            at = end;
        }
    }
}

/// What the rows of a chain of records are now.
#[derive(Debug, Default)]
pub(crate) struct Index {
    patches: Vec<Arc<Patch>>,
    /// Oldest and longest first; each ascending and disjoint.
    lists: Vec<Vec<Piece>>,
}

impl Index {
    /// How many records it knows.
    pub(crate) fn depth(&self) -> usize {
        self.patches.len()
    }

    /// Whether record `patch` is the last that it knows, as number `depth`.
    pub(crate) fn ends_at(&self, depth: usize, patch: &Arc<Patch>) -> bool {
        let last = self.patches.last().filter(|_| self.depth() == depth);
        last.is_some_and(|last| Arc::ptr_eq(last, patch))
    }

    /// Takes in records, the oldest first.
    pub(crate) fn add<'a>(&mut self, patches: impl Iterator<Item = &'a Arc<Patch>>) {
        let mut new = Vec::new();
        for patch in patches {
            new.extend(patch.pieces(self.patches.len()));
            self.patches.push(Arc::clone(patch));
        }
        if new.is_empty() {
            return;
        }
        self.lists.push(flatten(new));
        while let [.., older, newer] = self.lists.as_mut_slice()
            && older.len() < RATIO * newer.len()
        {
            older.append(newer);
            *older = flatten(std::mem::take(older));
            self.lists.pop();
        }
    }

    /// The bytes of a row, if it is pending.
    pub(crate) fn row(&self, row: u64) -> Option<&[u8]> {
        let piece = self.lists.iter().rev().find_map(|list| find(list, row))?;
        Some(self.patches[piece.patch()].bytes(&piece.part(row, row + 1)))
    }

    /// No more pages than this are touched. Counts a page that several lists have as often, which is far
    /// less often than the records that replaced rows in it.
    pub(crate) fn pages_at_most(&self) -> u64 {
        let lists = self.lists.iter();
        lists
            .map(|list| {
                let row_bytes = self.patches.first().map_or(0, |patch| patch.row_bytes);
                pages_of(list.iter().map(|piece| (piece.start, piece.len)), row_bytes)
            })
            .sum()
    }

    pub(crate) fn touches(&self, rows: Range<u64>) -> bool {
        self.lists
            .iter()
            .any(|list| !within(list, &rows).is_empty())
    }

    /// Writes the pending rows of physical `rows` into `out`, which holds these rows.
    pub(crate) fn patch(&self, rows: Range<u64>, out: &mut [u8]) {
        // Older lists first: what is newer goes over it.
        for list in &self.lists {
            for piece in within(list, &rows) {
                let from = piece.start.max(rows.start);
                let piece = piece.part(from, piece.end().min(rows.end));
                let patch = &self.patches[piece.patch()];
                let at = to_usize(from - rows.start) * patch.row_bytes;
                let bytes = patch.bytes(&piece);
                out[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

fn find(list: &[Piece], row: u64) -> Option<&Piece> {
    let after = list.partition_point(|piece| piece.start <= row);
    list[..after].last().filter(|piece| piece.end() > row)
}

/// The pieces of a list that have any of `rows`.
fn within<'a>(list: &'a [Piece], rows: &Range<u64>) -> &'a [Piece] {
    let first = list.partition_point(|piece| piece.end() <= rows.start);
    let behind = list.partition_point(|piece| piece.start < rows.end);
    &list[first..behind.max(first)]
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
