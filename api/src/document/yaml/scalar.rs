//! What a scalar of YAML means: YAML 1.1, as upstream's reader has it, so that `yes` is true and `0644` is 420.
//!
//! Source: `goyaml.v2/resolve.go` in `sigs.k8s.io/yaml`.

use std::borrow::Cow;

use crate::document::Raw;

/// A scalar without quotes and without a tag.
///
/// # Errors
/// What JSON has no word for: infinities, and what is no number.
pub(super) fn plain(text: &str) -> Result<Raw<'static>, String> {
    let string = || Ok(Raw::Text(Cow::Owned(text.to_owned())));
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Raw::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Raw::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Raw::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" => return Err("json: unsupported value: NaN".into()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Err("json: unsupported value: +Inf".into());
        }
        "-.inf" | "-.Inf" | "-.INF" => return Err("json: unsupported value: -Inf".into()),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => float(text),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits))
        }
        _ => None,
    };
    number.map_or_else(string, |number| Ok(Raw::Number(Cow::Owned(number))))
}

/// Whether a text without quotes would still be read as this text.
pub(super) fn is_string(text: &str) -> bool {
    matches!(plain(text), Ok(Raw::Text(_)))
}

/// A scalar with a tag such as `!!int`, which counts for more than quotes do.
///
/// # Errors
/// Upstream's text for a scalar that is not what its tag says.
pub(super) fn tagged(text: &str, tag: &str) -> Result<Raw<'static>, String> {
    let found = match tag {
        "int" | "float" | "bool" | "null" => plain(text)?,
        "binary" => return binary(text),
        _ => return Ok(Raw::Text(Cow::Owned(text.to_owned()))),
    };
    let of = match &found {
        Raw::Null => "null",
        Raw::Bool(_) => "bool",
        Raw::Number(number) if number.parse::<i64>().is_ok() => "int",
        Raw::Number(_) => "float",
        _ => "str",
    };
    match (of, tag) {
        (of, tag) if of == tag => Ok(found),
        ("int", "float") => Ok(found),
        _ => Err(format!("cannot decode !!{of} `{text}` as a !!{tag}")),
    }
}

fn binary(text: &str) -> Result<Raw<'static>, String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let digits: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes =
        STANDARD.decode(digits).map_err(|_| "!!binary value contains invalid base64 data".to_owned())?;
    Ok(Raw::Text(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())))
}

/// A whole number as JSON spells it: Go's base prefixes count, and a leading zero means octal digits.
fn integer(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // Rust's parser takes a second sign.
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(digits, base).ok()?;
    let least = i64::MIN.unsigned_abs();
    (sign.is_empty() || value <= least).then(|| match value {
        0 => "0".into(),
        value => format!("{sign}{value}"),
    })
}

/// A number with a fraction, an exponent, or more digits than an integer holds. `08` is one: no octal digit is 8.
fn float(text: &str) -> Option<String> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let shaped = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    if !shaped || exponent.is_some_and(|exponent| exponent.is_empty() || !digits(exponent)) {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    // As Go's JSON has them: without an exponent unless the number is very large or very small, so that `1e3` is `1000`.
    let plain = value == 0.0 || (1e-6..1e21).contains(&value.abs());
    Some(if plain { value.to_string() } else { format!("{value:e}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_those_of_yaml_1_1() {
        let cases = [
            ("yes", "true"),
            ("Off", "false"),
            ("~", "null"),
            ("8", "8"),
            ("-7", "-7"),
            ("+7", "7"),
            ("-0", "0"),
            ("08", "8"),
            ("09.5", "9.5"),
            ("0444", "292"),
            ("0777", "511"),
            ("0o17", "15"),
            ("-010", "-8"),
            ("0x1f", "31"),
            ("0X1F", "31"),
            ("0b101", "5"),
            ("1_000", "1000"),
            ("1e3", "1000"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e-7", "1e-7"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "18446744073709552000"),
            ("-9223372036854775808", "-9223372036854775808"),
        ];
        for (text, expected) in cases {
            let found = match plain(text).unwrap() {
                Raw::Null => "null".into(),
                Raw::Bool(value) => value.to_string(),
                Raw::Number(number) => number.into_owned(),
                other => format!("{other:?}"),
            };
            assert_eq!(found, expected, "case: {text}");
        }
        for text in
            ["2020-01-01", "1.2.3", "0o8", "0x", "0xg", "--1", "_1", "0b2", "1e", "+", "-", ".", "true1"]
        {
            assert!(is_string(text), "case: {text}");
        }
        assert_eq!(plain(".inf").unwrap_err(), "json: unsupported value: +Inf");
    }

    #[test]
    fn a_tag_counts_for_more_than_the_spelling() {
        assert_eq!(tagged("5", "str"), Ok(Raw::Text("5".into())));
        assert_eq!(tagged("5", "int"), Ok(Raw::Number("5".into())));
        assert_eq!(tagged("5", "float"), Ok(Raw::Number("5".into())));
        assert_eq!(tagged("aGk=", "binary"), Ok(Raw::Text("hi".into())));
        assert_eq!(tagged("five", "int"), Err("cannot decode !!str `five` as a !!int".into()));
    }
}
