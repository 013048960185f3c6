//! Everything that a plan runs, for whoever must decide whether to trust it.

use serde_json::Value;

use crate::types::Plan;

/// The argument vectors of all commands in a plan, as one would type them, each once, in the order in which the plan has them:
/// actions, proofs, services, and what watches. Templates in them are not filled in.
///
/// # Errors
/// A variable of the fleet that has no JSON form.
pub fn commands(plan: &Plan) -> Result<Vec<String>, serde_json::Error> {
    let mut found = Vec::new();
    collect(&serde_json::to_value(plan)?, &mut found);
    Ok(found)
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_array().and_then(|words| typed(words)) {
                    Some(line) if name == "argv" => {
                        if !found.contains(&line) {
                            found.push(line);
                        }
                    }
                    _ => collect(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// An argument vector as one would type it; nothing where it is none.
fn typed(words: &[Value]) -> Option<String> {
    let words: Option<Vec<String>> = words.iter().map(|word| word.as_str().map(quoted)).collect();
    words
        .filter(|words| !words.is_empty())
        .map(|words| words.join(" "))
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_argument_vector_is_found_once_and_quoted() {
        let mut found = Vec::new();
        let value = json!({
            "recipes": [
                {"action": {"command": {"argv": ["/bin/sh", "-c", "echo 'x'"], "timeout": "1s"}}},
                {"proof": [{"probe": {"command": {"argv": ["ctl", "{{ node.name }}"]}}}, {"argv": []}]},
                {"proof": [{"probe": {"command": {"argv": ["ctl", "{{ node.name }}"]}}}]},
            ],
        });
        collect(&value, &mut found);
        assert_eq!(found, [r"/bin/sh -c 'echo '\''x'\'''", "ctl '{{ node.name }}'"]);
    }
}
