//! What a request's first line names: its path and its query, read as authorization, dispatch and every reader of options do.
#![no_main]

use coracle_api::kinds::Kinds;
use coracle_apiserver::auth::attributes::Attributes;
use coracle_apiserver::fuzzing;
use coracle_apiserver::http::path;
use coracle_apiserver::http::query::Query;
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let query = Query::parse(query);
    for said in fuzzing::read_query(&query) {
        said.unwrap_or_else(|status| coracle_fuzz::refused(&status));
    }
    let kinds = Kinds::new();
    let Ok(location) = path::read(&kinds, path) else { return };
    if path.starts_with('/') {
        let again = path::read(&kinds, &coracle_fuzz::spelled_out(&location.path));
        assert_eq!(again.as_ref(), Ok(&location), "a path in another spelling names the same");
    }
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD] {
        let needed = Attributes::needed(&method, &location, &query);
        assert!(!needed.is_empty(), "something is asked for: {method} {path}");
    }
});
