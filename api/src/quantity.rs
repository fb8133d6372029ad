//! Quantities of resources: `500m`, `1.5Gi`, `12e6`. Exact arithmetic, and upstream's way of writing them.
//!
//! A quantity is `digits * 10^exponent`, so that nothing a client writes is rounded but what upstream rounds too:
//! what is finer than a billionth, and (in resource lists) what is finer than a thousandth, both away from zero.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource/quantity.go`.

use std::cmp::Ordering;
use std::fmt;

/// How a quantity is written: which suffixes it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `k`, `M`, `G`: powers of 1000.
    Decimal,
    /// `Ki`, `Mi`, `Gi`: powers of 1024.
    Binary,
    /// `e3`, `e6`: powers of ten.
    Exponent,
}

/// What is wrong with the text of a quantity. The texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form number, suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Malformed,
    /// A suffix that means nothing.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A quantity of a resource.
///
/// ```
/// use coracle_api::quantity::Quantity;
/// let memory: Quantity = "1536Mi".parse().unwrap();
/// assert_eq!(memory.value(), 1536 << 20);
/// assert_eq!("0.5".parse::<Quantity>().unwrap().to_string(), "500m");
/// assert_eq!("1000".parse::<Quantity>().unwrap().to_string(), "1k");
/// assert!("1MB".parse::<Quantity>().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Quantity {
    digits: i128,
    exponent: i32,
    format: Format,
    /// The text as typed, where upstream keeps it.
    typed: Option<Box<str>>,
}

const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY_SUFFIXES: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// The finest that a quantity can tell apart: a billionth.
const NANO: i32 = -9;
/// The finest that quantities in resource lists can tell apart: a thousandth.
const MILLI: i32 = -3;

/// Digits beyond these are more than any resource has, and are given up (rounding up) to stay within an `i128`.
const MOST_DIGITS: usize = 37;

/// A text cut at its seams: `-`, `1`, `5`, `Gi` for `-1.5Gi`.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn cut(text: &str) -> Result<Parts<'_>, QuantityError> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let (whole, rest) = split_while(rest, |c| c.is_ascii_digit());
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => split_while(rest, |c| c.is_ascii_digit()),
        None => ("", rest),
    };
    let (_, tail) = split_while(suffix, |c| "eEinumkKMGTP".contains(c));
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if text.is_empty() || !tail.bytes().all(|c| c.is_ascii_digit()) {
        return Err(QuantityError::Malformed);
    }
    Ok(Parts { negative, whole, fraction, suffix })
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

/// What a suffix multiplies with.
enum Multiplier {
    TenTo(i32, Format),
    TwoTo(u32),
}

fn multiplier(suffix: &str) -> Result<Multiplier, QuantityError> {
    if let Some((_, power)) = DECIMAL_SUFFIXES.iter().find(|(s, _)| *s == suffix) {
        return Ok(Multiplier::TenTo(*power, Format::Decimal));
    }
    if let Some((_, power)) = BINARY_SUFFIXES.iter().find(|(s, _)| *s == suffix) {
        return Ok(Multiplier::TwoTo(*power));
    }
    let power = suffix.strip_prefix(['e', 'E']).and_then(|power| power.parse().ok());
    // Beyond this, sums of exponents might overflow.
    let power = power.filter(|power: &i32| power.abs() < 1_000_000).ok_or(QuantityError::Suffix)?;
    Ok(Multiplier::TenTo(power, Format::Exponent))
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Quantity, QuantityError> {
        let parts = cut(text)?;
        let multiplier = multiplier(parts.suffix)?;
        let whole = if parts.whole.is_empty() { "0" } else { parts.whole };
        let shifted = format!("{whole}{}", parts.fraction);
        let (digits, dropped) = read_digits(&shifted);
        let signed = if parts.negative { -digits } else { digits };
        let exponent = dropped - parts.fraction.len() as i32;
        Ok(match multiplier {
            Multiplier::TenTo(power, format) => {
                let exponent = exponent + power;
                let keep = shifted.len() <= 18
                    && exponent >= NANO
                    && exponent % 3 == 0
                    && !shifted.ends_with("000")
                    && !shifted.starts_with('0');
                Quantity::new(signed, exponent, format, keep.then_some(text))
            }
            Multiplier::TwoTo(power) => {
                let room = 15 - whole.len() as i32 - (power as f32 * 3.0 / 10.0) as i32 - 1;
                let keep = parts.fraction.is_empty() && room >= 0 && digits & 7 != 0;
                Quantity::binary(signed, power, exponent, keep.then_some(text))
            }
        })
    }
}

/// The number and how many of its last digits were given up.
fn read_digits(text: &str) -> (i128, i32) {
    let kept = &text[..text.len().min(MOST_DIGITS)];
    let dropped = &text[kept.len()..];
    let number: i128 = kept.bytes().fold(0, |number, c| number * 10 + i128::from(c - b'0'));
    (number + i128::from(dropped.bytes().any(|c| c != b'0')), dropped.len() as i32)
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { digits: 0, exponent: 0, format: Format::Decimal, typed: None };

    fn new(digits: i128, exponent: i32, format: Format, typed: Option<&str>) -> Quantity {
        let typed = typed.map(Into::into);
        Quantity { digits, exponent, format, typed }.rounded_up(NANO)
    }

    /// `digits * 10^exponent * 2^power`, at most what fits into 64 bits.
    fn binary(digits: i128, power: u32, exponent: i32, typed: Option<&str>) -> Quantity {
        let most = i128::from(i64::MAX);
        let product =
            digits.checked_mul(1 << power).unwrap_or(if digits < 0 { i128::MIN } else { i128::MAX });
        let quantity = Quantity::new(product, exponent, Format::Binary, typed);
        let most = Quantity { digits: most, exponent: 0, format: Format::Binary, typed: None };
        let size = quantity.abs();
        if size > most {
            return if digits < 0 { most.negated() } else { most };
        }
        let one = Quantity::from(1);
        let format = if size < one && !size.is_zero() { Format::Decimal } else { Format::Binary };
        Quantity { format, ..quantity }
    }

    /// A quantity of so many bytes, written with `Ki`, `Mi` and so on.
    pub fn bytes(bytes: i64) -> Quantity {
        Quantity { digits: bytes.into(), exponent: 0, format: Format::Binary, typed: None }
    }

    /// A quantity of so many thousandths.
    pub fn milli(milli: i64) -> Quantity {
        Quantity { digits: milli.into(), exponent: MILLI, format: Format::Decimal, typed: None }
    }

    /// The quantity that a JSON value holds: a string or a number. `None` for anything else, and for nonsense.
    pub fn from_json(value: &serde_json::Value) -> Option<Quantity> {
        match value {
            serde_json::Value::String(text) => text.parse().ok(),
            serde_json::Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        }
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.digits == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(&self) -> bool {
        self.digits < 0
    }

    /// In whole units, rounded away from zero; what does not fit into 64 bits is cut.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// In thousandths, rounded away from zero; what does not fit into 64 bits is cut.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(MILLI)
    }

    /// In units of `10^scale`, rounded away from zero; what does not fit into 64 bits is cut.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let shift = self.exponent - scale;
        let size = if shift < 0 {
            divide_away_from_zero(self.digits, shift.unsigned_abs())
        } else {
            pow10(shift.unsigned_abs())
                .and_then(|p| self.digits.checked_mul(p))
                .unwrap_or(if self.digits < 0 { i128::MIN } else { i128::MAX })
        };
        let size = if self.digits == 0 { 0 } else { size };
        size.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// As resource lists keep it: nothing finer than a thousandth.
    #[must_use]
    pub fn in_resource_list(self) -> Quantity {
        self.rounded_up(MILLI)
    }

    fn rounded_up(self, scale: i32) -> Quantity {
        if self.exponent >= scale {
            return self;
        }
        let digits = divide_away_from_zero(self.digits, self.exponent.abs_diff(scale));
        Quantity { digits, exponent: scale, typed: None, ..self }
    }

    fn negated(self) -> Quantity {
        Quantity { digits: self.digits.saturating_neg(), typed: None, ..self }
    }

    fn abs(&self) -> Quantity {
        Quantity { digits: self.digits.saturating_abs(), typed: None, ..self.clone() }
    }

    /// The sum. It is written like the first, unless that is zero.
    #[must_use]
    pub fn plus(&self, other: &Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        let exponent = self.exponent.min(other.exponent).max(NANO);
        let at = |q: &Quantity| -> i128 {
            let factor = pow10((q.exponent - exponent).unsigned_abs());
            let limit = if q.digits < 0 { i128::MIN / 4 } else { i128::MAX / 4 };
            factor.and_then(|f| q.digits.checked_mul(f)).unwrap_or(limit)
        };
        Quantity { digits: at(self).saturating_add(at(other)), exponent, format, typed: None }
    }

    /// The difference. It is written like the first, unless that is zero.
    #[must_use]
    pub fn minus(&self, other: &Quantity) -> Quantity {
        self.plus(&other.clone().negated())
    }
}

fn pow10(power: u32) -> Option<i128> {
    10i128.checked_pow(power)
}

fn divide_away_from_zero(digits: i128, power: u32) -> i128 {
    match pow10(power) {
        Some(divisor) => digits / divisor + if digits % divisor == 0 { 0 } else { digits.signum() },
        None => digits.signum(),
    }
}

impl From<i64> for Quantity {
    fn from(value: i64) -> Quantity {
        Quantity { digits: value.into(), exponent: 0, format: Format::Decimal, typed: None }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        let signs = self.digits.signum().cmp(&other.digits.signum());
        if signs.is_ne() || self.is_zero() {
            return signs;
        }
        let (low, high) = (self.exponent.min(other.exponent), self.exponent.max(other.exponent));
        let stretch = |q: &Quantity| {
            pow10((q.exponent - low).unsigned_abs()).and_then(|factor| q.digits.checked_mul(factor))
        };
        match (stretch(self), stretch(other)) {
            (Some(a), Some(b)) => a.cmp(&b),
            // Only the one with the higher exponent can be too large to be stretched: it is further from zero.
            _ if self.exponent == high => self.digits.signum().cmp(&0),
            _ => 0.cmp(&self.digits.signum()),
        }
    }
}

/// The canonical text: no fraction, the largest suffix that loses nothing.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(typed) = &self.typed {
            return f.write_str(typed);
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        match self.whole_binary() {
            Some(number) => write_binary(f, number),
            None => self.write_decimal(f),
        }
    }
}

impl Quantity {
    /// The number to be written with binary suffixes, if that is how it is written: whole, and at least a Ki.
    fn whole_binary(&self) -> Option<i128> {
        let factor = pow10(self.exponent.unsigned_abs())?;
        let whole = match self.exponent {
            0.. => self.digits.checked_mul(factor)?,
            _ => (self.digits % factor == 0).then_some(self.digits / factor)?,
        };
        (self.format == Format::Binary && whole.unsigned_abs() >= 1024).then_some(whole)
    }

    fn write_decimal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut digits, mut exponent) = (self.digits, self.exponent);
        while digits % 10 == 0 {
            digits /= 10;
            exponent += 1;
        }
        while exponent % 3 != 0 {
            digits = digits.saturating_mul(10);
            exponent -= 1;
        }
        write!(f, "{digits}")?;
        if self.format == Format::Exponent {
            return if exponent == 0 { Ok(()) } else { write!(f, "e{exponent}") };
        }
        // Upstream, too, writes no suffix where it has none.
        let suffix = DECIMAL_SUFFIXES.iter().find(|(_, power)| *power == exponent).map_or("", |(s, _)| s);
        f.write_str(suffix)
    }
}

fn write_binary(f: &mut fmt::Formatter<'_>, mut number: i128) -> fmt::Result {
    let mut suffixes = [""].into_iter().chain(BINARY_SUFFIXES.iter().map(|(suffix, _)| *suffix)).peekable();
    let mut suffix = suffixes.next().unwrap_or_default();
    while number % 1024 == 0 && suffixes.peek().is_some() {
        number /= 1024;
        suffix = suffixes.next().unwrap_or_default();
    }
    write!(f, "{number}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn q(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn texts_come_back_as_upstream_writes_them() {
        let cases = [
            ("0", "0"),
            ("0.0", "0"),
            (".", "0"),
            ("Mi", "0"),
            ("1000", "1k"),
            ("12e2", "1200"),
            ("1e3", "1e3"),
            ("+1", "+1"),
            ("0001", "0001"),
            ("1.", "1."),
            (".5", "500m"),
            ("1.1Ki", "1126400m"),
            ("1.5Gi", "1536Mi"),
            ("512Ki", "512Ki"),
            ("1024Mi", "1Gi"),
            ("0.25Ti", "256Gi"),
            ("512", "512"),
            ("128974848", "128974848"),
            ("0.123456789123", "123456790n"),
            ("9223372036854775808", "9223372036854775808"),
            ("1e30", "1e30"),
            ("9999999Ei", "9223372036854775807"),
            ("-1.5Gi", "-1536Mi"),
            ("0.5Mi", "512Ki"),
        ];
        for (text, expected) in cases {
            assert_eq!(q(text).to_string(), expected, "case: {text}");
        }
    }

    #[test]
    fn resource_lists_keep_thousandths() {
        for (text, expected) in [("1u", "1m"), ("0.123456789123", "124m"), ("-1n", "-1m"), ("1.500", "1.500")]
        {
            assert_eq!(q(text).in_resource_list().to_string(), expected, "case: {text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        use QuantityError::{Malformed, Suffix};
        for (text, expected) in [
            ("", Malformed),
            ("1MB", Malformed),
            ("1 Gi", Malformed),
            ("1.2.3", Malformed),
            ("0x10", Malformed),
            ("inf", Malformed),
            ("1e3Mi", Malformed),
            ("--1", Suffix),
            ("1K", Suffix),
            ("1e99999999999", Suffix),
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(expected), "case: {text}");
        }
    }

    #[test]
    fn far_apart_quantities_compare_and_scale() {
        assert!(q("1e100") > q("9Ei"));
        assert!(q("-1e100") < q("1n"));
        assert_eq!(q("1e100").value(), i64::MAX);
        assert_eq!(q("1n").value(), 1);
        assert_eq!(q("1500m").milli_value(), 1500);
    }

    fn quantity() -> impl Strategy<Value = String> {
        let suffix =
            prop::sample::select(vec!["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "e-2"]);
        (-99_999i64..99_999, prop::option::of(0u16..999), suffix).prop_map(|(whole, fraction, suffix)| {
            let fraction = fraction.map(|f| format!(".{f}")).unwrap_or_default();
            format!("{whole}{fraction}{suffix}")
        })
    }

    proptest! {
        #[test]
        fn the_written_text_means_the_same(text in quantity()) {
            let parsed = q(&text);
            let written = q(&parsed.to_string());
            prop_assert_eq!(&parsed, &written);
            prop_assert_eq!(parsed.to_string(), written.to_string());
        }

        #[test]
        fn sums_can_be_taken_apart_again(a in quantity(), b in quantity()) {
            let (a, b) = (q(&a), q(&b));
            prop_assert_eq!(a.plus(&b).minus(&b), a.clone());
            prop_assert_eq!(a.plus(&b), b.plus(&a));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9]{0,60}\\.?[0-9]{0,60}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,7}") {
            if let Ok(parsed) = text.parse::<Quantity>() {
                let _ = (parsed.to_string(), parsed.value(), parsed.plus(&parsed), parsed.cmp(&q("1Mi")));
            }
        }
    }
}
