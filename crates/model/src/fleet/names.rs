//! Host names with ranges: `node[01:12]`, `db-[a:c]`, `rack[1:3]-[1:9:2]`.

/// What is wrong with a pattern of host names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NameError {
    pub message: String,
    pub fix: String,
}

/// The most names that one pattern may stand for; a larger number is a slip of the fingers.
const MOST_NAMES: usize = 100_000;

/// The names that a pattern stands for, in order. A pattern without a range stands for itself.
///
/// As Ansible has it: both ends belong to the range, leading zeros of the first end are kept and need a last end of the
/// same length, letters run from `a` to `z` and on from `A` to `Z`, and a step may follow.
pub(super) fn expand(pattern: &str) -> Result<Vec<String>, NameError> {
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some(open) = rest.find('[') {
        let Some(close) = rest[open..].find(']').map(|at| open + at) else {
            return Err(error(
                format!("`{pattern}` has `[` without `]`"),
                "write a range as in `node[01:12]`",
            ));
        };
        let members = range(pattern, &rest[open + 1..close])?;
        if names.len().saturating_mul(members.len()) > MOST_NAMES {
            return Err(error(
                format!("`{pattern}` stands for more than {MOST_NAMES} names"),
                "check the ends of its ranges",
            ));
        }
        let head = &rest[..open];
        names = names
            .iter()
            .flat_map(|name| members.iter().map(move |member| format!("{name}{head}{member}")))
            .collect();
        rest = &rest[close + 1..];
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    match names.iter().find_map(|name| refuse(name)) {
        Some(error) => Err(error),
        None => Ok(names),
    }
}

/// Splits `node1:2222` and `[2001:db8::1]:2222` into the name and the port. The colons of ranges and of bare IPv6 addresses are
/// none before a port.
pub(super) fn split_port(text: &str) -> (&str, Option<&str>) {
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    if let Some((address, rest)) = bracketed
        && address.parse::<std::net::Ipv6Addr>().is_ok()
    {
        return (address, rest.strip_prefix(':'));
    }
    let after_ranges = text.rfind(']').map_or(0, |at| at + 1);
    match text.rsplit_once(':') {
        Some((name, port)) if name.len() >= after_ranges && !name[after_ranges..].contains(':') => {
            (name, Some(port))
        }
        _ => (text, None),
    }
}

fn refuse(name: &str) -> Option<NameError> {
    let odd = name
        .chars()
        .find(|c| !c.is_alphanumeric() && !"._-:@".contains(*c));
    match odd {
        _ if name.is_empty() => Some(error("a host's name is empty".to_owned(), "write a name")),
        None if name.contains('@')
            && (name.starts_with('@') || name.ends_with('@') || name.contains(':')) =>
        {
            Some(error(
                format!("`{name}` is not a host's name"),
                "write `user@host`; a port goes into a setting of its own",
            ))
        }
        Some(odd) => Some(error(
            format!(
                "`{name}` is not a host's name: unexpected `{}`",
                odd.escape_debug()
            ),
            "use letters, digits, `.`, `-` and `_`, and ranges such as `node[01:12]`",
        )),
        None => None,
    }
}

fn error(message: String, fix: &str) -> NameError {
    NameError {
        message,
        fix: fix.to_owned(),
    }
}

/// The members of `01:12`, `a:c` or `1:9:2`.
fn range(pattern: &str, text: &str) -> Result<Vec<String>, NameError> {
    let bounds: Vec<&str> = text.split(':').collect();
    let (first, last, step) = match bounds.as_slice() {
        [first, last] => (*first, *last, "1"),
        [first, last, step] => (*first, *last, *step),
        _ => {
            let message = format!("`[{text}]` in `{pattern}` is not a range");
            return Err(error(
                message,
                "write the first and the last member, as in `node[01:12]`",
            ));
        }
    };
    let first = if first.is_empty() { "0" } else { first };
    let step: usize = match step.parse() {
        Ok(step) if step > 0 => step,
        _ => {
            return Err(error(
                format!("`{step}` in `{pattern}` is not a step"),
                "write a number, such as 2",
            ));
        }
    };
    match (letter(first), letter(last)) {
        (Some(first), Some(last)) => letters(pattern, text, first, last, step),
        _ => numbers(pattern, text, first, last, step),
    }
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

fn letter(text: &str) -> Option<usize> {
    if text.len() == 1 { LETTERS.find(text) } else { None }
}

fn letters(
    pattern: &str,
    text: &str,
    first: usize,
    last: usize,
    step: usize,
) -> Result<Vec<String>, NameError> {
    if first > last {
        return Err(backwards(pattern, text));
    }
    Ok(LETTERS[first..=last]
        .chars()
        .step_by(step)
        .map(String::from)
        .collect())
}

fn numbers(
    pattern: &str,
    text: &str,
    first: &str,
    last: &str,
    step: usize,
) -> Result<Vec<String>, NameError> {
    let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse::<u32>().ok(),
        false => None,
    };
    let (Some(from), Some(to)) = (number(first), number(last)) else {
        let message = format!("`[{text}]` in `{pattern}` has an end that is neither a number nor a letter");
        return Err(error(message, "write it as in `node[01:12]` or `db-[a:c]`"));
    };
    let padded = first.starts_with('0') && first.len() > 1;
    if padded && first.len() != last.len() {
        let message = format!("the ends of `[{text}]` in `{pattern}` differ in length");
        return Err(error(
            message,
            "give both the same number of digits, as in `node[01:12]`",
        ));
    }
    if from > to {
        return Err(backwards(pattern, text));
    }
    if (to - from) as usize / step >= MOST_NAMES {
        return Err(error(
            format!("`{pattern}` stands for more than {MOST_NAMES} names"),
            "check the ends of its ranges",
        ));
    }
    let width = if padded { first.len() } else { 0 };
    Ok((from..=to)
        .step_by(step)
        .map(|number| format!("{number:0width$}"))
        .collect())
}

fn backwards(pattern: &str, text: &str) -> NameError {
    error(
        format!("`[{text}]` in `{pattern}` begins after its end"),
        "write the smaller end first",
    )
}

/// Splits `admin@10.0.0.1` as ssh does: what stands before the last `@` is the user. An address that is written as a URI is
/// left to ssh.
pub(super) fn split_user(destination: &str) -> (Option<&str>, &str) {
    match destination.rsplit_once('@') {
        Some((user, host)) if !user.is_empty() && !destination.contains("://") => (Some(user), host),
        _ => (None, destination),
    }
}
