//! The small rules that others are made of. Each looks at one field and says what is wrong with it, if anything.

use crate::field::{Errors, Field};
use crate::names::{self, Rule};

/// A string that follows `rule`; a missing one is looked at as an empty one.
pub fn follows(field: &Field, rule: Rule, errors: &mut Errors) {
    errors.all_invalid(field, field.text(), rule(field.text()));
}

/// A string that must be there and follow `rule`.
pub fn required_name(field: &Field, rule: Rule, errors: &mut Errors) {
    if field.is_empty() { errors.required(field, "") } else { follows(field, rule, errors) }
}

/// Something must be there.
pub fn required(field: &Field, detail: &str, errors: &mut Errors) {
    if field.is_empty() {
        errors.required(field, detail);
    }
}

/// A string out of a set; a missing one is looked at as an empty one. `allowed` is in the order of the text.
pub fn one_of(field: &Field, allowed: &[&str], errors: &mut Errors) {
    if !allowed.contains(&field.text()) {
        errors.not_supported(field, field.text(), allowed);
    }
}

/// A number that is not negative.
pub fn non_negative(field: &Field, errors: &mut Errors) {
    at_least(field, 0, "must be greater than or equal to 0", errors);
}

/// A number, where there is one, of at least `least`.
pub fn at_least(field: &Field, least: i64, detail: &str, errors: &mut Errors) {
    if let Some(number) = field.value.as_i64().filter(|n| *n < least) {
        errors.invalid(field, number, detail);
    }
}

/// A number, where there is one, between two others, both included.
pub fn in_range(field: &Field, least: i64, most: i64, errors: &mut Errors) {
    if let Some(number) = field.value.as_i64() {
        for problem in names::in_range(number, least, most) {
            errors.invalid(field, number, &problem);
        }
    }
}

/// The number of a port; a missing one is 0, and wrong.
pub fn port_number(field: &Field, errors: &mut Errors) {
    let number = field.value.as_i64().unwrap_or(0);
    for problem in names::port_number(number) {
        errors.invalid(field, number, &problem);
    }
}

/// The number or the name of a port; a missing one is 0, and wrong.
pub fn port_number_or_name(field: &Field, errors: &mut Errors) {
    if field.value.is_string() {
        follows(field, names::port_name, errors)
    } else {
        port_number(field, errors)
    }
}

/// `field is immutable`, unless both are equal.
pub fn immutable(new: &Field, old: &Field, errors: &mut Errors) {
    if new.value != old.value && !(new.is_empty() && old.is_empty()) {
        errors.invalid(new, new.value.clone(), "field is immutable");
    }
}

/// A number that is not negative, or a percentage.
pub fn count_or_percent(field: &Field, errors: &mut Errors) {
    if field.value.is_string() { follows(field, names::percent, errors) } else { non_negative(field, errors) }
}

/// A count, or the number in a percentage; 0 where it is neither.
pub fn plain_number(field: &Field) -> i64 {
    let text = field.text();
    field.value.as_i64().or_else(|| text.strip_suffix('%').unwrap_or(text).parse().ok()).unwrap_or(0)
}

/// A percentage of at most 100.
pub fn at_most_all(field: &Field, errors: &mut Errors) {
    let text = field.text();
    if names::percent(text).is_empty() && plain_number(field) > 100 {
        errors.invalid(field, text, "must not be greater than 100%");
    }
}
