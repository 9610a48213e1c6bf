//! Crashes at every moment of many workloads: each leaves a state that the store was in, and not one
//! older than was promised. docs/durability.md has the promises.

mod directed;
mod explore;
mod random;
mod sequences;
mod stories;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub use explore::{Explorer, reboot};

/// What an ordinary run looks at, and one with `NUMPACK_DEEP`.
const IMAGES: [usize; 2] = [300_000, 5_000_000];

fn wanted() -> usize {
    match std::env::var("NUMPACK_IMAGES") {
        Ok(count) => count.parse().unwrap(),
        Err(_) => IMAGES[usize::from(std::env::var("NUMPACK_DEEP").is_ok())],
    }
}

/// How many crashes were looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub images: usize,
    /// Those among them of a store that had crashed before.
    pub second: usize,
}

/// Runs `case` for the numbers from 0 on, on two threads, until it answers `false`; gives the number of
/// images.
pub fn on_two_threads(case: impl Fn(usize, &mut Explorer) -> bool + Sync) -> Count {
    let next = AtomicUsize::new(0);
    let work = || {
        // When one thread fails there is nothing left to do for the other.
        let _end = AtPanic(|| next.store(usize::MAX / 2, Ordering::Relaxed));
        let mut explorer = Explorer::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= usize::MAX / 2 || !case(number, &mut explorer) {
                return explorer.count;
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mine = work();
        let other = other.join().unwrap();
        Count {
            images: mine.images + other.images,
            second: mine.second + other.second,
        }
    })
}

struct AtPanic<F: Fn()>(F);

impl<F: Fn()> Drop for AtPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "the count is part of the result")]
fn a_crash_leaves_a_state_that_was() {
    let wanted = wanted();
    let start = Instant::now();
    let directed = directed::run(wanted);
    let sequences = sequences::run(wanted);
    let stories = stories::run();
    let others = directed.images + sequences.images;
    let random = random::run((wanted.saturating_sub(others)).max(wanted / 4));
    let total = others + stories.images + random.images;
    let second = directed.second + sequences.second + stories.second + random.second;
    let seconds = start.elapsed().as_secs().max(1) as usize;
    eprintln!(
        "{total} crash images, {} a second: {} directed, {} of sequences, {} of stories, {} random; \
         {second} of them of a second crash",
        total / seconds,
        directed.images,
        sequences.images,
        stories.images,
        random.images,
    );
    assert!(second > wanted / 20, "{second} second crashes");
    assert!(total >= wanted, "{total} images of {wanted}");
}
