//! Runs a test body on every case there is, instead of on some.
//!
//! A case is made by asking: each question offers a number of answers, and later questions may depend on earlier
//! answers. [`EveryCase`] replays the body with every combination of answers, each exactly once, in the manner of an
//! odometer: the last question that has an answer left moves on, those after it start again. No list of cases is ever
//! held, so the body may branch as it likes. The idea is from tigerbeetle's `src/testing/exhaustigen.zig`.
//!
//! It draws nothing at random and keeps no state outside of itself, so a case is named by its number alone.
//!
//! ```text
//! let mut cases = EveryCase::new();
//! while cases.advance() {
//!     let length = cases.below(3);
//!     let word: Vec<char> = (0..length).map(|_| *cases.one_of(&['a', 'b'])).collect();
//!     // '', a, b, aa, ab, ba, bb
//! }
//! ```

/// An odometer over the answers to a changing series of questions.
#[derive(Debug, Default)]
pub struct EveryCase {
    answers: Vec<Answer>,
    asked: usize,
    number: u64,
}

#[derive(Debug)]
struct Answer {
    chosen: usize,
    options: usize,
}

impl EveryCase {
    /// Before the first case.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves to the next case, the first one at first. False when all have been seen.
    pub fn advance(&mut self) -> bool {
        if self.number > 0 {
            assert_eq!(self.asked, self.answers.len(), "a case asked fewer questions when it was replayed");
            while self.answers.last().is_some_and(|answer| answer.chosen + 1 == answer.options) {
                self.answers.pop();
            }
            let Some(last) = self.answers.last_mut() else { return false };
            last.chosen += 1;
        }
        self.asked = 0;
        self.number += 1;
        true
    }

    /// The number of the case, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// An answer from 0 up to, not including, `options`, which must not be 0 and must not depend on anything but
    /// earlier answers.
    pub fn below(&mut self, options: usize) -> usize {
        assert!(options > 0, "a question needs an answer");
        if self.asked == self.answers.len() {
            self.answers.push(Answer { chosen: 0, options });
        }
        let answer = &self.answers[self.asked];
        assert_eq!(answer.options, options, "a case asked another question when it was replayed");
        self.asked += 1;
        answer.chosen
    }

    /// Yes or no; no comes first.
    pub fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of the items, in their order.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_up_to_two_letters_is_made_once() {
        let mut words = Vec::new();
        let mut cases = EveryCase::new();
        while cases.advance() {
            let length = cases.below(3);
            words.push((0..length).map(|_| *cases.one_of(&['a', 'b'])).collect::<String>());
        }
        assert_eq!(words, ["", "a", "b", "aa", "ab", "ba", "bb"]);
        assert_eq!(cases.number(), 7);
    }

    #[test]
    fn a_body_that_asks_nothing_is_one_case() {
        let mut cases = EveryCase::new();
        assert!(cases.advance());
        assert!(!cases.advance());
    }
}
