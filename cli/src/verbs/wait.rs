//! `coracle wait`: returns when a condition holds, or when an object is gone.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::print::say;
use crate::server::connection::{Connection, Target};
use crate::server::follow::One;
use crate::server::kinds::{Catalogue, Selected, selected};
use crate::server::rest::escape;

/// Wait until something is so.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  coracle wait pod/web-0 --for condition=Ready
  coracle wait pods -l app=web --for condition=Ready=false
  coracle wait deployment/web --for delete --timeout 30s")]
pub struct Wait {
    /// What: KIND NAME..., KIND/NAME..., or KIND with -l
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    /// For what: condition=TYPE, condition=TYPE=STATUS, create or delete
    #[arg(long = "for", value_name = "STATE", value_parser = Until::parse)]
    until: Until,
    /// Those with these labels
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<String>,
    /// How long at most
    #[arg(long, default_value = "30s", value_parser = crate::print::time::duration, value_name = "TIME")]
    timeout: Duration,
    /// The API server
    #[command(flatten)]
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq)]
enum Until {
    Created,
    Deleted,
    Condition { name: String, status: String },
}

impl Until {
    fn parse(text: &str) -> Result<Until, String> {
        match text.split('=').collect::<Vec<_>>()[..] {
            ["create"] => Ok(Until::Created),
            ["delete"] => Ok(Until::Deleted),
            ["condition", name] => Ok(Until::Condition { name: name.into(), status: "True".into() }),
            ["condition", name, status] => Ok(Until::Condition { name: name.into(), status: status.into() }),
            _ => Err("say condition=TYPE, condition=TYPE=STATUS, create or delete".into()),
        }
    }

    fn holds(&self, object: Option<&Value>) -> bool {
        match (self, object) {
            (Until::Created, object) => object.is_some(),
            (Until::Deleted, object) => object.is_none(),
            (Until::Condition { .. }, None) => false,
            (Until::Condition { name, status }, Some(object)) => {
                let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
                let same = |v: &Value, text: &str| v.as_str().is_some_and(|v| v.eq_ignore_ascii_case(text));
                conditions.any(|c| same(&c["type"], name) && same(&c["status"], status))
            }
        }
    }
}

/// Runs the command.
///
/// # Errors
/// It is not so in time.
pub async fn run(args: Wait, connection: &Connection) -> Result<()> {
    let catalogue = Catalogue::fetch(connection).await?;
    let mut all = Vec::new();
    for Selected { kind, name } in selected(&catalogue, &args.what)? {
        if let Some(name) = name {
            all.push((kind, name));
            continue;
        }
        let labels = args.selector.as_ref().map(|l| format!("?labelSelector={}", escape(l)));
        let list = connection
            .get(&(kind.list_path(Some(&connection.namespace)) + &labels.unwrap_or_default()))
            .await?;
        for item in list["items"].as_array().into_iter().flatten() {
            all.push((kind.clone(), item["metadata"]["name"].as_str().unwrap_or_default().to_owned()));
        }
    }
    if all.is_empty() {
        bail!("no matching resources found");
    }
    let deadline = tokio::time::Instant::now() + args.timeout;
    for (kind, name) in all {
        let title = format!("{}/{name}", kind.title());
        let what = format!("{title}; `coracle describe {title}` may say why");
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let one = One { kind: &kind, namespace: &connection.namespace, name: &name };
        one.until(connection, left, &what, |found| {
            if found.is_none() && matches!(args.until, Until::Condition { .. }) {
                bail!("{title} does not exist");
            }
            Ok(args.until.holds(found).then_some(()))
        })
        .await?;
        say!("{title} {}", if args.until == Until::Deleted { "deleted" } else { "condition met" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_hold_or_not() {
        let pod = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
        let cases = [
            ("condition=Ready", Some(&pod), false),
            ("condition=ready=false", Some(&pod), true),
            ("condition=Other", Some(&pod), false),
            ("create", Some(&pod), true),
            ("delete", Some(&pod), false),
            ("delete", None, true),
        ];
        for (text, object, expected) in cases {
            assert_eq!(Until::parse(text).expect("a state").holds(object), expected, "case: {text}");
        }
        assert!(Until::parse("jsonpath={.x}=1").is_err());
    }
}
