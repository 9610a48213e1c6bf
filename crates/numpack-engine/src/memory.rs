//! Memory for whole arrays: large pieces are mapped with huge pages and kept for the next user,
//! because a fresh page costs more to get from the kernel than to fill.

use memmap2::MmapMut;
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// From here on memory comes from the pool: `malloc` would map it, and give it back, each time.
const LARGE: usize = 64 << 10;
/// Most bytes, and most pieces, that the pool keeps for later.
const POOL_LIMIT: usize = 256 << 20;
const POOL_PIECES: usize = 64;
/// Pieces from this size on are multiples of it: the size of a huge page.
const HUGE: usize = 2 << 20;
/// Smaller pieces are multiples of this.
const GRAIN: usize = 64 << 10;

struct Pool {
    fork: u64,
    pieces: Vec<MmapMut>,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    fork: 0,
    pieces: Vec::new(),
});

/// Writable memory of a given length, aligned to 64 bytes at least. Its contents are whatever a former
/// user left or zeros; never uninitialised.
#[derive(Debug)]
pub struct OwnedBuffer {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    /// The bytes begin at the first multiple of 64 in here.
    Small(Vec<u8>),
    /// `None` only while being dropped.
    Large(Option<MmapMut>),
}

const ALIGN: usize = 64;

fn lead(bytes: &[u8]) -> usize {
    bytes.as_ptr().addr().next_multiple_of(ALIGN) - bytes.as_ptr().addr()
}

impl OwnedBuffer {
    /// Memory of `len` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no memory.
    pub fn new(len: usize) -> Result<Self> {
        if len < LARGE {
            return Ok(Self {
                memory: Memory::Small(vec![0; len + ALIGN]),
                len,
            });
        }
        let memory = match take(len) {
            Some(piece) => piece,
            None => {
                fresh(len).map_err(|source| Error::io("allocate memory for", "an array", source))?
            }
        };
        Ok(Self {
            memory: Memory::Large(Some(memory)),
            len,
        })
    }

    /// The address of the first byte.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut().as_mut_ptr()
    }
}

fn take(len: usize) -> Option<MmapMut> {
    // A pool that is busy, or was when the process forked, is done without.
    let mut pool = POOL.try_lock()?;
    if pool.fork != crate::fork::generation() {
        return None;
    }
    let fits = |piece: &MmapMut| piece.len() >= len && piece.len() / 2 <= len;
    let best = (0..pool.pieces.len())
        .filter(|&i| fits(&pool.pieces[i]))
        .min_by_key(|&i| pool.pieces[i].len())?;
    Some(pool.pieces.swap_remove(best))
}

fn give(piece: MmapMut) {
    let Some(mut pool) = POOL.try_lock() else {
        return;
    };
    let fork = crate::fork::generation();
    if pool.fork != fork {
        pool.fork = fork;
        pool.pieces.clear();
    }
    let held: usize = pool.pieces.iter().map(|piece| piece.len()).sum();
    if held + piece.len() <= POOL_LIMIT && pool.pieces.len() < POOL_PIECES {
        pool.pieces.push(piece);
    }
}

fn fresh(len: usize) -> std::io::Result<MmapMut> {
    if len < HUGE {
        return MmapMut::map_anon(len.next_multiple_of(GRAIN));
    }
    let map = MmapMut::map_anon(len.next_multiple_of(HUGE))?;
    #[cfg(target_os = "linux")]
    {
        // A kernel without huge pages gives small ones.
        let _small_pages_do = map.advise(memmap2::Advice::HugePage);
    }
    Ok(map)
}

impl AsRef<[u8]> for OwnedBuffer {
    fn as_ref(&self) -> &[u8] {
        match &self.memory {
            Memory::Small(bytes) => &bytes[lead(bytes)..][..self.len],
            Memory::Large(map) => map.as_deref().map_or(&[], |bytes| &bytes[..self.len]),
        }
    }
}

impl AsMut<[u8]> for OwnedBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Small(bytes) => {
                let start = lead(bytes);
                &mut bytes[start..][..self.len]
            }
            Memory::Large(map) => map
                .as_deref_mut()
                .map_or(&mut [], |bytes| &mut bytes[..self.len]),
        }
    }
}

impl Drop for OwnedBuffer {
    fn drop(&mut self) {
        if let Memory::Large(map) = &mut self.memory
            && let Some(piece) = map.take()
        {
            give(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_alignment() {
        for len in [
            0,
            1,
            63,
            64,
            1000,
            LARGE - 1,
            LARGE,
            LARGE + 1,
            HUGE - 1,
            HUGE,
            3 * HUGE + 1,
        ] {
            let mut buffer = OwnedBuffer::new(len).unwrap();
            assert_eq!((buffer.as_ref().len(), buffer.as_mut().len()), (len, len));
            assert_eq!(buffer.as_mut_ptr().addr() % ALIGN, 0);
            buffer.as_mut().fill(1);
        }
    }

    #[test]
    fn a_large_piece_is_used_again() {
        // Another test may take the piece in between; so ask often, and for an unusual size.
        let again = (0..100).any(|_| {
            let mut first = OwnedBuffer::new(77 * HUGE).unwrap();
            let address = first.as_mut_ptr().addr();
            drop(first);
            let mut second = OwnedBuffer::new(77 * HUGE - 5).unwrap();
            second.as_mut_ptr().addr() == address
        });
        assert!(again);
    }
}
