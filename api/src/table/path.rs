//! JSON paths as printer columns and subresources of defined kinds name fields: `.status.conditions[?(@.type=="Ready")].status`.
//!
//! Source: `k8s.io/client-go/util/jsonpath`, as far as definitions may use it.

use serde_json::Value;

/// A compiled path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    /// Counted from the end if negative.
    Index(i64),
    All,
    /// Items whose field is, or is not, a value.
    Filter {
        field: Vec<String>,
        equal: bool,
        value: Value,
    },
}

impl JsonPath {
    /// Compiles a path, with or without `{}` around it.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let mut rest = inner.strip_prefix('$').unwrap_or(inner);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = next(rest).ok_or_else(|| format!("cannot read the JSON path {text:?}"))?;
            steps.push(step);
            rest = behind;
        }
        if steps.is_empty() {
            return Err(format!("the JSON path {text:?} names no field"));
        }
        Ok(JsonPath { steps })
    }

    /// Whether it only names fields, so that there is one field, which can be written to.
    pub fn is_plain(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Field(_)))
    }

    /// The first value at the path.
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        find(value, &self.steps)
    }

    /// Writes a value to a path that [only names fields](JsonPath::is_plain), making the maps on the way.
    pub fn write(&self, object: &mut Value, value: Value) {
        let mut here = object;
        for step in &self.steps {
            let Step::Field(name) = step else { return };
            if !here.is_object() {
                *here = Value::Object(serde_json::Map::new());
            }
            here = &mut here[name.as_str()];
        }
        *here = value;
    }
}

fn find<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    let all: &[Value] = value.as_array().map_or(&[], Vec::as_slice);
    match step {
        Step::Field(name) => find(value.get(name)?, rest),
        Step::Index(at) => {
            let at = if *at < 0 {
                all.len().checked_sub(at.unsigned_abs().try_into().ok()?)?
            } else {
                usize::try_from(*at).ok()?
            };
            find(all.get(at)?, rest)
        }
        Step::All => match value {
            Value::Object(map) => map.values().find_map(|value| find(value, rest)),
            _ => all.iter().find_map(|value| find(value, rest)),
        },
        Step::Filter { field, equal, value: wanted } => {
            let read = |item: &'v Value| field.iter().try_fold(item, |value, name| value.get(name));
            let fits = |item: &&'v Value| read(item).is_some_and(|found| (found == wanted) == *equal);
            all.iter().filter(fits).find_map(|item| find(item, rest))
        }
    }
}

/// The first step of a path, and what is after it.
fn next(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        return bracket(rest);
    }
    let text = text.strip_prefix('.').unwrap_or(text);
    if text.starts_with('[') {
        return next(text);
    }
    let (name, rest) = name(text);
    match name.as_str() {
        "" => None,
        "*" => Some((Step::All, rest)),
        _ => Some((Step::Field(name), rest)),
    }
}

/// A name up to the next dot or bracket that no backslash guards.
fn name(text: &str) -> (String, &str) {
    let (mut name, mut guarded) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            _ if guarded => guarded = false,
            '\\' => {
                guarded = true;
                continue;
            }
            '.' | '[' => return (name, &text[at..]),
            _ => {}
        }
        name.push(c);
    }
    (name, "")
}

fn bracket(text: &str) -> Option<(Step, &str)> {
    if let Some(filter) = text.strip_prefix("?(") {
        let (condition, rest) = filter.split_once(")]")?;
        let (left, equal, value) = match condition.split_once("==") {
            Some((left, value)) => (left, true, value),
            None => {
                let (left, value) = condition.split_once("!=")?;
                (left, false, value)
            }
        };
        let mut field = Vec::new();
        let mut left = left.trim().strip_prefix('@')?;
        while !left.is_empty() {
            let (Step::Field(name), behind) = next(left)? else { return None };
            field.push(name);
            left = behind;
        }
        return Some((Step::Filter { field, equal, value: literal(value.trim())? }, rest));
    }
    let quoted = |quote: char| {
        let (name, rest) = text.strip_prefix(quote)?.split_once(quote)?;
        Some((Step::Field(name.to_owned()), rest.strip_prefix(']')?))
    };
    if let Some(found) = quoted('\'').or_else(|| quoted('"')) {
        return Some(found);
    }
    let (inside, rest) = text.split_once(']')?;
    match inside.trim() {
        "*" => Some((Step::All, rest)),
        index => Some((Step::Index(index.parse().ok()?), rest)),
    }
}

fn literal(text: &str) -> Option<Value> {
    let single = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    single.map(Value::from).or_else(|| serde_json::from_str(text).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_found() {
        let object = json!({
            "spec": {"replicas": 3, "a.b": {"c": "d"}, "list": [{"name": "x"}, {"name": "y", "v": 2}]},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        let cases = [
            (".spec.replicas", Some(json!(3))),
            ("{.spec.replicas}", Some(json!(3))),
            ("$.spec.list[1].v", Some(json!(2))),
            (".spec.list[-1].name", Some(json!("y"))),
            (".spec.list[-3].name", None),
            (".spec.list[*].v", Some(json!(2))),
            (r".spec.a\.b.c", Some(json!("d"))),
            (".spec['a.b'].c", Some(json!("d"))),
            (r#".status.conditions[?(@.type=="Ready")].status"#, Some(json!("True"))),
            (".status.conditions[?(@.type!='Ready')].status", Some(json!("False"))),
            (".spec.nothing.deeper", None),
        ];
        for (path, expected) in cases {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(parsed.find(&object), expected.as_ref(), "case: {path}");
        }
        for path in ["", ".", ".spec[", ".spec[?(@.a)]", ".a..b", ".spec[x]"] {
            assert!(JsonPath::parse(path).is_err(), "case: {path}");
        }
    }

    #[test]
    fn a_plain_path_can_be_written_to() {
        let mut object = json!({"spec": 1});
        JsonPath::parse(".spec.size.wanted").unwrap().write(&mut object, json!(2));
        assert_eq!(object, json!({"spec": {"size": {"wanted": 2}}}));
        assert!(!JsonPath::parse(".spec.list[0]").unwrap().is_plain());
    }
}
