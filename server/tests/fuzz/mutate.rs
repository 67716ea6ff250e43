//! Seeded mutations: the same number makes the same bytes, everywhere and always.

/// Nothing longer is made.
const LONGEST: usize = 4096;

/// Bytes that begin, end or bound something: text, heads of lists and maps, numbers at their limits, breaks.
const TELLING: &[u8] = &[
    0, 1, 2, 0x0a, 0x1e, 0x1f, b' ', b'"', b'#', b'.', b'0', b'[', b'\\', b']', b'{', b'}', 0x7f, 0x80, 0x81, 0x82,
    0x8f, 0x90, 0x91, 0x9f, 0xa0, 0xa1, 0xbf, 0xc0, 0xc1, 0xc4, 0xc7, 0xcb, 0xcf, 0xd4, 0xd9, 0xda, 0xdc, 0xdd, 0xde,
    0xdf, 0xf6, 0xf7, 0xf9, 0xfb, 0xfe, 0xff,
];

/// What opens and closes a list or a map.
const NESTS: &[(&[u8], &[u8])] = &[
    (b"[", b"]"),
    (b"{\"a\":", b"}"),
    (&[0x91], &[]),
    (&[0x81], &[]),
    (&[0x81, 0xa1, b'a'], &[]),
    (&[0xa1], &[]),
    (&[0xa1, 0x61, b'a'], &[]),
    (&[0x9f], &[0xff]),
    (&[0xc1], &[]),
];

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to throw dice.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `count`, which is not 0.
    fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.roll() % count).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// The mutation of this number.
pub fn mutation(number: u64, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut dice = Dice(number.wrapping_mul(0xd134_2543_de82_ef95));
    let mut bytes = dice.pick(seeds).cloned().unwrap_or_default();
    for _ in 0..=dice.below(4) {
        step(&mut dice, &mut bytes, seeds, words);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn step(dice: &mut Dice, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str]) {
    let (at, from) = (dice.below(bytes.len() + 1), dice.below(bytes.len() + 1));
    let length = dice.below(8).min(bytes.len() - from);
    match dice.below(10) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = dice.byte();
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = dice.pick(TELLING).copied().unwrap_or(0);
            }
        }
        3 => {
            let new = dice.pick(TELLING).copied().unwrap_or(0);
            bytes.insert(at, new);
        }
        4 => {
            bytes.drain(from..from + length);
        }
        5 => {
            // Often once, sometimes so often that it nests deeper than anybody may.
            let times = if dice.below(8) == 0 { 1 << dice.below(9) } else { 1 };
            let piece = bytes[from..from + length.min(4)].repeat(times);
            bytes.splice(at..at, piece);
        }
        6 => {
            if let Some(word) = dice.pick(words) {
                bytes.splice(at..at, word.bytes());
            }
        }
        7 => bytes.truncate(at),
        8 => {
            // What is in between, within lists or maps within each other.
            let Some((open, close)) = dice.pick(NESTS) else { return };
            let (levels, from, at) = (1 << dice.below(8), at.min(from), at.max(from));
            bytes.splice(at..at, close.repeat(levels));
            bytes.splice(from..from, open.repeat(levels));
        }
        _ => {
            // The start of this one and the end of another.
            if let Some(other) = dice.pick(seeds) {
                let rest = dice.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[rest..]);
            }
        }
    }
}
