//! What is a secret, by its name, and what stands in its place.

/// What stands for the value of a place that holds a secret: it is set, and no more is known outside of its host.
pub const SECRET: &str = "(secret)";

/// Words that make a key's value a secret.
const SECRET_WORDS: [&str; 6] = ["pass", "secret", "token", "credential", "private_key", "api_key"];

/// Whether a value under this key must not be shown, written down or passed on.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // The name of a key's file is none.
    !key.ends_with("_file") && SECRET_WORDS.iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_name_and_the_name_of_its_file_is_none() {
        for name in ["ldap_password", "API_KEY", "accessToken", "db.passwd"] {
            assert!(is_secret_key(name), "{name}");
        }
        for name in ["password_file", "compass", "weka_netrc", "keyspace"] {
            assert_eq!(is_secret_key(name), name == "compass", "{name}");
        }
    }
}
