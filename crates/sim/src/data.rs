//! What servers keep on disk: the log of writes, and the directory that holds it.

/// A log: numbers of writes in the order in which they were taken, kept as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    ranges: Vec<(u64, u64)>,
}

impl Entries {
    /// Appends a write; its number is greater than all before it.
    pub fn push(&mut self, write: u64) {
        match self.ranges.last_mut() {
            Some((_, end)) if *end == write => *end += 1,
            _ => self.ranges.push((write, write + 1)),
        }
    }

    /// How many writes there are.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// The first `count` writes.
    pub fn prefix(&self, count: u64) -> Entries {
        let mut left = count;
        let mut ranges = Vec::new();
        for &(start, end) in &self.ranges {
            let taken = left.min(end - start);
            if taken > 0 {
                ranges.push((start, start + taken));
            }
            left -= taken;
        }
        Entries { ranges }
    }

    /// Whether this log is the beginning of another.
    pub fn begins(&self, other: &Entries) -> bool {
        other.prefix(self.count()) == *self
    }

    /// The first write of `wanted` that this log lacks.
    pub fn first_missing(&self, wanted: &Entries) -> Option<u64> {
        let mut mine = self.ranges.iter().peekable();
        for &(start, end) in &wanted.ranges {
            let mut next = start;
            while next < end {
                while mine.peek().is_some_and(|(_, mine_end)| *mine_end <= next) {
                    mine.next();
                }
                match mine.peek() {
                    Some((mine_start, mine_end)) if *mine_start <= next => next = (*mine_end).min(end),
                    _ => return Some(next),
                }
            }
        }
        None
    }

    /// Loses the newest writes: a fault.
    pub fn lose_newest(&mut self, count: u64) {
        *self = self.prefix(self.count().saturating_sub(count));
    }
}

/// A data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataDirectory {
    /// Format of what is written in it; zero where it is still empty.
    pub format: u32,
    /// The version that the whole cluster has agreed on, such as `1.0.0`; rises once all members run a newer minor.
    pub cluster_version: String,
    /// Directories of different generations do not replicate into each other: a restored snapshot begins a new one.
    pub generation: u32,
    /// The log.
    pub entries: Entries,
    /// User accounts, which careless start-up code has been known to wipe.
    pub accounts: u32,
}

/// A snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What was in the data directory.
    pub data: DataDirectory,
    /// Whether the file's own checksum is right.
    pub intact: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(ranges: &[(u64, u64)]) -> Entries {
        let mut entries = Entries::default();
        for &(start, end) in ranges {
            (start..end).for_each(|write| entries.push(write));
        }
        entries
    }

    #[test]
    fn prefixes_and_missing_writes_are_found() {
        let all = log(&[(0, 5), (8, 10)]);
        assert_eq!(all.count(), 7);
        assert_eq!(all.prefix(6), log(&[(0, 5), (8, 9)]));
        assert!(all.prefix(6).begins(&all) && all.begins(&all) && Entries::default().begins(&all));
        assert!(!log(&[(0, 5), (9, 10)]).begins(&all));
        assert!(!all.begins(&log(&[(0, 9)])));
        assert_eq!(all.first_missing(&log(&[(0, 5), (8, 10)])), None);
        assert_eq!(all.first_missing(&log(&[(2, 7)])), Some(5));
        assert_eq!(log(&[(0, 5)]).first_missing(&all), Some(8));
        assert_eq!(Entries::default().first_missing(&log(&[(3, 4)])), Some(3));
    }
}
