//! Keeping secrets out of what is shown.

use crate::secret::is_secret_key;

/// First characters of a value or file that ansible-vault encrypted.
pub(super) const VAULT_MARK: &str = "$ANSIBLE_VAULT;";

/// Whether a variable of Ansible's own is a password: `ansible_password`, `ansible_become_pass`, …
pub(super) fn is_ansible_password(key: &str) -> bool {
    key.starts_with("ansible_") && key.contains("pass") && !key.ends_with("_file")
}

/// The text with everything starred out that follows a secret's key on its line, and all encrypted lines; of the same
/// length in bytes, with line ends in the same places.
pub fn mask(text: &str) -> String {
    text.split_inclusive('\n').map(mask_line).collect()
}

fn mask_line(line: &str) -> String {
    let start = if is_encrypted(line) {
        Some(0)
    } else {
        secret_value(line)
    };
    match start {
        Some(start) => line[..start].to_owned() + &stars(&line[start..]),
        None => line.to_owned(),
    }
}

fn is_encrypted(line: &str) -> bool {
    let line = line.trim();
    let hexadecimal = line.len() >= 32 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    hexadecimal || line.contains(VAULT_MARK)
}

/// Where the first secret of a line begins: behind `key:` or `key=`.
fn secret_value(line: &str) -> Option<usize> {
    line.match_indices([':', '=']).find_map(|(at, _)| {
        let before = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let key_start = before
            .rfind(|c: char| !c.is_alphanumeric() && !"_-.".contains(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        is_secret_key(&before[key_start..]).then_some(at + 1)
    })
}

fn stars(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_whitespace() {
            masked.push(character);
        } else {
            masked.extend(std::iter::repeat_n('*', character.len_utf8()));
        }
    }
    masked
}
