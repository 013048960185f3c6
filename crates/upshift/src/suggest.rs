//! The nearest known name for one that is not known.

/// The known name that is most like `typed`, where one is like enough to be meant.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| {
            (
                name,
                strsim::jaro_winkler(&typed.to_lowercase(), &name.to_lowercase()),
            )
        })
        .filter(|(_, likeness)| *likeness > 0.75)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_keyboard_is_understood() {
        let known = ["etcd", "emqx", "alluxio", "kyligence", "weka"];
        assert_eq!(nearest("etc", known), Some("etcd"));
        assert_eq!(nearest("Aluxio", known), Some("alluxio"));
        assert_eq!(nearest("kylgience", known), Some("kyligence"));
        assert_eq!(nearest("oracle", known), None);
    }
}
