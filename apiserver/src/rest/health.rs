//! Whether the server is well, and what it has done.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::Method;
use parking_lot::Mutex;

use super::reply::Reply;
use super::{App, Asked};

/// The checks, in the order in which they are told.
const CHECKS: [&str; 3] = ["ping", "log", "store"];

/// `/healthz` and its kin.
pub fn check(app: &App, asked: &Asked, page: &str, one: Option<&str>) -> Reply {
    let store = app.registry.health();
    if let Some(name) = one {
        return match name {
            "ping" | "log" => Reply::text(200, "ok"),
            "store" | "etcd" => match store {
                Ok(()) => Reply::text(200, "ok"),
                Err(why) => Reply::text(500, format!("internal server error: {why}\n")),
            },
            _ => Reply::no_page(),
        };
    }
    let excluded = asked.query.all("exclude");
    let mut told = String::new();
    for name in CHECKS {
        if excluded.contains(&name) {
            let _ = writeln!(told, "[+]{name} excluded: ok");
        } else if name == "store" && store.is_err() {
            let _ = writeln!(told, "[-]{name} failed: reason withheld");
        } else {
            let _ = writeln!(told, "[+]{name} ok");
        }
    }
    if store.is_err() && !excluded.contains(&"store") {
        return Reply::text(500, format!("{told}{page} check failed\n"));
    }
    if asked.query.get("verbose").is_some() {
        return Reply::text(200, format!("{told}{page} check passed\n"));
    }
    Reply::text(200, "ok")
}

/// Counters of requests.
#[derive(Default)]
pub struct Metrics(Mutex<BTreeMap<(&'static str, u16), u64>>);

impl Metrics {
    /// Counts an answer.
    pub fn count(&self, method: &Method, code: u16) {
        // Clients may invent methods without end; a table of them may not grow so.
        let known = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        let verb = known.into_iter().find(|verb| *verb == method.as_str()).unwrap_or("other");
        *self.0.lock().entry((verb, code)).or_default() += 1;
    }

    /// `/metrics`, in Prometheus' text form.
    pub fn page(&self, app: &App) -> Reply {
        let mut text = String::new();
        let head = |name: &str, of: &str, help: &str, text: &mut String| {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {of}\n");
        };
        head("apiserver_request_total", "counter", "Requests answered, by verb and code.", &mut text);
        for ((verb, code), count) in self.0.lock().iter() {
            let _ = writeln!(text, "apiserver_request_total{{verb=\"{verb}\",code=\"{code}\"}} {count}");
        }
        head("apiserver_storage_objects", "gauge", "Objects that live, by resource.", &mut text);
        for (kind, count) in app.registry.counts() {
            let _ = writeln!(text, "apiserver_storage_objects{{resource=\"{kind}\"}} {count}");
        }
        head("coracle_revision", "gauge", "The revision of the last change.", &mut text);
        let _ = writeln!(text, "coracle_revision {}", app.registry.revision());
        let reply = Reply::text(200, text);
        Reply { content_type: "text/plain; version=0.0.4; charset=utf-8".into(), ..reply }
    }
}
