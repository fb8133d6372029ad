//! Quantities as upstream keeps them: parsed exactly, rounded up, and printed in canonical form.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource/quantity.go` for grammar, limits and when a spelling is kept.

/// The text of upstream's `ErrFormatWrong`.
pub const FORMAT: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";

/// How finely a quantity is kept: what is finer is rounded up (away from zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finest {
    /// Thousandths: the values of resource lists.
    Milli,
    /// Thousand-millionths: single quantities.
    Nano,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Decimal,
    Exponent,
    Binary,
}

/// The canonical form of a quantity.
///
/// ```
/// use coracle_api::decode::quantity::{Finest, canonical};
/// assert_eq!(canonical("1000", Finest::Milli).as_deref(), Ok("1k"));
/// assert_eq!(canonical("1.5Gi", Finest::Milli).as_deref(), Ok("1536Mi"));
/// assert_eq!(canonical("1n", Finest::Milli).as_deref(), Ok("1m"));
/// assert_eq!(canonical("+1", Finest::Milli).as_deref(), Ok("+1"), "already canonical but for its spelling");
/// ```
/// # Errors
/// Upstream's text: a malformed number, or an unknown suffix.
pub fn canonical(text: &str, finest: Finest) -> Result<String, &'static str> {
    let text = text.trim();
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
        None => return Err(FORMAT),
    };
    let whole = unsigned.len() - unsigned.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (num, rest) = unsigned.split_at(whole);
    let (denom, suffix) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at(rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()),
    };
    check_suffix_characters(suffix)?;
    let (form, base, power) = interpret(suffix).ok_or(SUFFIX)?;

    // The value is digits * base^power / 10^fraction.
    let digits = format!("{num}{denom}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        let as_typed = power == 0 && denom.is_empty() && !num.is_empty() && form == Form::Decimal;
        return Ok(if as_typed { text.to_owned() } else { "0".to_owned() });
    }
    if significant.len() > 30 {
        return Ok(capped(negative, form));
    }
    let mut value: i128 = significant.parse().map_err(|_| FORMAT)?;
    let mut scale = -i32::try_from(denom.len()).map_err(|_| FORMAT)?;
    if base == 2 {
        let Some(shifted) = 1i128.checked_shl(power.unsigned_abs()).and_then(|m| value.checked_mul(m)) else {
            return Ok(capped(negative, form));
        };
        value = shifted;
    } else {
        scale += power;
    }
    let typed = (value, scale);

    let lowest = if finest == Finest::Milli { -3 } else { -9 };
    while scale < lowest {
        value = value / 10 + i128::from(value % 10 != 0);
        // One stays one however often it is rounded up: no need to count millions of places.
        scale = if value == 1 { lowest } else { scale + 1 };
    }
    // Upstream caps binary quantities at 64 bits; decimal ones may be larger.
    if form == Form::Binary {
        let size = 10i128.pow(scale.unsigned_abs().min(30));
        let whole = if scale < 0 { Some(value / size) } else { value.checked_mul(size) };
        if whole.is_none_or(|whole| whole > i128::from(i64::MAX)) {
            return Ok(capped(negative, form));
        }
    }
    let kept = scale == typed.1 && value == typed.0;
    let (mantissa, exponent, printed) = print(value, scale, form);
    if kept && base == 10 && (mantissa, exponent) == typed {
        return Ok(text.to_owned());
    }
    Ok(format!("{}{printed}", if negative { "-" } else { "" }))
}

/// The largest quantity, for what would not fit: 2^63-1.
fn capped(negative: bool, form: Form) -> String {
    let largest = i128::from(i64::MAX);
    let (_, _, printed) = print(largest, 0, form);
    format!("{}{printed}", if negative { "-" } else { "" })
}

/// What may follow the number: letters of suffixes, then a sign, then digits; anything else is a malformed number.
fn check_suffix_characters(suffix: &str) -> Result<(), &'static str> {
    let rest = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    if rest.len() == suffix.len() && !rest.is_empty() {
        // A sign directly behind the number reads as a suffix that does not exist; other characters as malformed.
        return if rest.starts_with(['-', '+']) { Err(SUFFIX) } else { Err(FORMAT) };
    }
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    if rest.chars().all(|c| c.is_ascii_digit()) { Ok(()) } else { Err(FORMAT) }
}

/// Form, base and power of a suffix.
fn interpret(suffix: &str) -> Option<(Form, i32, i32)> {
    let decimal = |power| Some((Form::Decimal, 10, power));
    let binary = |power| Some((Form::Binary, 2, power));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let power: i32 = exponent.parse().ok()?;
            Some((Form::Exponent, 10, power))
        }
    }
}

/// Mantissa, decimal exponent and text of `value * 10^scale`, in its canonical form.
fn print(value: i128, scale: i32, form: Form) -> (i128, i32, String) {
    let (mut mantissa, mut exponent) = (value, scale);
    while mantissa % 10 == 0 && mantissa != 0 {
        mantissa /= 10;
        exponent += 1;
    }
    if form == Form::Binary {
        // Only whole numbers from 1024 print with a binary suffix.
        let whole = if exponent >= 0 {
            mantissa.checked_mul(10i128.pow(exponent.unsigned_abs().min(30)))
        } else {
            None
        };
        match whole {
            Some(mut whole) if whole >= 1024 => {
                let mut step = 0;
                while whole % 1024 == 0 && step < 6 {
                    whole /= 1024;
                    step += 1;
                }
                return (whole, 0, format!("{whole}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]));
            }
            _ => {}
        }
    }
    // Exponents come in threes.
    while exponent.rem_euclid(3) != 0 {
        mantissa *= 10;
        exponent -= 1;
    }
    let suffix = match (form, exponent) {
        (_, 0) => String::new(),
        (Form::Exponent, e) => format!("e{e}"),
        (_, e) => match e {
            -9 => "n".into(),
            -6 => "u".into(),
            -3 => "m".into(),
            3 => "k".into(),
            6 => "M".into(),
            9 => "G".into(),
            12 => "T".into(),
            15 => "P".into(),
            18 => "E".into(),
            other => format!("e{other}"),
        },
    };
    (mantissa, exponent, format!("{mantissa}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        let milli = [
            (".", "0"),
            ("1Ei", "1Ei"),
            ("12e2", "1200"),
            ("1e3", "1e3"),
            ("1e-3", "1e-3"),
            ("1E3", "1E3"),
            ("1.5Gi", "1536Mi"),
            ("0.5", "500m"),
            ("1e30", "1e30"),
            ("2048Ki", "2Mi"),
            ("512Ki", "512Ki"),
            ("1k", "1k"),
            ("1000k", "1M"),
            ("0001", "0001"),
            ("0.123456789123", "124m"),
            ("1000Mi", "1000Mi"),
            ("1536Mi", "1536Mi"),
            ("129M", "129M"),
            ("1u", "1m"),
            ("1000u", "1m"),
            ("1000m", "1"),
            ("128974848", "128974848"),
            ("1.", "1."),
            (".5", "500m"),
            ("2", "2"),
            ("5e0", "5e0"),
            ("0.25", "250m"),
            ("1.5", "1500m"),
            ("1.500", "1.500"),
            ("9223372036854775808", "9223372036854775808"),
            ("2500T", "2500T"),
            ("+1", "+1"),
            ("-1", "-1"),
            ("Mi", "0"),
            ("0.25Ti", "256Gi"),
            ("1000", "1k"),
            ("0e5", "0"),
            ("0.0", "0"),
            ("100m", "100m"),
            ("64Mi", "64Mi"),
        ];
        for (text, expected) in milli {
            assert_eq!(canonical(text, Finest::Milli).as_deref(), Ok(expected), "case: {text}");
        }
        assert_eq!(canonical("1.1Ki", Finest::Nano).as_deref(), Ok("1126400m"));
        assert_eq!(canonical("0.123456789123", Finest::Nano).as_deref(), Ok("123456790n"));
    }

    #[test]
    fn refusals() {
        for text in ["1MB", "1e3Mi", "0x10", "1 Gi", "1.2.3", "inf", "", "two", "{}", "1e1.5"] {
            assert_eq!(canonical(text, Finest::Milli), Err(FORMAT), "case: {text}");
        }
        for text in ["--1", "1K", "1mi"] {
            assert_eq!(canonical(text, Finest::Milli), Err(SUFFIX), "case: {text}");
        }
    }

    proptest::proptest! {
        /// Canonical forms are fixed points, and nothing that comes from outside panics.
        #[test]
        fn canonical_is_idempotent(text in "[+-]?[0-9]{0,25}(\\.[0-9]{0,12})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[+-]?[0-9]{1,3})?") {
            if let Ok(once) = canonical(&text, Finest::Milli) {
                proptest::prop_assert_eq!(canonical(&once, Finest::Milli), Ok(once.clone()));
            }
        }
    }
}
