//! How objects find their pods.

use serde_json::Value;

/// The label selector, as text, by which an object finds its pods.
pub fn select(object: &Value) -> Option<String> {
    let selector = &object["spec"]["selector"];
    let labels = selector.get("matchLabels").unwrap_or(selector).as_object()?;
    let equal = labels.iter().filter_map(|(k, v)| Some(format!("{k}={}", v.as_str()?)));
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten().filter_map(|e| {
        let key = e["key"].as_str()?;
        let values: Vec<&str> =
            e["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        Some(match e["operator"].as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.into(),
            _ => format!("!{key}"),
        })
    });
    let all: Vec<String> = equal.chain(expressions).collect();
    (!all.is_empty()).then(|| all.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_of_deployments_and_services() {
        let deployment = json!({ "spec": { "selector": {
            "matchLabels": { "app": "web" }, "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": ["db", "x"] }]
        } } });
        assert_eq!(select(&deployment).as_deref(), Some("app=web,tier notin (db,x)"));
        assert_eq!(select(&json!({ "spec": { "selector": { "app": "web" } } })).as_deref(), Some("app=web"));
        assert_eq!(select(&json!({ "spec": {} })), None);
    }
}
