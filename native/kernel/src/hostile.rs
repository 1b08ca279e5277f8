//! Bytes that were changed on the way, for the tests of parsers: the same ones for the same seed. `FUZZ_SEED` and
//! `FUZZ_RUNS` set others.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn seeded() -> Self {
        let seed = number_from("FUZZ_SEED").unwrap_or(0x5eed);
        println!("FUZZ_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 where there is no room.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    /// A copy with one to four changes.
    pub fn changed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = bytes.to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut copy);
        }
        copy
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = (at + 1 + self.below(16)).min(bytes.len());
        match self.below(7) {
            0 => bytes.truncate(at),
            1 => {
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
            2 => {
                bytes.drain(at.min(end)..end);
            }
            3 => bytes.extend((0..self.below(32)).map(|n| n as u8)),
            // Lengths and kinds of netlink are numbers of 16 and 32 bits at even places.
            4 if bytes.len() >= 4 => {
                let at = at.min(bytes.len() - 4) & !1;
                let value = [0, 1, 3, 4, 5, 0x7fff, 0xffff, bytes.len() as u16][self.below(8)];
                bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
            }
            5 if !bytes.is_empty() => bytes[at] = self.next() as u8,
            _ if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            _ => {}
        }
    }
}

pub fn runs() -> usize {
    number_from("FUZZ_RUNS").map_or(50_000, |runs| runs as usize)
}

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
