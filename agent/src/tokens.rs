//! The tokens that pods mount: asked for once, and again when most of their time is up.

use std::collections::BTreeMap;

use coracle_api::kinds;
use coracle_client::Op;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::context::Context;
use crate::times::later;
use crate::volumes::payload::{self, TokenRequest};

/// A token is asked for anew when four fifths of its time are over, or when it is a day old.
///
/// Source: `requiresRefresh` in `pkg/kubelet/token/token_manager.go`.
const OLDEST: SignedDuration = SignedDuration::from_hours(24);

/// The tokens of a node's pods, by the pod's uid and what was asked for.
#[derive(Debug, Default)]
pub struct Tokens {
    known: Mutex<BTreeMap<(String, TokenRequest), Token>>,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    until: Timestamp,
}

impl Tokens {
    /// Forgets a pod's tokens.
    pub fn forget(&self, uid: &str) {
        self.known.lock().retain(|(of, _), _| of != uid);
    }

    fn fresh(&self, uid: &str, request: &TokenRequest, now: Timestamp) -> Option<String> {
        let known = self.known.lock();
        let token = known.get(&(uid.to_owned(), request.clone()))?;
        (now < token.until).then(|| token.text.clone())
    }

    fn keep(&self, uid: &str, request: TokenRequest, text: String, now: Timestamp) {
        let wait = SignedDuration::from_secs(request.seconds.saturating_mul(4) / 5).min(OLDEST);
        let until = later(now, wait);
        self.known.lock().insert((uid.to_owned(), request), Token { text, until });
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_for_most_of_its_time() {
        let start = Timestamp::from_second(1_000_000).unwrap();
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        let cases =
            [(3600, 2879, true), (3600, 2880, false), (1_000_000, 86_399, true), (1_000_000, 86_400, false)];
        for (seconds, later, kept) in cases {
            let tokens = Tokens::default();
            let request = TokenRequest { audience: String::new(), seconds };
            tokens.keep("x", request.clone(), "t".into(), start);
            let case = format!("{later} s of {seconds} s");
            assert_eq!(tokens.fresh("x", &request, after(later)).is_some(), kept, "case: {case}");
            assert_eq!(tokens.fresh("y", &request, start), None, "another pod's");
            tokens.forget("x");
            assert_eq!(tokens.fresh("x", &request, start), None);
        }
    }
}
