//! Replay protection: each sequence number of the BMC counts once (spec 6.12.13).

/// Which sequence numbers of the BMC have been seen: the highest and the 31 below it.
#[derive(Debug, Default)]
pub(crate) struct Window {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    seen: u32,
}

impl Window {
    /// Takes a number the first time it comes; never 0, never one too far back. Ask only after the code was right.
    ///
    /// Any step forward is taken, not only the 15 of spec 6.12.13: who can sign may as well skip, and after a burst
    /// of loss the BMC is further ahead than that.
    pub(crate) fn admit(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return false;
        }
        if let Some(ahead @ 1..) = sequence.checked_sub(self.highest) {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let bit = 1_u32.checked_shl(self.highest - sequence).unwrap_or(0);
        let fresh = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequence_numbers_are_taken_once_and_only_near_the_highest() {
        let mut window = Window::default();
        for (sequence, expected) in [
            (0, false),
            (2, true),
            (1, true),
            (1, false),
            (2, false),
            (40, true),
            (9, true),
            (8, false),
            (41, true),
            (9, false),
            (u32::MAX, true),
            (u32::MAX, false),
            (41, false),
        ] {
            assert_eq!(window.admit(sequence), expected, "{sequence}");
        }
    }

    proptest! {
        #[test]
        fn no_sequence_number_is_taken_twice(sequences in prop::collection::vec(0_u32..100, 0..200)) {
            let mut window = Window::default();
            let mut taken: Vec<_> = sequences.into_iter().filter(|sequence| window.admit(*sequence)).collect();
            let all = taken.len();
            taken.sort_unstable();
            taken.dedup();
            prop_assert_eq!(taken.len(), all);
        }
    }
}
