//! What the server can do, told from the table of kinds.

pub mod issuer;

mod documents;
mod openapi;

pub use documents::{core_versions, group, groups, resources};
pub use openapi::{OpenApi, openapi};

use bytes::Bytes;
use coracle_api::kinds::Kinds;
use serde_json::{Value, json};

/// `/version`. The reference that Coracle is measured by was recorded from this version.
pub fn version() -> Bytes {
    let version = json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.2",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
    });
    version.to_string().into()
}

/// `/`: the paths that are served.
pub fn root(kinds: &Kinds) -> Value {
    let mut paths = vec![
        "/.well-known/openid-configuration".to_string(),
        "/api".into(),
        "/api/v1".into(),
        "/apis".into(),
    ];
    for (group, versions) in documents::groups_and_versions(kinds) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    let own = [
        "/healthz",
        "/healthz/ping",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    paths.extend(own.map(String::from));
    json!({ "paths": paths })
}
