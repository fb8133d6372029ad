//! Numbers that may be given as a percentage: `maxSurge: 25%`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a share of whole things is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// To the next larger number.
    Up,
    /// To the next smaller one.
    Down,
}

/// A number as it is, or so many per cent of `total` in whole things. What cannot be read is 0; validation refuses it.
pub fn whole(value: &IntOrString, total: i32, round: Round) -> i32 {
    let percent: i64 = match value {
        IntOrString::Int(count) => return *count,
        IntOrString::String(text) => text.strip_suffix('%').and_then(|text| text.parse().ok()).unwrap_or(0),
    };
    let hundredths = percent.max(0).saturating_mul(i64::from(total.max(0)));
    let whole = match round {
        Round::Up => hundredths.saturating_add(99) / 100,
        Round::Down => hundredths / 100,
    };
    i32::try_from(whole).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_and_never_overflow() {
        let cases = [
            ("25%", 10, 3, 2),
            ("0%", 10, 0, 0),
            ("100%", 7, 7, 7),
            ("300%", 2, 6, 6),
            ("1%", 0, 0, 0),
            ("50%", -3, 0, 0),
            ("9223372036854775807%", i32::MAX, i32::MAX, i32::MAX),
            ("5", 10, 0, 0),
            ("x%", 10, 0, 0),
        ];
        for (text, total, up, down) in cases {
            let value = IntOrString::String(text.into());
            let got = (whole(&value, total, Round::Up), whole(&value, total, Round::Down));
            assert_eq!(got, (up, down), "case: {text} of {total}");
        }
        assert_eq!(whole(&IntOrString::Int(5), 2, Round::Up), 5);
    }
}
