//! Whether an object is as its structural schema demands, in upstream's texts and in its order.
//!
//! Source: `k8s.io/kube-openapi/pkg/validation/validate`, and `ValidateCustomResource` in
//! `k8s.io/apiextensions-apiserver/pkg/apiserver/validation`.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::{ListKind, Schema, Shape};
use super::rules::{Demand, Rules};
use crate::field::{Errors, Fault, Field, Path};

/// How often one object may be held against a part of its schema: six times for each value of the largest one. Only `anyOf` and
/// its like ask for more. Tests meet the limit sooner.
pub(super) const MOST_CHECKS: u64 = if cfg!(test) { 20_000 } else { 2_000_000 };

/// Notes everything that is wrong with a whole object, but for what is asked of all `metadata` alike. What an update leaves as it
/// is in `old` may stay, whatever the schema says by now.
pub fn validate(object: &Value, old: Option<&Value>, schema: &Schema, errors: &mut Errors) {
    let whole = Field::new(&Path::WHOLE, object);
    Checker::new("").look(&whole, old, Requirement::Schema(schema), errors);
}

/// The same for a write to `/status`. Upstream looks at the status alone, and so names in its texts what is below it.
pub fn validate_status(object: &Value, old: &Value, schema: &Schema, errors: &mut Errors) {
    let Some(status) = schema.child("status").filter(|_| object.get("status").is_some()) else { return };
    let at = Field::top(object, "status");
    Checker::new("status").look(&at, old.get("status"), Requirement::Schema(status), errors);
}

/// What a value is held against.
#[derive(Clone, Copy)]
enum Requirement<'s> {
    Schema(&'s Schema),
    Demand(&'s Demand),
}

impl<'s> Requirement<'s> {
    /// The rules; none for types that have rules in code.
    fn rules(self) -> Option<&'s Rules> {
        match self {
            Requirement::Schema(schema) => schema.rules.as_deref(),
            Requirement::Demand(demand) => Some(&demand.rules),
        }
    }

    /// The type that is wanted, as it is reported; empty for any.
    fn of_type(self, rules: &Rules) -> &'s str {
        match self {
            _ if rules.int_or_string => "integer,string",
            Requirement::Schema(Schema { shape: Shape::Any, .. }) => "",
            Requirement::Schema(schema) => &schema.go,
            Requirement::Demand(demand) => &demand.of_type,
        }
    }
}

struct Checker<'c> {
    /// What the texts leave out of each path.
    above: &'c str,
    /// How many checks are left.
    left: u64,
}

impl Checker<'_> {
    fn new(above: &str) -> Checker<'_> {
        Checker { above, left: MOST_CHECKS }
    }

    fn look(mut self, at: &Field, old: Option<&Value>, requirement: Requirement<'_>, errors: &mut Errors) {
        let mut found = Errors::new();
        self.check(at, old, requirement, &mut found);
        if self.left == 0 {
            let why = format!("Too many: an object may take at most {MOST_CHECKS} checks against its schema");
            errors.other(&NOWHERE, Fault::TooMany, why);
        }
        // What several parts of a schema find is reported once.
        let mut reported = HashSet::new();
        found.0.retain(|error| reported.insert(error.to_string()));
        errors.append(found);
    }

    /// Whether there is room for some more checks, which are taken off.
    fn spend(&mut self, checks: usize) -> bool {
        self.left = self.left.saturating_sub(checks as u64);
        self.left > 0
    }

    /// The path in a text.
    fn name_of(&self, at: &Field) -> String {
        let path = at.path().to_string();
        path.strip_prefix(self.above).map_or(path.as_str(), |rest| rest.trim_start_matches('.')).to_owned()
    }

    fn refuse(&self, at: &Field, value: impl Into<Value>, detail: &str, errors: &mut Errors) {
        if !errors.is_full() {
            errors.invalid(at.path(), value, &format!("{} in body {detail}", self.name_of(at)));
        }
    }

    fn refuse_type(&self, at: &Field, wanted: &str, found: &str, errors: &mut Errors) {
        let text = format!("{} in body must be of type {wanted}: {found:?}", self.name_of(at));
        errors.other(at.path(), Fault::TypeInvalid, format!("Invalid value: {found:?}: {text}"));
    }

    /// A fault that upstream tells without a place of its own.
    fn refuse_whole(&self, at: &Field, detail: &str, errors: &mut Errors) {
        let text = format!("Invalid value: \"\": {:?} {detail}", self.name_of(at));
        errors.other(&NOWHERE, Fault::Invalid, text);
    }

    /// Notes what is wrong with a value. The number tells how far alternatives came: of those that fail, upstream tells what is
    /// wrong by the one with the highest, and counts what was looked at, not what was right.
    fn check(
        &mut self,
        at: &Field,
        old: Option<&Value>,
        requirement: Requirement<'_>,
        errors: &mut Errors,
    ) -> u64 {
        let Some(rules) = requirement.rules() else { return 0 };
        if errors.is_full() || old == Some(at.value) || !self.spend(1) {
            return 0;
        }
        let mut looked = 1;
        let of_type = requirement.of_type(rules);
        if !of_type.is_empty() {
            looked += 1;
            if has_type(at.value, of_type, rules) {
                looked += 1;
            } else {
                self.refuse_type(at, of_type, type_name(at.value), errors);
            }
        }
        if !at.value.is_null() {
            looked += 2 + self.combined(at, rules, errors);
        }
        match at.value {
            Value::Number(number) => {
                looked += 2;
                self.number(at, number, of_type, rules, errors);
            }
            Value::String(text) => {
                looked += 1 + u64::from(rules.format.is_some());
                self.text(at, text, rules, errors);
            }
            Value::Array(list) => {
                looked += 2 + self.items(at, old, requirement, errors);
                let count = list.len() as u64;
                if let Some(least) = rules.items.least.filter(|least| count < *least) {
                    self.refuse(at, count, &format!("should have at least {least} items"), errors);
                }
                if let Some(most) = rules.items.most.filter(|most| count > *most) {
                    errors.too_many(at.path(), list.len(), usize::try_from(most).unwrap_or(usize::MAX));
                }
            }
            Value::Object(_) | Value::Null | Value::Bool(_) => {}
        }
        looked += 1;
        let is_null = at.value.is_null() && rules.nullable;
        if !rules.choices.is_empty() && !is_null && !rules.choices.contains(at.value) {
            let name = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let names: Vec<String> = rules.choices.iter().map(|one| format!("{:?}", name(one))).collect();
            let text = format!("Unsupported value: {}: supported values: {}", at.value, names.join(", "));
            errors.other(at.path(), Fault::NotSupported, text);
        }
        if at.value.is_object() {
            looked += 1 + self.fields(at, old, requirement, rules, errors);
        }
        looked
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`.
    fn combined(&mut self, at: &Field, rules: &Rules, errors: &mut Errors) -> u64 {
        let mut looked = 0;
        if !rules.any_of.is_empty() {
            let tried = self.alternatives(at, &rules.any_of, true);
            if tried.valid == 0 {
                self.refuse_whole(at, "must validate at least one schema (anyOf)", errors);
            }
            looked += tried.tell(errors);
        }
        if !rules.one_of.is_empty() {
            let tried = self.alternatives(at, &rules.one_of, false);
            match tried.valid {
                1 => {}
                0 => {
                    let why = "must validate one and only one schema (oneOf). Found none valid";
                    self.refuse_whole(at, why, errors);
                }
                count => {
                    let why = format!(
                        "must validate one and only one schema (oneOf). Found {count} valid alternatives"
                    );
                    self.refuse_whole(at, &why, errors);
                }
            }
            looked += tried.tell(errors);
        }
        if !rules.all_of.is_empty() {
            let mut valid = 0;
            for demand in &rules.all_of {
                let mut found = Errors::new();
                looked += self.check(at, None, Requirement::Demand(demand), &mut found);
                valid += usize::from(found.is_empty());
                errors.append(found);
            }
            if valid < rules.all_of.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                self.refuse_whole(at, &format!("must validate all the schemas (allOf){none}"), errors);
            }
        }
        if let Some(demand) = &rules.not {
            let mut found = Errors::new();
            self.check(at, None, Requirement::Demand(demand), &mut found);
            if found.is_empty() {
                self.refuse_whole(at, "must not validate the schema (not)", errors);
            }
        }
        looked
    }

    /// Holds a value against alternatives; where one is enough, against no more than are needed.
    fn alternatives(&mut self, at: &Field, demands: &[Demand], one_is_enough: bool) -> Tried {
        let mut tried = Tried::default();
        for demand in demands {
            let mut found = Errors::new();
            let looked = self.check(at, None, Requirement::Demand(demand), &mut found);
            if found.is_empty() {
                if tried.valid == 0 {
                    tried.looked = looked;
                    tried.best = Errors::new();
                }
                tried.valid += 1;
                if one_is_enough {
                    break;
                }
            } else if tried.valid == 0 && (tried.best.is_empty() || looked > tried.looked) {
                tried.looked = looked;
                tried.best = found;
            }
        }
        tried
    }

    fn number(
        &self,
        at: &Field,
        number: &serde_json::Number,
        of_type: &str,
        rules: &Rules,
        errors: &mut Errors,
    ) {
        let value = number.as_f64().unwrap_or_default();
        if of_type == "integer" {
            let whole = number.as_i64().or_else(|| Some(value as i64).filter(|whole| *whole as f64 == value));
            let fits = whole.is_some_and(|whole| !rules.is_short || i32::try_from(whole).is_ok());
            if !fits {
                let format = if rules.is_short { "with format int32" } else { "(default format)" };
                let text = format!("Checked value must be of type integer {format} in {}", self.name_of(at));
                errors.other(&NOWHERE, Fault::Invalid, format!("Invalid value: \"\": {text}"));
            }
        }
        let bounds = &rules.bounds;
        let mut refuse = |detail: String| self.refuse(at, at.value.clone(), &detail, errors);
        if let Some(factor) = bounds.multiple_of.filter(|factor| *factor > 0.0) {
            let times = value / factor;
            if (times - times.round()).abs() > 1e-9 {
                refuse(format!("should be a multiple of {factor}"));
            }
        }
        match bounds.minimum {
            Some(least) if bounds.above && value <= least => {
                refuse(format!("should be greater than {least}"));
            }
            Some(least) if value < least => refuse(format!("should be greater than or equal to {least}")),
            _ => {}
        }
        match bounds.maximum {
            Some(most) if bounds.below && value >= most => refuse(format!("should be less than {most}")),
            Some(most) if value > most => refuse(format!("should be less than or equal to {most}")),
            _ => {}
        }
    }

    /// The first rule that a text breaks, and its format.
    fn text(&mut self, at: &Field, text: &str, rules: &Rules, errors: &mut Errors) {
        // Patterns and formats look at every letter.
        if !self.spend(text.len() / 64) {
            return;
        }
        let length = text.chars().count() as u64;
        let pattern = || rules.pattern.as_ref().filter(|(pattern, _)| !pattern.is_match(text));
        if let Some(most) = rules.length.most.filter(|most| length > *most) {
            errors.too_long(at.path(), usize::try_from(most).unwrap_or(usize::MAX));
        } else if let Some(least) = rules.length.least.filter(|least| length < *least) {
            self.refuse(at, text, &format!("should be at least {least} chars long"), errors);
        } else if let Some((_, written)) = pattern() {
            self.refuse(at, text, &format!("should match '{written}'"), errors);
        }
        if let Some(format) = rules.format.as_ref().filter(|format| !format.fits(text)) {
            self.refuse_type(at, &format.name, text, errors);
        }
    }

    fn items(
        &mut self,
        at: &Field,
        old: Option<&Value>,
        requirement: Requirement<'_>,
        errors: &mut Errors,
    ) -> u64 {
        let mut looked = 0;
        match requirement {
            Requirement::Schema(Schema { shape: Shape::List { items, kind }, .. }) => {
                let before = by_key(old, kind);
                for item in at.items() {
                    let old = key(item.value, kind).and_then(|key| before.get(&key.to_string()).copied());
                    looked += self.check(&item, old, Requirement::Schema(items.get()), errors);
                }
                distinct(at, kind, errors);
            }
            Requirement::Demand(Demand { items: Some(demand), .. }) => {
                for item in at.items() {
                    looked += self.check(&item, None, Requirement::Demand(demand), errors);
                }
            }
            _ => {}
        }
        looked
    }

    fn fields(
        &mut self,
        at: &Field,
        old: Option<&Value>,
        requirement: Requirement<'_>,
        rules: &Rules,
        errors: &mut Errors,
    ) -> u64 {
        let Value::Object(map) = at.value else { return 0 };
        let count = map.len() as u64;
        // Where there are too many or too few, upstream looks no further.
        if let Some(least) = rules.properties.least.filter(|least| count < *least) {
            self.refuse(at, count, &format!("should have at least {least} properties"), errors);
            return 0;
        }
        if let Some(most) = rules.properties.most.filter(|most| count > *most) {
            errors.too_many(at.path(), map.len(), usize::try_from(most).unwrap_or(usize::MAX));
            return 0;
        }
        let mut looked = 0;
        let before = |name: &str| old.and_then(|old| old.get(name));
        match requirement {
            Requirement::Schema(Schema { shape: Shape::Struct(fields), .. }) => {
                for field in fields.fields.iter().filter(|field| map.contains_key(&*field.name)) {
                    let schema = Requirement::Schema(field.link.get());
                    looked += self.check(&at.get(&field.name), before(&field.name), schema, errors);
                }
                if let Some(demand) = rules.metadata.as_deref().filter(|_| map.contains_key("metadata")) {
                    let (metadata, old) = (at.get("metadata"), before("metadata"));
                    looked += self.check(&metadata, old, Requirement::Demand(demand), errors);
                }
            }
            Requirement::Schema(Schema { shape: Shape::Map { values }, .. }) => {
                for name in map.keys() {
                    let schema = Requirement::Schema(values.get());
                    looked += self.check(&at.get(name), before(name), schema, errors);
                }
            }
            Requirement::Schema(_) => {}
            Requirement::Demand(demand) => {
                self.spend(demand.properties.len());
                for (name, inner) in demand.properties.iter().filter(|(name, _)| map.contains_key(*name)) {
                    looked += self.check(&at.get(name), None, Requirement::Demand(inner), errors);
                }
                let others = |name: &&String| !demand.properties.contains_key(*name);
                for inner in demand.values.iter() {
                    for name in map.keys().filter(others) {
                        looked += self.check(&at.get(name), None, Requirement::Demand(inner), errors);
                    }
                }
            }
        }
        self.spend(rules.required.len());
        for name in rules.required.iter().filter(|name| !map.contains_key(name.as_str())) {
            errors.required(at.get(name).path(), "");
        }
        for name in
            ["apiVersion", "kind"].into_iter().filter(|name| rules.embedded && map.contains_key(*name))
        {
            if at.str(name).is_empty() {
                errors.wrong(&at.get(name), "must not be empty");
            }
        }
        looked
    }
}

/// Where upstream tells what has no place.
const NOWHERE: Path<'static> = Path::root("<nil>");

/// What alternatives came to.
#[derive(Default)]
struct Tried {
    /// How many hold, of those that were looked at.
    valid: usize,
    /// How far the first of them came, or else the one that came furthest.
    looked: u64,
    /// What is wrong by that one.
    best: Errors,
}

impl Tried {
    fn tell(self, errors: &mut Errors) -> u64 {
        errors.append(self.best);
        self.looked
    }
}

/// What tells items of a list apart.
fn key(item: &Value, kind: &ListKind) -> Option<Value> {
    match kind {
        ListKind::Atomic => None,
        ListKind::Set => Some(item.clone()),
        ListKind::Map(keys) => {
            Some(keys.iter().map(|key| (key.clone(), item.get(key).cloned().unwrap_or_default())).collect())
        }
    }
}

/// The items of a list before an update, by what tells them apart.
fn by_key<'v>(old: Option<&'v Value>, kind: &ListKind) -> HashMap<String, &'v Value> {
    let items = old.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| key(item, kind).map(|key| (key.to_string(), item))).collect()
}

/// The items of a set, and the keys of a list that is a map, are there once.
fn distinct(at: &Field, kind: &ListKind, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for item in at.items() {
        if let Some(key) = key(item.value, kind).filter(|key| !seen.insert(key.to_string())) {
            errors.duplicate(item.path(), key);
        }
    }
}

fn has_type(value: &Value, wanted: &str, rules: &Rules) -> bool {
    // `1.0` is a whole number to upstream, too.
    let whole = || value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0);
    match wanted {
        _ if value.is_null() => rules.nullable,
        "integer,string" => value.is_string() || whole(),
        "boolean" => value.is_boolean(),
        "integer" => whole(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
