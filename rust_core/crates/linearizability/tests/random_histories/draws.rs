//! Random numbers, one after another.

use mcp_chaos_evidence::rng::Stream;

pub struct Draws {
    stream: Stream,
    n: u64,
}

impl Draws {
    pub fn new(seed: u64, label: &str) -> Draws {
        Draws { stream: Stream::new(seed, label, 0, 0), n: 0 }
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.n += 1;
        self.stream.between(self.n, 0, limit - 1)
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
