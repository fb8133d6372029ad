//! The page `/metrics`: counters of requests and of what is stored.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::Method;
use parking_lot::Mutex;

use crate::http::reply::Reply;
use crate::registry::Registry;

/// Counters of requests.
#[derive(Default)]
pub struct Metrics(Mutex<BTreeMap<(&'static str, u16), u64>>);

impl Metrics {
    /// Counts an answer.
    pub fn count(&self, method: &Method, code: u16) {
        // Clients may send any word as a method, and the table must stay bounded.
        let known = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        let verb = known.into_iter().find(|verb| *verb == method.as_str()).unwrap_or("other");
        *self.0.lock().entry((verb, code)).or_default() += 1;
    }

    /// `/metrics`, in Prometheus' text form.
    pub fn page(&self, registry: &Registry) -> Reply {
        let mut text = String::new();
        let head = |name: &str, of: &str, help: &str, text: &mut String| {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {of}\n");
        };
        head("apiserver_request_total", "counter", "Requests answered, by verb and code.", &mut text);
        for ((verb, code), count) in self.0.lock().iter() {
            let _ = writeln!(text, "apiserver_request_total{{verb=\"{verb}\",code=\"{code}\"}} {count}");
        }
        head("apiserver_storage_objects", "gauge", "Objects that live, by resource.", &mut text);
        for (kind, count) in registry.counts() {
            let _ = writeln!(text, "apiserver_storage_objects{{resource=\"{kind}\"}} {count}");
        }
        head("coracle_revision", "gauge", "The revision of the last change.", &mut text);
        let _ = writeln!(text, "coracle_revision {}", registry.revision());
        let reply = Reply::text(200, text);
        Reply { content_type: "text/plain; version=0.0.4; charset=utf-8".into(), ..reply }
    }
}
