//! The tokens that a pod mounts: asked for once, and again when most of their time is up.

use std::collections::BTreeMap;

use coracle_api::kinds;
use coracle_client::Op;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::context::Context;
use crate::volumes::payload::{self, TokenRequest};

/// The tokens that a pod's volumes want.
///
/// # Errors
/// Why the API gives none, in upstream's words.
pub async fn of(ctx: &Context, pod: &Pod) -> Result<BTreeMap<TokenRequest, String>, String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let mut tokens = BTreeMap::new();
    for request in payload::token_requests(pod) {
        let token = match ctx.tokens.fresh(uid, &request, ctx.clock.now()) {
            Some(token) => token,
            None => {
                let token = ask(ctx, pod, &request).await?;
                ctx.tokens.keep(uid, request.clone(), token.clone(), ctx.clock.now());
                token
            }
        };
        tokens.insert(request, token);
    }
    Ok(tokens)
}

async fn ask(ctx: &Context, pod: &Pod, request: &TokenRequest) -> Result<String, String> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
    let audience = Some(request.audience.as_str()).filter(|audience| !audience.is_empty());
    let object = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {"creationTimestamp": null},
        "spec": {
            "audiences": audience.into_iter().collect::<Vec<_>>(),
            "expirationSeconds": request.seconds,
            "boundObjectRef": {
                "kind": "Pod", "apiVersion": "v1",
                "name": pod.metadata.name, "uid": pod.metadata.uid,
            },
        }
    });
    let op = Op::Create {
        kind: kinds::SERVICE_ACCOUNT.handle(),
        namespace,
        sub: Some((account, "token")),
        object,
    };
    let failed = |why: &dyn std::fmt::Display| format!("failed to fetch token: {why}");
    let answer = ctx.client.write_one(op).await.map_err(|error| failed(&error))?;
    let value = answer.value().map_err(|error| failed(&error))?;
    let token = value.pointer("/status/token").and_then(Value::as_str);
    token.map(str::to_owned).ok_or_else(|| failed(&"the answer holds none"))
}
