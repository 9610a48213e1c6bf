//! Which pages of a private map have been written to.
//!
//! A page of a private map of a file is the file's own until somebody writes to it; from then on it is
//! anonymous memory, which the kernel tells in `/proc/self/pagemap`. So a change of ten rows of an array
//! mapped copy on write is found without comparing the whole array: its other pages are those that the
//! snapshot shows.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use parking_lot::Mutex;

/// What a private map began as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) generation: u64,
    /// The last record whose rows were put over it.
    pub(crate) patched: u64,
}

/// Private maps of this process by address, each with its length.
static MAPS: Mutex<BTreeMap<usize, (usize, Origin)>> = Mutex::new(BTreeMap::new());

/// A private map that can be found by an address in it.
#[derive(Debug)]
pub(crate) struct Known {
    address: usize,
    fork: u64,
}

impl Known {
    pub(crate) fn new(bytes: &[u8], origin: Origin) -> Option<Self> {
        // In a child forked while another thread was in here the lock is never given back.
        let mut maps = MAPS.try_lock_for(std::time::Duration::from_millis(100))?;
        let address = bytes.as_ptr().addr();
        maps.insert(address, (bytes.len(), origin));
        Some(Self {
            address,
            fork: crate::fork::generation(),
        })
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        // It must go, or other memory might be taken for it. A child has the same maps at the same
        // addresses; where its lock was never given back nothing is looked up either.
        if self.fork == crate::fork::generation() {
            MAPS.lock().remove(&self.address);
        } else if let Some(mut maps) = MAPS.try_lock_for(std::time::Duration::from_millis(100)) {
            maps.remove(&self.address);
        }
    }
}

/// Where `bytes` may differ from what they began as, as ranges of whole pages clipped to `bytes`, if they
/// lie `offset` bytes behind the start of a private map that began as `origin`; None where that is not
/// known.
pub(crate) fn written(bytes: &[u8], offset: usize, origin: Origin) -> Option<Vec<Range<usize>>> {
    let address = bytes.as_ptr().addr();
    let map = address.checked_sub(offset)?;
    let known = {
        let maps = MAPS.try_lock_for(std::time::Duration::from_millis(100))?;
        maps.get(&map).copied()?
    };
    if known.1 != origin || offset + bytes.len() > known.0 {
        return None;
    }
    anonymous(address, bytes.len()).ok()
}

const PAGE: usize = 4096;
const ENTRY: usize = size_of::<u64>();
/// Entries read at a time.
const MOST: usize = 64 << 10;
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

/// The pages between these addresses that are memory of their own, relative to `address`.
fn anonymous(address: usize, len: usize) -> std::io::Result<Vec<Range<usize>>> {
    let pagemap = File::open("/proc/self/pagemap")?;
    let (first, end) = (address / PAGE, (address + len).div_ceil(PAGE));
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut entries = vec![0; MOST.min(end - first) * ENTRY];
    let mut page = first;
    while page < end {
        let count = (end - page).min(MOST);
        let entries = &mut entries[..count * ENTRY];
        pagemap.read_exact_at(entries, (page * ENTRY) as u64)?;
        for (at, entry) in (page..).zip(entries.as_chunks::<ENTRY>().0) {
            #[expect(
                clippy::host_endian_bytes,
                reason = "the kernel writes its own integers"
            )]
            let entry = u64::from_ne_bytes(*entry);
            let own = entry & SWAPPED != 0 || (entry & PRESENT != 0 && entry & OF_FILE == 0);
            if !own {
                continue;
            }
            let start = (at * PAGE).saturating_sub(address);
            let stop = ((at + 1) * PAGE - address).min(len);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = stop,
                _ => ranges.push(start..stop),
            }
        }
        page += count;
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::mapping::PrivateMapping;

    const ORIGIN: Origin = Origin {
        generation: 7,
        patched: 3,
    };

    fn map(len: usize) -> PrivateMapping {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; len]).unwrap();
        PrivateMapping::of_file(&file, len).unwrap()
    }

    #[test]
    fn pages_that_were_written_to_are_told_from_those_that_were_read() {
        let len = 200 * PAGE + 100;
        let mut map = map(len);
        let known = Known::new(map.as_ref(), ORIGIN).unwrap();
        assert_eq!(
            map.as_ref().iter().map(|&b| usize::from(b)).sum::<usize>(),
            len
        );
        assert_eq!(written(map.as_ref(), 0, ORIGIN), Some(vec![]));
        for at in [5 * PAGE + 7, 6 * PAGE, 100 * PAGE, 200 * PAGE + 99] {
            map.as_mut()[at] = 2;
        }
        let expected = [5 * PAGE..7 * PAGE, 100 * PAGE..101 * PAGE, 200 * PAGE..len];
        assert_eq!(written(map.as_ref(), 0, ORIGIN), Some(expected.to_vec()));
        // Rows of a part that begins within a page.
        let part = &map.as_ref()[PAGE + 100..6 * PAGE];
        let expected = 4 * PAGE - 100..5 * PAGE - 100;
        assert_eq!(written(part, PAGE + 100, ORIGIN), Some(vec![expected]));
        drop(known);
        assert_eq!(written(map.as_ref(), 0, ORIGIN), None);
    }

    #[test]
    fn other_memory_and_other_origins_are_not_known() {
        let map = map(3 * PAGE);
        let _known = Known::new(map.as_ref(), ORIGIN).unwrap();
        let newer = Origin {
            patched: 4,
            ..ORIGIN
        };
        assert_eq!(written(map.as_ref(), 0, newer), None);
        assert_eq!(written(&map.as_ref()[PAGE..], 0, ORIGIN), None);
        assert_eq!(written(&vec![0; 3 * PAGE], 0, ORIGIN), None);
    }
}
