//! What versions are ordered by.

use std::cmp::Ordering;

/// What a version orders by. Two texts may have one key: `12` and `12.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The dotted numbers; compared first.
    pub numbers: Numbers,
    /// What follows them.
    pub stage: Stage,
}

/// Dotted numbers. A number that is not there counts as zero, so trailing zeros do not order.
#[derive(Clone, Debug)]
pub(super) struct Numbers(pub Vec<u64>);

/// What follows the numbers: pre-releases come before the release, builds of it after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// `-rc.1`.
    PreRelease(Vec<Token>),
    /// Nothing that orders.
    Release,
    /// `-otp24.3.4.2-1`.
    Build(Vec<Token>),
}

/// One run of digits or of letters in a suffix. Digits come before letters, as in semantic versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Token {
    /// Digits of any length: their count without leading zeros, then the digits, which is the order of their values.
    Number(usize, String),
    /// Letters.
    Word(String),
}

impl Token {
    /// The token for a run of digits.
    pub fn number(digits: &str) -> Token {
        let digits = digits.trim_start_matches('0');
        Token::Number(digits.len(), digits.to_owned())
    }
}

impl Numbers {
    /// The number at `index`; zero where the text has fewer.
    pub fn at(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// Compares the first `count` numbers only.
    pub fn compare_first(&self, other: &Numbers, count: usize) -> Ordering {
        (0..count)
            .map(|index| self.at(index).cmp(&other.at(index)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// Whether everything from `index` on is zero.
    pub fn zero_from(&self, index: usize) -> bool {
        self.0.iter().skip(index).all(|number| *number == 0)
    }
}

impl Ord for Numbers {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare_first(other, self.0.len().max(other.0.len()))
    }
}

impl PartialOrd for Numbers {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Numbers {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Numbers {}
