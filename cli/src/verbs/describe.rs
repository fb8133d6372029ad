//! `coracle describe`: one object for people: what it is, how it stands, what happened to it.

use anyhow::Result;
use serde_json::Value;

use crate::print::say;
use crate::print::table::{Table, WIDTH, fit, wrapped};
use crate::print::time::age;
use crate::server::connection::{Connection, Target};
use crate::server::kinds::{Catalogue, Served, selected};
use crate::server::rest::escape;

/// Show objects closely, with what happened to them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle describe pod/web-0
  coracle describe deployment web
  coracle describe nodes")]
pub struct Describe {
    /// What: KIND, KIND NAME..., or KIND/NAME...
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    /// Only those with these labels
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<String>,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
///
/// # Errors
/// The server says no.
pub async fn run(args: Describe, connection: &Connection) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let mut first = true;
    for ask in selected(&catalogue, &args.what)? {
        let objects = match &ask.name {
            Some(name) => vec![connection.get(&ask.kind.path(&connection.namespace, name)).await?],
            None => {
                let labels = args.selector.as_ref().map(|l| format!("?labelSelector={}", escape(l)));
                let path = ask.kind.list_path(Some(&connection.namespace)) + &labels.unwrap_or_default();
                let list = connection.get(&path).await?;
                list["items"].as_array().cloned().unwrap_or_default()
            }
        };
        for object in objects {
            if !std::mem::take(&mut first) {
                say!("\n");
            }
            let events = events(&object, &ask.kind, connection).await?;
            say!("{}", describe(&object, &ask.kind, &events, jiff::Timestamp::now()).trim_end());
        }
    }
    Ok(())
}

async fn events(object: &Value, kind: &Served, connection: &Connection) -> Result<Vec<Value>> {
    let meta = &object["metadata"];
    let fields = format!(
        "involvedObject.name={},involvedObject.uid={}",
        meta["name"].as_str().unwrap_or_default(),
        // Events about nodes carry the node's name where the uid would be.
        if kind.kind == "Node" { meta["name"].as_str() } else { meta["uid"].as_str() }.unwrap_or_default()
    );
    let scope = match meta["namespace"].as_str() {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/events"),
        None => "/api/v1/events".into(),
    };
    let list = connection.get(&format!("{scope}?fieldSelector={}", escape(&fields))).await?;
    let mut events = list["items"].as_array().cloned().unwrap_or_default();
    events.sort_by(|a, b| last_seen(a).as_str().cmp(&last_seen(b).as_str()));
    Ok(events)
}

fn last_seen(event: &Value) -> &Value {
    [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]]
        .into_iter()
        .find(|t| t.is_string())
        .unwrap_or(&event["metadata"]["creationTimestamp"])
}

/// The whole text.
fn describe(object: &Value, kind: &Served, events: &[Value], now: jiff::Timestamp) -> String {
    let mut text = Text::default();
    let meta = &object["metadata"];
    text.field(0, "Name", meta["name"].as_str().unwrap_or_default());
    if let Some(namespace) = meta["namespace"].as_str() {
        text.field(0, "Namespace", namespace);
    }
    text.field(
        0,
        "Kind",
        &format!("{} ({})", kind.kind, object["apiVersion"].as_str().unwrap_or(&kind.version)),
    );
    text.field(0, "Age", &age(&meta["creationTimestamp"], now));
    if meta["deletionTimestamp"].is_string() {
        text.field(0, "Terminating", &format!("since {}", age(&meta["deletionTimestamp"], now)));
    }
    for (title, field) in [("Labels", "labels"), ("Annotations", "annotations")] {
        text.value(0, title, &meta[field]);
    }
    for owner in meta["ownerReferences"].as_array().into_iter().flatten().filter(|o| o["controller"] == true)
    {
        let name =
            format!("{}/{}", owner["kind"].as_str().unwrap_or(""), owner["name"].as_str().unwrap_or(""));
        text.field(0, "Controlled By", &name);
    }
    let secret = kind.kind == "Secret" && kind.group.is_empty();
    for (key, value) in object.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" | "metadata" => {}
            "data" | "stringData" if secret => text.sizes(key, value),
            "status" => text.status(value, now),
            _ => text.value(0, &title(key), value),
        }
    }
    text.events(events, now);
    if kind.kind == "Pod"
        && kind.group.is_empty()
        && object["spec"]["nodeName"].as_str().is_none_or(str::is_empty)
    {
        let name = meta["name"].as_str().unwrap_or_default();
        text.0.push_str(&format!("\nNo node yet: `coracle why pod/{name}` tells what each node lacks.\n"));
    }
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn field(&mut self, depth: usize, name: &str, value: &str) {
        let indent = " ".repeat(2 * depth);
        let head = format!("{indent}{name}:");
        let line = format!("{head:<20} {value}");
        self.0.push_str(&fit(line.trim_end(), WIDTH));
        self.0.push('\n');
    }

    /// A tree, a line for each leaf; lists of plain values stand on one line.
    fn value(&mut self, depth: usize, name: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::Object(map) if map.is_empty() => {}
            Value::Array(list) if list.is_empty() => {}
            Value::Object(map) => {
                self.field(depth, name, "");
                for (key, value) in map {
                    // Labels and annotations keep their names.
                    let name = if key.contains(['/', '.', '-']) { key.clone() } else { title(key) };
                    self.value(depth + 1, &name, value);
                }
            }
            Value::Array(list) if list.iter().all(|v| !v.is_object() && !v.is_array()) => {
                let plain: Vec<String> = list.iter().map(plain).collect();
                self.field(depth, name, &plain.join(", "));
            }
            Value::Array(list) => {
                self.field(depth, name, "");
                for (i, item) in list.iter().enumerate() {
                    let label = ["name", "type", "key", "ip"].iter().find_map(|k| item[*k].as_str());
                    let label = label.map_or_else(|| format!("#{}", i + 1), String::from);
                    let mut rest = item.clone();
                    if let Some(map) = rest.as_object_mut() {
                        map.shift_remove("name");
                    }
                    self.value(depth + 1, &label, &rest);
                    if rest.as_object().is_some_and(serde_json::Map::is_empty) {
                        self.field(depth + 1, &label, "");
                    }
                }
            }
            leaf => {
                let text = plain(leaf);
                let mut lines = text.lines();
                self.field(depth, name, lines.next().unwrap_or_default());
                for line in lines {
                    self.0.push_str(&fit(&format!("{}{line}", " ".repeat(21)), WIDTH));
                    self.0.push('\n');
                }
            }
        }
    }

    fn sizes(&mut self, name: &str, value: &Value) {
        self.field(0, &title(name), "");
        for (key, value) in value.as_object().into_iter().flatten() {
            // Base64: four characters for three bytes, less the padding.
            let text = value.as_str().unwrap_or_default();
            let bytes = text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(2);
            self.field(1, key, &format!("{bytes} bytes"));
        }
    }

    /// Conditions as a table, the rest as a tree.
    fn status(&mut self, status: &Value, now: jiff::Timestamp) {
        let mut rest = status.clone();
        let conditions = rest.as_object_mut().and_then(|map| map.shift_remove("conditions"));
        self.value(0, "Status", &rest);
        let Some(Value::Array(conditions)) = conditions else { return };
        let mut table = Table::new(&["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"]);
        for c in &conditions {
            let text = |field: &str| c[field].as_str().unwrap_or_default().to_string();
            let since = if c["lastTransitionTime"].is_string() {
                age(&c["lastTransitionTime"], now)
            } else {
                String::new()
            };
            table.row(vec![text("type"), text("status"), since, text("reason"), text("message")]);
        }
        self.table("Conditions", &table);
        // What was cut in the table is told in full.
        let room = table.widths(WIDTH - 2).last().copied().unwrap_or(0);
        for message in conditions.iter().filter_map(|c| c["message"].as_str()) {
            if message.chars().count() > room {
                for line in wrapped(message, WIDTH - 4) {
                    self.0.push_str(&format!("    {line}\n"));
                }
            }
        }
    }

    fn events(&mut self, events: &[Value], now: jiff::Timestamp) {
        if events.is_empty() {
            self.field(0, "Events", "<none>");
            return;
        }
        self.0.push_str("Events:\n");
        for event in events {
            let text = |field: &str| event[field].as_str().unwrap_or_default();
            let from = event["source"]["component"].as_str().unwrap_or(text("reportingComponent"));
            let times = event["series"]["count"].as_i64().or(event["count"].as_i64()).unwrap_or(1);
            let times = if times > 1 { format!(" (x{times})") } else { String::new() };
            let age = age(last_seen(event), now);
            self.0.push_str(&format!(
                "  {age:>6} {:<8} {:<20} {from}{times}\n",
                text("type"),
                text("reason")
            ));
            for line in wrapped(text("message"), WIDTH - 17) {
                self.0.push_str(&format!("{}{line}\n", " ".repeat(17)));
            }
        }
    }

    fn table(&mut self, name: &str, table: &Table) {
        self.0.push_str(&format!("{name}:\n"));
        for line in table.lines(WIDTH - 2) {
            self.0.push_str(&format!("  {line}\n"));
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// `terminationGracePeriodSeconds` as `Termination Grace Period Seconds`.
fn title(key: &str) -> String {
    let mut title = String::new();
    let chars: Vec<char> = key.chars().collect();
    for (i, c) in chars.iter().enumerate() {
        let starts = c.is_uppercase() && i > 0 && !chars[i - 1].is_uppercase();
        if starts {
            title.push(' ');
        }
        if i == 0 { title.extend(c.to_uppercase()) } else { title.push(*c) }
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_reads_well_and_fits() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "namespace": "d", "labels": { "app.kubernetes.io/name": "web" }, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "containers": [{ "name": "c", "image": "busybox", "command": ["sleep", "1"] }], "terminationGracePeriodSeconds": 30 },
            "status": { "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: ".repeat(8) }] },
        });
        let event = json!({ "type": "Warning", "reason": "FailedScheduling", "message": "no ".repeat(60), "reportingComponent": "default-scheduler", "eventTime": "2026-01-01T00:00:05.000000Z" });
        let now = "2026-01-01T00:01:00Z".parse().expect("a time");
        let kind = Served { kind: "Pod".into(), version: "v1".into(), ..Served::default() };
        let text = describe(&pod, &kind, &[event], now);
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        for part in [
            "Name:                p",
            "app.kubernetes.io/name",
            "Command:",
            "sleep, 1",
            "Grace Period",
            "55s Warning",
            "coracle why pod/p",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = json!({ "apiVersion": "v1", "metadata": { "name": "s" }, "data": { "password": "aHVudGVyMg==" } });
        let kind = Served { kind: "Secret".into(), ..Served::default() };
        let text = describe(&secret, &kind, &[], jiff::Timestamp::UNIX_EPOCH);
        assert!(text.contains("7 bytes") && !text.contains("aHVu"), "{text}");
    }

    #[test]
    fn field_names_become_titles() {
        assert_eq!(title("terminationGracePeriodSeconds"), "Termination Grace Period Seconds");
        assert_eq!(title("podIP"), "Pod IP");
    }
}
