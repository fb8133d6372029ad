//! YAML as upstream writes it: keys sorted, lists not indented, quotes where they are needed, folded after column 80.
//!
//! Source: the emitter of `gopkg.in/yaml.v2`, for when it quotes and where it folds.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::scalar::is_string;

/// Lines are broken at the first blank after this column.
const WIDTH: usize = 80;

/// The document for a value.
///
/// ```
/// use serde_json::json;
/// let value = json!({"b": [{"x": 1, "a": "yes"}], "a": {}, "c": "it's: fine"});
/// assert_eq!(coracle_api::document::yaml::write(&value), "a: {}\nb:\n- a: \"yes\"\n  x: 1\nc: 'it''s: fine'\n");
/// ```
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(map, 0, &mut out),
        Value::Array(items) if !items.is_empty() => write_list(items, 0, &mut out),
        other => {
            write_scalar(other, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn write_map(map: &Map<String, Value>, depth: usize, out: &mut String) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (at, (key, value)) in entries.into_iter().enumerate() {
        // The first key of a map in a list stands after the dash.
        if at > 0 || out.is_empty() || out.ends_with('\n') {
            indent(depth, out);
        }
        out.push_str(&text(key, usize::MAX, 0, true));
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                write_map(map, depth + 1, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_list(items, depth, out);
            }
            other => {
                out.push(' ');
                write_scalar(other, depth + 1, out);
                out.push('\n');
            }
        }
    }
}

fn write_list(items: &[Value], depth: usize, out: &mut String) {
    for (at, item) in items.iter().enumerate() {
        // The first item of a list in a list stands after the dash.
        if at > 0 || out.is_empty() || out.ends_with('\n') {
            indent(depth, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(map, depth + 1, out),
            Value::Array(items) if !items.is_empty() => write_list(items, depth + 1, out),
            other => {
                write_scalar(other, depth + 1, out);
                out.push('\n');
            }
        }
    }
}

fn write_scalar(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::String(string) => {
            let column = out.len() - out.rfind('\n').map_or(0, |at| at + 1);
            out.push_str(&text(string, column, depth, false));
        }
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        other => drop(write!(out, "{other}")),
    }
}

/// A string: plain, in quotes, or as a block of lines. `column` is where it begins; keys are never folded.
fn text(string: &str, column: usize, depth: usize, key: bool) -> String {
    let is_string = is_string(string) && !is_time(string);
    let printable = string.chars().all(|c| c == '\n' || !c.is_control());
    let blank_at_break = string.contains(" \n") || string.contains("\n ");
    if string.contains('\n') && printable && !key && !string.ends_with(' ') && !blank_before_break(string) {
        return block(string, depth);
    }
    if !printable || string.contains('\n') || blank_at_break {
        return double_quoted(string);
    }
    if is_string && plain_allowed(string) {
        return if key { string.to_owned() } else { folded(string, column, depth) };
    }
    if !is_string {
        return double_quoted(string);
    }
    let quoted = format!("'{}'", string.replace('\'', "''"));
    if key { quoted } else { folded(&quoted, column, depth) }
}

/// Whether a string reads as a time or a date to YAML 1.1.
fn is_time(string: &str) -> bool {
    let (date, rest) = string.split_at(string.find(['T', 't', ' ']).unwrap_or(string.len()));
    let numbers: Vec<&str> = date.split('-').collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_date = matches!(numbers[..], [year, month, day]
        if year.len() == 4 && digits(year) && month.len() <= 2 && digits(month) && day.len() <= 2 && digits(day));
    is_date
        && (rest.is_empty()
            || rest.len() > 1 && rest[1..].bytes().all(|b| b.is_ascii_digit() || b":.Z+-".contains(&b)))
}

fn blank_before_break(string: &str) -> bool {
    string.contains(" \n")
}

/// Whether a string may stand without quotes.
fn plain_allowed(string: &str) -> bool {
    let Some(first) = string.chars().next() else { return false };
    if string.starts_with(' ')
        || string.ends_with(' ')
        || string.starts_with("---")
        || string.starts_with("...")
    {
        return false;
    }
    if "#,[]{}&*!|>'\"%@`".contains(first) {
        return false;
    }
    let second_blank = string[first.len_utf8()..].chars().next().is_none_or(|c| c == ' ');
    if "-?:".contains(first) && second_blank {
        return false;
    }
    !string.contains(": ") && !string.ends_with(':') && !string.contains(" #")
}

fn double_quoted(string: &str) -> String {
    let mut out = String::from("\"");
    for c in string.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            c if c.is_control() => drop(write!(out, "\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Breaks a line at single blanks after column 80.
fn folded(string: &str, mut column: usize, depth: usize) -> String {
    let mut out = String::with_capacity(string.len());
    let chars: Vec<char> = string.chars().collect();
    for (at, &c) in chars.iter().enumerate() {
        let single =
            c == ' ' && at > 0 && at + 1 < chars.len() && chars[at - 1] != ' ' && chars[at + 1] != ' ';
        if single && column > WIDTH {
            out.push('\n');
            indent(depth, &mut out);
            column = depth * 2;
        } else {
            out.push(c);
            column += 1;
        }
    }
    out
}

/// Several lines, as they are.
fn block(string: &str, depth: usize) -> String {
    let mut out = String::from("|");
    if string.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !string.ends_with('\n') {
        out.push('-');
    } else if string.ends_with("\n\n") || string == "\n" {
        out.push('+');
    }
    for line in string.strip_suffix('\n').unwrap_or(string).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(depth.max(1), &mut out);
            out.push_str(line);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_are_quoted_only_where_they_must_be() {
        let cases = [
            ("plain words", "plain words"),
            ("", "\"\""),
            ("5", "\"5\""),
            ("null", "\"null\""),
            ("0x1F", "\"0x1F\""),
            ("1.5e3", "\"1.5e3\""),
            ("2026-01-01T00:00:00Z", "\"2026-01-01T00:00:00Z\""),
            ("1.2.3.4", "1.2.3.4"),
            ("found '=', expected: identifier", "'found ''='', expected: identifier'"),
            ("secrets \"nope\" not found", "secrets \"nope\" not found"),
            ("*", "'*'"),
            ("a #b", "'a #b'"),
            ("a: b", "'a: b'"),
            ("it's", "it's"),
            ("'x'", "'''x'''"),
            ("#no", "'#no'"),
            ("-x", "-x"),
            ("- x", "'- x'"),
            ("http://a:80/", "http://a:80/"),
            ("two\nlines", "|-\n  two\n  lines"),
            ("tab\there", "\"tab\\there\""),
        ];
        for (string, expected) in cases {
            assert_eq!(write(&json!({"k": string})), format!("k: {expected}\n"), "case: {string:?}");
        }
    }

    #[test]
    fn long_lines_are_folded_and_everything_reads_back() {
        let long = "word ".repeat(30) + "end: of";
        let value =
            json!({"a": {"b": [[1, 2], {"c": long, "d": null}], "e": ["x\ny\n", " z", true]}, "f": 1.5});
        let written = write(&value);
        assert!(written.lines().all(|line| line.len() < 100), "{written}");
        assert_eq!(super::super::parse(&written).unwrap().value.into_value(), value, "{written}");
    }
}
