//! Quantities as whole numbers, rounded up: a promise must cover what was asked.

/// Thousandths; what cannot be read is 0 (the API server has already refused it).
pub fn milli(text: &str) -> i64 {
    scaled(text, 1000).unwrap_or(0)
}

/// Whole units, such as bytes.
pub fn units(text: &str) -> i64 {
    scaled(text, 1).unwrap_or(0)
}

fn scaled(text: &str, scale: i128) -> Option<i64> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (negative, digits) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let (binary, mut tens): (u32, i32) = match suffix {
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "" => (0, 0),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        exponent => (0, exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    tens = tens.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let up = mantissa.checked_mul(scale)?.checked_mul(1_i128.checked_shl(binary)?)?;
    let value = match (tens, up) {
        (_, 0) => 0,
        (0.., up) => up.checked_mul(10_i128.checked_pow(tens.unsigned_abs())?).unwrap_or(i128::MAX),
        (_, up) => match 10_i128.checked_pow(tens.unsigned_abs()) {
            Some(down) if negative => up / down,
            Some(down) => (up + down - 1) / down,
            None => i128::from(!negative),
        },
    };
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    Some(if negative { -value } else { value })
}

/// An amount as people write it: `600m`, `2`.
pub fn show_cpu(milli: i64) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}

/// Bytes as people write them, in the largest unit that is exact, or with one decimal.
pub fn show_bytes(bytes: i64) -> String {
    const UNITS: [(&str, i64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    for (unit, size) in UNITS {
        if bytes.abs() >= size {
            let tenths = i128::from(bytes) * 10 / i128::from(size);
            return if i128::from(bytes) * 10 % i128::from(size) == 0 && tenths % 10 == 0 {
                format!("{}{unit}", tenths / 10)
            } else {
                format!("{}.{}{unit}", tenths / 10, (tenths % 10).abs())
            };
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_exact_and_round_up() {
        for (text, expected) in [
            ("250m", 250),
            ("0.5", 500),
            ("2", 2000),
            ("1u", 1),
            ("1.0001", 1001),
            ("1e3", 1_000_000),
            ("", 0),
            ("x", 0),
        ] {
            assert_eq!(milli(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("4Gi", 4 << 30),
            ("4294967297", 4_294_967_297),
            ("1.5Ki", 1536),
            ("1k", 1000),
            ("100m", 1),
            ("10E", i64::MAX),
            ("1e99", 0),
        ] {
            assert_eq!(units(text), expected, "{text:?}");
        }
    }

    #[test]
    fn amounts_as_people_write_them() {
        assert_eq!(show_cpu(600), "600m");
        assert_eq!(show_cpu(2000), "2");
        assert_eq!(show_bytes(4 << 30), "4Gi");
        assert_eq!(show_bytes((3 << 30) / 2), "1.5Gi");
        assert_eq!(show_bytes(100), "100");
    }
}
