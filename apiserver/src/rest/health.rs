//! Whether the server is well.

use std::fmt::Write;

use super::app::{App, Asked};
use crate::http::reply::Reply;

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
