//! The small rules that others are made of. Each looks at one field and says what is wrong with it, if anything. The rules of
//! a struct are a table of them: see [`check`].

use serde_json::Value;

use crate::field::{Errors, Field};
use crate::names::{self, is_one_of};

/// What holds for a field.
#[derive(Clone, Copy)]
pub enum Rule {
    /// It must be there.
    Needed,
    /// It must be there, for this reason.
    NeededFor(&'static str),
    /// It is a name of this sort; a missing one is looked at as an empty one.
    Name(names::NameRule),
    /// It must be there, and be a name of this sort.
    NeededName(names::NameRule),
    /// It is one of these words, in the order of the text; a missing one is looked at as an empty one.
    OneOf(&'static str),
    /// It must be there, and be one of these words.
    NeededOneOf(&'static str),
    /// A number that is not negative.
    NotNegative,
    /// A number of at least this; the text for smaller ones.
    AtLeast(i64, &'static str),
    /// A number between these two.
    Between(i64, i64),
    /// The number of a port.
    Port,
    /// The number or the name of a port.
    PortOrName,
    /// It may not be there, for this reason.
    Never(&'static str),
    /// What a function of its own says.
    Is(fn(&Field, &mut Errors)),
}

use Rule::*;

/// The rules of a struct, row by row: names of fields with blanks between them, and what holds for each. A field is looked at
/// always; `name?` only where it is not zero, `*name` (a pointer in Go) only where it is set, `name[]` item by item.
///
/// ```
/// use coracle_api::{Errors, Field, names, validate::rules::{Rule::*, check}};
/// let probe = serde_json::json!({"probe": {"periodSeconds": -1, "scheme": "FTP", "hosts": ["A"]}});
/// let mut errors = Errors::new();
/// let table = [
///     ("path", Needed), ("periodSeconds timeoutSeconds", NotNegative), ("*scheme *other", OneOf("HTTP")),
///     ("hosts[]", Name(names::dns_label)), ("exec?", Never("may not be specified")),
/// ];
/// check(&Field::top(&probe, "probe"), &table, &mut errors);
/// let fields: Vec<&str> = errors.0.iter().map(|e| e.field.as_str()).collect();
/// assert_eq!(fields, ["probe.path", "probe.periodSeconds", "probe.scheme", "probe.hosts[0]"]);
/// ```
pub fn check(object: &Field, table: &[(&str, Rule)], errors: &mut Errors) {
    for (names, rule) in table {
        for name in names.split(' ') {
            if let Some(list) = name.strip_suffix("[]") {
                object.get(list).items().for_each(|item| rule.check(&item, errors));
                continue;
            }
            let (pointer, plain) = (name.starts_with('*'), name.trim_matches(['*', '?']));
            let field = object.get(plain);
            let looked_at = if pointer { field.is_set() } else { !name.ends_with('?') || !field.is_empty() };
            if looked_at {
                rule.check(&field, errors);
            }
        }
    }
}

impl Rule {
    /// Looks at one field.
    pub fn check(self, field: &Field, errors: &mut Errors) {
        match self {
            Needed | NeededName(_) | NeededOneOf(_) if field.is_empty() => errors.required(field, ""),
            NeededFor(detail) if field.is_empty() => errors.required(field, detail),
            Needed | NeededFor(_) => {}
            Name(rule) | NeededName(rule) => errors.all_invalid(field, field.text(), rule(field.text())),
            OneOf(words) | NeededOneOf(words) if !is_one_of(field.text(), words) => {
                errors.not_supported(field, field.text(), words);
            }
            OneOf(_) | NeededOneOf(_) => {}
            NotNegative => AtLeast(0, "must be greater than or equal to 0").check(field, errors),
            AtLeast(least, detail) => {
                if let Some(number) = field.value.as_i64().filter(|n| *n < least) {
                    errors.invalid(field, number, detail);
                }
            }
            Between(least, most) => {
                for problem in field.value.as_i64().into_iter().flat_map(|n| names::in_range(n, least, most))
                {
                    errors.wrong(field, &problem);
                }
            }
            PortOrName if field.value.is_string() => Name(names::port_name).check(field, errors),
            Port | PortOrName => {
                // A missing one is 0, and wrong.
                let number = field.value.as_i64().unwrap_or(0);
                for problem in names::port_number(number) {
                    errors.invalid(field, number, &problem);
                }
            }
            Never(detail) => errors.forbidden(field, detail),
            Is(rule) => rule(field, errors),
        }
    }
}

/// Whether two values are equal in Go, where a field that is absent holds its zero value.
pub fn equal_in_go(a: &Value, b: &Value) -> bool {
    a == b || (crate::field::is_zero(a) && crate::field::is_zero(b))
}

/// `field is immutable`, unless both are equal.
pub fn immutable(new: &Field, old: &Field, errors: &mut Errors) {
    if !equal_in_go(new.value, old.value) {
        errors.invalid(new, new.value.clone(), "field is immutable");
    }
}

/// A number that is not negative, or a percentage.
pub fn count_or_percent(field: &Field, errors: &mut Errors) {
    let rule = if field.value.is_string() { Name(names::percent) } else { NotNegative };
    rule.check(field, errors);
}

/// A count, or the number in a percentage; 0 where it is neither. More than fits is the most that fits, as with Go's
/// `strconv.Atoi` when its error is not looked at.
pub fn plain_number(field: &Field) -> i64 {
    let text = field.text();
    field.value.as_i64().unwrap_or_else(|| saturating(text.strip_suffix('%').unwrap_or(text)))
}

fn saturating(text: &str) -> i64 {
    text.parse().unwrap_or_else(|error: std::num::ParseIntError| match error.kind() {
        std::num::IntErrorKind::PosOverflow => i64::MAX,
        std::num::IntErrorKind::NegOverflow => i64::MIN,
        _ => 0,
    })
}

/// A percentage of at most 100.
pub fn at_most_all(field: &Field, errors: &mut Errors) {
    if names::percent(field.text()).is_empty() && plain_number(field) > 100 {
        errors.wrong(field, "must not be greater than 100%");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn more_per_cent_than_there_are_numbers_are_not_none() {
        let cases = [
            (json!("25%"), 25),
            (json!("0%"), 0),
            (json!("9223372036854775808%"), i64::MAX),
            (json!("99999999999999999999999%"), i64::MAX),
            (json!("-99999999999999999999"), i64::MIN),
            (json!("half"), 0),
            (json!(7), 7),
            (json!(null), 0),
        ];
        for (value, expected) in cases {
            let object = json!({"bound": value});
            assert_eq!(plain_number(&Field::top(&object, "bound")), expected, "case: {value}");
        }
        let object = json!({"bound": "99999999999999999999999%"});
        let mut errors = Errors::new();
        at_most_all(&Field::top(&object, "bound"), &mut errors);
        assert_eq!(errors.0.len(), 1);
    }
}
