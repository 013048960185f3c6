//! Whether a way between two ranges leads upward at all.

use std::cmp::Ordering;

use crate::version::{Range, Scheme, Version};

/// Whether some version of `from` is older than some version of `to`.
///
/// A range is known by what it contains only, so versions around its bounds are tried: the bounds themselves, and each of
/// their numbers one more and one less. Timestamps have no numbers to move, and are let pass.
pub(super) fn leads_upward(scheme: Scheme, from: &Range, to: &Range) -> bool {
    if scheme == Scheme::Timestamp {
        return true;
    }
    let candidates = candidates(scheme, &[from.as_str(), to.as_str()]);
    let within = |range: &Range| {
        candidates
            .iter()
            .filter(|version| range.contains(version))
            .cloned()
            .collect::<Vec<_>>()
    };
    let (from, to) = (within(from), within(to));
    from.iter()
        .any(|from| to.iter().any(|to| from.precedence(to) == Ordering::Less))
}

fn candidates(scheme: Scheme, ranges: &[&str]) -> Vec<Version> {
    let mut texts = vec!["0.0.1".to_owned(), "999999.0.0".to_owned()];
    for token in ranges
        .iter()
        .flat_map(|range| range.split([' ', ',', '|', '<', '>', '=']))
    {
        texts.push(token.to_owned());
        texts.extend(around(token));
    }
    texts
        .iter()
        .filter_map(|text| Version::parse(scheme, text).ok())
        .collect()
}

/// Versions just before and after one, at each of its numbers.
fn around(token: &str) -> Vec<String> {
    let dotted = token.split(['-', '+']).next().unwrap_or_default();
    let mut numbers: Vec<u64> = dotted.split('.').map_while(|part| part.parse().ok()).collect();
    if numbers.is_empty() {
        return Vec::new();
    }
    numbers.resize(numbers.len().max(3), 0);
    let mut found = vec![print(&numbers)];
    for at in 0..numbers.len() {
        let later = |offset: u64, after: u64| {
            let mut moved = numbers.clone();
            moved[at] = offset;
            moved[at + 1..].fill(after);
            print(&moved)
        };
        found.push(later(numbers[at].saturating_add(1), 0));
        if let Some(less) = numbers[at].checked_sub(1) {
            found.push(later(less, 0));
            found.push(later(less, 999));
        }
    }
    found
}

fn print(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upward(from: &str, to: &str) -> bool {
        let range = |text| Range::parse(Scheme::Vendor, text).unwrap();
        leads_upward(Scheme::Vendor, &range(from), &range(to))
    }

    #[test]
    fn ways_that_lead_upward_are_told_from_those_that_do_not() {
        for (from, to) in [
            ("*", "*"),
            (">=3.10.0 <3.11.0", ">=3.11.0 <3.12.0"),
            ("4.4.x", "4.4.x"),
            ("<2.4", ">=2.4"),
            (">=1.0.0", "<1.0.2"),
            (">4.3.0 <4.3.2", "=4.3.2"),
            ("<=4.2.10", "=4.3.1"),
            ("=4.3.0", "4.3.1"),
        ] {
            assert!(upward(from, to), "{from} -> {to}");
        }
        for (from, to) in [
            (">=3.12.0", "<3.12.0"),
            ("=4.4.1", "=4.4.1"),
            ("5.x", "4.x"),
            (">=2.4", "<=2.3.9"),
        ] {
            assert!(!upward(from, to), "{from} -> {to}");
        }
    }
}
