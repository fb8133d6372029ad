//! Untyped values as Go's `%v` prints them.

use serde_json::Value;

/// `map[a:1 b:[x <nil>]]`: keys sorted, strings bare.
pub fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(printed).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{key}:{}", printed(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        Value::Number(number) => float(number),
        Value::Bool(_) => value.to_string(),
    }
}

/// Go prints floats of a large or small exponent as `1e+06`.
fn float(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float)
            if !number.is_i64()
                && !number.is_u64()
                && (float.abs() >= 1e21 || (float != 0.0 && float.abs() < 1e-4)) =>
        {
            let text = format!("{float:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        _ => number.to_string(),
    }
}

/// `%s` of a value that should have been a string.
pub(super) fn as_string(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() => format!("%!s(int64={number})"),
        Value::Number(number) => format!("%!s(float64={number})"),
        Value::Bool(value) => format!("%!s(bool={value})"),
        Value::Null => "%!s(<nil>)".into(),
        other => printed(other),
    }
}

/// `%T` of a value; for null the text that Go prints where there is no type.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
