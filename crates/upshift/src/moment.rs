//! Moments as people read them.

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
    use super::text;

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(text(1_790_000_000_123), "2026-09-21 14:13:20 UTC");
    }
}
