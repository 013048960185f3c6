//! Moments as people read them.

/// A moment as programs read it, RFC 3339 in UTC, to the second, from milliseconds since 1970.
pub fn rfc3339(milliseconds: u64) -> String {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok())
        .map_or_else(
            || format!("{milliseconds} ms"),
            |moment| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        )
}

/// A moment in UTC, to the second, from milliseconds since 1970.
pub fn text(milliseconds: u64) -> String {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok())
        .map_or_else(
            || format!("{milliseconds} ms"),
            |moment| moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::{rfc3339, text};

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(text(1_790_000_000_123), "2026-09-21 14:13:20 UTC");
        assert_eq!(rfc3339(1_790_000_000_123), "2026-09-21T14:13:20Z");
    }
}
