//! What `kubectl explain` says of types and fields: `data/descriptions.txt`, which tells how it is written.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

static TEXT: &str = include_str!("../../data/descriptions.txt");

/// What most names of types begin with; the file leaves it out.
const PACKAGES: [&str; 3] = ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s.apimachinery.pkg."];

/// The section for fields that mean the same everywhere.
const ALL: &str = "*";

/// What is said of one type.
#[derive(Default)]
struct Section {
    text: &'static str,
    /// The type that says what this one does not.
    like: Option<&'static str>,
    fields: HashMap<&'static str, &'static str>,
}

static SECTIONS: LazyLock<HashMap<&str, Section>> = LazyLock::new(|| {
    let mut sections: HashMap<&str, Section> = HashMap::new();
    let mut current = ALL;
    for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((heading, text)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            let (name, like) =
                heading.split_once(" like ").map_or((heading, None), |(name, like)| (name, Some(like)));
            current = name;
            sections.insert(name, Section { text: text.trim(), like, ..Section::default() });
        } else if let Some((field, text)) = line.split_once(' ') {
            sections.entry(current).or_default().fields.insert(field, text);
        }
    }
    sections
});

fn section(name: &str) -> Option<&'static Section> {
    let short = PACKAGES.iter().find_map(|package| name.strip_prefix(package));
    SECTIONS.get(short.unwrap_or(name))
}

/// What is said of a type itself.
fn of_type(name: &str) -> Option<&'static str> {
    section(name).map(|section| section.text).filter(|text| !text.is_empty())
}

/// What is said of a field of a type.
fn of_field(name: &str, field: &str) -> Option<&'static str> {
    let own = section(name);
    let like = own.and_then(|section| SECTIONS.get(section.like?));
    [own, like, SECTIONS.get(ALL)]
        .into_iter()
        .flatten()
        .find_map(|section| section.fields.get(field).copied())
}

/// Adds to the schema of a type what is said of it and of its fields.
pub fn describe(name: &str, schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    for (field, schema) in map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        // Beside a plain reference nothing counts; of such a field its type tells.
        if let (Some(schema), Some(text)) = (schema.as_object_mut(), of_field(name, field))
            && !schema.contains_key("$ref")
        {
            schema.insert("description".into(), text.into());
        }
    }
    if let Some(text) = of_type(name) {
        map.insert("description".into(), text.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kinds::Kinds;
    use crate::openapi::types::collect;
    use crate::schema::Schema;

    /// The whole name of a type that the file names.
    fn full(name: &str) -> String {
        let mut names = PACKAGES.iter().map(|package| format!("{package}{name}"));
        names.find(|full| Schema::of(full).is_some()).expect(name)
    }

    #[test]
    fn every_type_is_described_down_to_its_last_field() {
        let mut reached = BTreeMap::new();
        for kind in Kinds::new().served() {
            collect(kind.schema.name(), &mut reached);
        }
        assert!(reached.len() > 100, "only {} types", reached.len());
        SECTIONS.keys().filter(|name| **name != ALL).for_each(|name| collect(&full(name), &mut reached));
        let mut missing = Vec::new();
        for (name, schema) in reached {
            let text = |schema: &Value| schema["description"].as_str().unwrap_or_default().len();
            if text(&schema) < 5 {
                missing.push(name.to_owned());
            }
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                if text(schema) < 5 && schema.get("$ref").is_none() {
                    missing.push(format!("{name} {field}"));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn nothing_is_described_that_is_not_there() {
        for (name, section) in SECTIONS.iter().filter(|(name, _)| **name != ALL) {
            let schema: Value = serde_json::from_str(Schema::text(&full(name)).unwrap()).unwrap();
            for field in section.fields.keys() {
                assert!(schema["properties"].get(field).is_some(), "{name} has no field {field:?}");
            }
            assert!(section.like.is_none_or(|like| SECTIONS.contains_key(like)), "{name} is like nothing");
        }
        let headings = TEXT.lines().filter(|line| line.starts_with('[')).count();
        assert_eq!(headings, SECTIONS.len(), "a type is described twice");
    }
}
