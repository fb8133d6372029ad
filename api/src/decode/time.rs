//! Times as Go reads and prints them, with the errors of its `time.Parse`.

/// `metav1.Time`: to the second.
const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
/// `metav1.MicroTime`: exactly six fraction digits.
const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// A time in UTC as upstream prints it; `micro` asks for (and prints) six fraction digits.
///
/// ```
/// use coracle_api::decode::time::canonical;
/// assert_eq!(canonical("2020-01-02T05:04:05.9+02:00", false).as_deref(), Ok("2020-01-02T03:04:05Z"));
/// assert!(canonical("yesterday", false).unwrap_err().ends_with(r#"cannot parse "yesterday" as "2006""#));
/// ```
/// # Errors
/// Go's text for what does not fit the layout.
pub fn canonical(text: &str, micro: bool) -> Result<String, String> {
    let layout = if micro { MICROS } else { SECONDS };
    let mut reader = Reader { text, rest: text, layout };
    let year = reader.digits(4, "2006")?;
    reader.literal("-")?;
    let month = reader.two("01")?;
    reader.within(month, 1, 12, "month")?;
    reader.literal("-")?;
    let day = reader.two("02")?;
    reader.literal("T")?;
    let hour = reader.two("15")?;
    reader.within(hour, 0, 23, "hour")?;
    reader.literal(":")?;
    let minute = reader.two("04")?;
    reader.within(minute, 0, 59, "minute")?;
    reader.literal(":")?;
    let second = reader.two("05")?;
    reader.within(second, 0, 59, "second")?;
    let nanos = reader.fraction(micro)?;
    let offset = reader.zone()?;
    if !reader.rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", reader.rest));
    }
    let day_of = |value: i32| i8::try_from(value).ok();
    let moment = day_of(month)
        .zip(day_of(day))
        .and_then(|(month, day)| jiff::civil::Date::new(i16::try_from(year).ok()?, month, day).ok())
        .and_then(|date| {
            let time = jiff::civil::Time::new(day_of(hour)?, day_of(minute)?, day_of(second)?, nanos).ok()?;
            let zone = jiff::tz::Offset::from_seconds(offset).ok()?;
            zone.to_timestamp(date.to_datetime(time)).ok()
        })
        .ok_or_else(|| format!("parsing time {text:?}: day out of range"))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(moment.strftime(format).to_string())
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Reader<'_> {
    fn failed<T>(&self, element: &str) -> Result<T, String> {
        Err(format!(
            "parsing time {:?} as {:?}: cannot parse {:?} as {element:?}",
            self.text, self.layout, self.rest
        ))
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i32, String> {
        match self.rest.get(..count).filter(|part| part.bytes().all(|b| b.is_ascii_digit())) {
            Some(part) => {
                let value = part.parse().unwrap_or(0);
                self.rest = &self.rest[count..];
                Ok(value)
            }
            None => self.failed(element),
        }
    }

    fn two(&mut self, element: &str) -> Result<i32, String> {
        self.digits(2, element)
    }

    fn literal(&mut self, literal: &str) -> Result<(), String> {
        match self.rest.strip_prefix(literal) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => self.failed(literal),
        }
    }

    fn within(&self, value: i32, least: i32, most: i32, what: &str) -> Result<(), String> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(format!("parsing time {:?}: {what} out of range", self.text))
    }

    /// Nanoseconds: any number of digits may follow the seconds, but MicroTime wants exactly six.
    fn fraction(&mut self, micro: bool) -> Result<i32, String> {
        let digits =
            self.rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        if micro && digits != 6 {
            return self.failed(".000000");
        }
        if digits == 0 {
            return Ok(0);
        }
        let nanos: String = self.rest[1..=digits].chars().chain("000000000".chars()).take(9).collect();
        self.rest = &self.rest[digits + 1..];
        Ok(nanos.parse().unwrap_or(0))
    }

    /// Seconds east of UTC: `Z`, or `+07:00`.
    fn zone(&mut self) -> Result<i32, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return self.failed("Z07:00"),
        };
        let part = |from: usize| self.rest.get(from..from + 2).and_then(|part| part.parse::<i32>().ok());
        match (part(1), bytes.get(3), part(4)) {
            (Some(hours @ 0..=24), Some(b':'), Some(minutes @ 0..=59)) => {
                self.rest = &self.rest[6..];
                Ok(sign * (hours * 3600 + minutes * 60))
            }
            _ => self.failed("Z07:00"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_gos() {
        let cases = [
            (
                "2020-01-01",
                false,
                r#"parsing time "2020-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
            ),
            (
                "soon",
                true,
                r#"parsing time "soon" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "soon" as "2006""#,
            ),
            (
                "2020-01-02T03:04:05.123Z",
                true,
                r#"parsing time "2020-01-02T03:04:05.123Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse ".123Z" as ".000000""#,
            ),
            ("2020-13-02T03:04:05Z", false, r#"parsing time "2020-13-02T03:04:05Z": month out of range"#),
            ("2020-02-30T03:04:05Z", false, r#"parsing time "2020-02-30T03:04:05Z": day out of range"#),
        ];
        for (text, micro, expected) in cases {
            assert_eq!(canonical(text, micro).unwrap_err(), expected);
        }
        assert_eq!(
            canonical("2020-01-02T03:04:05.123456Z", true).as_deref(),
            Ok("2020-01-02T03:04:05.123456Z")
        );
    }
}
