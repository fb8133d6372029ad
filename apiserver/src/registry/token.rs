//! `POST` to a service account's `/token`: a signed token, for a while, perhaps bound to a pod.

use std::sync::Arc;

use coracle_api::decode::Target;
use coracle_api::{Errors, Key, Object, Path, Status, kinds};
use serde_json::{Value, json};

use super::meta::text;
use super::operation::{Body, Context, Written};
use super::{Registry, decode};
use crate::pki::token::{Bound, ISSUER, Private};

/// Upstream's bounds for the life of a token, in seconds.
const LEAST_SECONDS: i64 = 10 * 60;
const MOST_SECONDS: i64 = 1 << 32;
const DEFAULT_SECONDS: i64 = 60 * 60;

impl Registry {
    pub(super) fn issue_token(
        &self,
        context: &Context,
        account: &Key,
        body: Body,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let target = Target::named("authentication.k8s.io", "v1", "TokenRequest")
            .ok_or_else(|| Status::internal("no schema for TokenRequest"))?;
        let mut request = decode::typed(context, &target, body, warnings)?;
        let Some(entry) = self.entry(account) else {
            return Err(Status::not_found(account.kind, &account.name));
        };
        let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
        check_seconds(seconds)?;
        let audiences: Vec<String> = match request["spec"]["audiences"].as_array() {
            Some(some) if !some.is_empty() => {
                some.iter().filter_map(Value::as_str).map(String::from).collect()
            }
            _ => vec![ISSUER.to_owned()],
        };
        let about = Private {
            namespace: account.namespace.clone(),
            node: None,
            pod: self.bound_pod(account, &request["spec"]["boundObjectRef"])?,
            secret: None,
            serviceaccount: Bound { name: account.name.clone(), uid: text(&entry.value(), "uid").to_owned() },
        };
        let tokens = self.tokens.get().ok_or_else(|| Status::internal("no key to sign tokens with"))?;
        let (token, expires) = tokens.issue(&audiences, seconds, about).map_err(Status::internal)?;
        request["kind"] = json!("TokenRequest");
        request["apiVersion"] = json!("authentication.k8s.io/v1");
        request["metadata"]["name"] = json!(account.name);
        request["metadata"]["namespace"] = json!(account.namespace);
        request["metadata"]["creationTimestamp"] =
            json!(self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        request["spec"]["audiences"] = json!(audiences);
        request["spec"]["expirationSeconds"] = json!(seconds);
        request["status"] = json!({
            "token": token,
            "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        let json = serde_json::to_vec(&request).map_err(Status::internal)?.into();
        // Not an object that is kept: it travels as one, so that every client reads it the same way.
        let answer = Object { key: account.clone(), revision: entry.object.revision, json };
        Ok(Written { created: true, ..Written::changed(Arc::new(answer)) })
    }

    /// The pod that a token is to live and die with; it must be there, and must run as the account.
    fn bound_pod(&self, account: &Key, reference: &Value) -> Result<Option<Bound>, Status> {
        let (kind, name) = (reference["kind"].as_str().unwrap_or_default(), text_of(reference, "name"));
        match kind {
            "" => return Ok(None),
            "Pod" => {}
            _ => {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to type {kind}",
                    account.name
                )));
            }
        }
        let pod = Key::new(&kinds::POD, &account.namespace, name);
        let found = self.entry(&pod).ok_or_else(|| Status::not_found(&kinds::POD, name))?.value();
        let uid = text(&found, "uid");
        let wanted = text_of(reference, "uid");
        if !wanted.is_empty() && wanted != uid {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict(&kinds::POD, name, &why));
        }
        if found["spec"]["serviceAccountName"] != account.name.as_str() {
            let used = found["spec"]["serviceAccountName"].as_str().unwrap_or_default();
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name {used:?}",
                account.name
            )));
        }
        Ok(Some(Bound { name: name.to_owned(), uid: uid.to_owned() }))
    }
}

fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn check_seconds(seconds: i64) -> Result<(), Status> {
    let mut errors = Errors::new();
    let spec = Path::root("spec");
    let at = spec.child("expirationSeconds");
    if seconds < LEAST_SECONDS {
        errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > MOST_SECONDS {
        errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    Err(Status::failure(
        422,
        "Invalid",
        format!("TokenRequest.authentication.k8s.io \"\" is invalid: {}", texts.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_between_ten_minutes_and_some_hundred_years() {
        for (seconds, fine) in [(599, false), (600, true), (MOST_SECONDS, true), (MOST_SECONDS + 1, false)] {
            assert_eq!(check_seconds(seconds).is_ok(), fine, "case: {seconds}");
        }
    }
}
