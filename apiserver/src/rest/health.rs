//! The pages `/livez`, `/readyz` and `/healthz`: whether the server is well.

use coracle_client::health::Question;

use super::app::{App, Asked};
use crate::http::reply::Reply;

/// `/healthz` and its kin.
pub fn check(app: &App, asked: &Asked, page: &str, one: Option<&str>) -> Reply {
    let excluded = asked.query.all("exclude");
    let verbose = asked.query.get("verbose").is_some();
    // What upstream's store is called.
    let one = one.map(|name| if name == "etcd" { "store" } else { name });
    match app.checks.answer(&Question { page, one, excluded: &excluded, verbose }) {
        Some(answer) => Reply::text(answer.code, answer.text),
        None => Reply::no_page(),
    }
}
