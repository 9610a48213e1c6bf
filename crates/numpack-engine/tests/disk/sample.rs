//! Which of the changes on their way to the disk arrive.

/// For each change whether it arrives.
pub type Choice = Vec<bool>;

/// SplitMix64: the same numbers on every machine and with every release of every crate.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Ways in which `count` changes arrive, `newest` always: all of them when they are no more than
/// `budget`, else the extremes and a sample.
pub fn choices(count: usize, newest: Option<usize>, budget: usize, rng: &mut Rng) -> Vec<Choice> {
    let free = count - usize::from(newest.is_some());
    let with_newest = |mut choice: Choice| {
        if let Some(newest) = newest {
            choice[newest] = true;
        }
        choice
    };
    if free < 20 && 1 << free <= budget {
        return (0..1_usize << free)
            .map(|bits| {
                let mut bit = 0;
                (0..count)
                    .map(|i| {
                        newest == Some(i) || {
                            bit += 1;
                            bits >> (bit - 1) & 1 == 1
                        }
                    })
                    .collect()
            })
            .collect();
    }
    let mut sample = vec![with_newest(vec![false; count]), vec![true; count]];
    while sample.len() < budget {
        let one = rng.below(count);
        let choice = match rng.below(4) {
            0 => (0..count).map(|i| i == one).collect(),
            1 => (0..count).map(|i| i != one).collect(),
            _ => {
                let likely = *rng.pick(&[10, 30, 50, 70, 90, 97]);
                (0..count).map(|_| rng.below(100) < likely).collect()
            }
        };
        sample.push(with_newest(choice));
    }
    sample
}

#[test]
fn few_changes_arrive_in_all_ways_and_many_in_the_extreme_ones() {
    let mut rng = Rng::new(1);
    let mut all = choices(4, Some(1), 8, &mut rng);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
    assert!(all.iter().all(|choice| choice[1]));
    let some = choices(30, None, 16, &mut rng);
    assert_eq!(some.len(), 16);
    assert!(some.contains(&vec![true; 30]) && some.contains(&vec![false; 30]));
}
