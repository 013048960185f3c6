//! Values in YAML inventories: Ansible reads YAML 1.1, in which `yes` is true, `0644` is octal and `1:30` is 90.

use serde_json::{Number, Value};

/// The value of a text without quotes.
pub(super) fn value(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let negative = text.starts_with('-');
    if let Some(whole) = whole(unsigned) {
        return Value::Number((if negative { -whole } else { whole }).into());
    }
    let fraction =
        fraction(unsigned).and_then(|value| Number::from_f64(if negative { -value } else { value }));
    fraction.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// `12`, `1_000`, `0x1f`, `0b101`, `0644`, `1:30`. A number that does not fit is a text.
fn whole(text: &str) -> Option<i64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let plain = text.replace('_', "");
    if text.contains(':') {
        return if text.starts_with('0') {
            None
        } else {
            sixties(&plain)
        };
    }
    if let Some(digits) = text.strip_prefix("0x").and(plain.strip_prefix("0x")) {
        return from_digits(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0b").and(plain.strip_prefix("0b")) {
        return from_digits(digits, 2);
    }
    from_digits(
        &plain,
        if plain.len() > 1 && plain.starts_with('0') {
            8
        } else {
            10
        },
    )
}

fn from_digits(digits: &str, radix: u32) -> Option<i64> {
    let only_digits = digits.chars().all(|c| c.is_digit(radix));
    i64::from_str_radix(digits, radix).ok().filter(|_| only_digits)
}

/// `1:30:00`: each part counts sixty of the next; all but the first have one or two digits.
fn sixties(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let mut total = from_digits(parts.next()?, 10)?;
    for part in parts {
        let value = from_digits(part, 10).filter(|value| part.len() <= 2 && *value < 60)?;
        total = total.checked_mul(60)?.checked_add(value)?;
    }
    Some(total)
}

/// `1.5`, `3.`, `.5`, `1.5e+3`: a dot, and an exponent only with its sign.
fn fraction(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text
        .split_once(['e', 'E'])
        .map_or((text, None), |(m, e)| (m, Some(e)));
    let (before, after) = mantissa.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let begins = if before.is_empty() { after } else { before };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    let fits =
        digits(before) && digits(after) && begins.starts_with(|c: char| c.is_ascii_digit()) && exponent_fits;
    text.replace('_', "").parse().ok().filter(|_| fits)
}
