//! `POST` to a service account's `/token`: a signed token, for a while, perhaps bound to a pod, a node or a secret.

use std::sync::Arc;

use coracle_api::decode::Target;
use coracle_api::status::Details;
use coracle_api::{Errors, Key, Kind, Object, Path, Status, kinds};
use serde_json::{Value, json};
use uuid::Uuid;

use super::meta::{text, time_text};
use super::operation::{Body, Context, Written};
use super::{Registry, decode};
use crate::admission::attributes::{Extras, Operation};
use crate::pki::token::{Bound, ISSUER, Private};

/// Upstream's bounds for the life of a token, in seconds.
const LEAST_SECONDS: i64 = 10 * 60;
const MOST_SECONDS: i64 = 1 << 32;
const DEFAULT_SECONDS: i64 = 60 * 60;

impl Registry {
    pub(super) async fn issue_token(
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
            return Err(Status::not_found(&account.kind, &account.name));
        };
        let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
        check_name(text(&request, "name"), &account.name)?;
        check_seconds(seconds)?;
        let (old, mut extras) = (Value::Null, Extras::default());
        let asked = self.asked(context, Operation::Create, account, "token", &old);
        self.admit(&asked, &mut request, &mut extras).await?;
        warnings.append(&mut extras.warnings);
        let audiences: Vec<String> = match request["spec"]["audiences"].as_array() {
            Some(some) if !some.is_empty() => {
                some.iter().filter_map(Value::as_str).map(String::from).collect()
            }
            _ => vec![ISSUER.to_owned()],
        };
        let mut about = Private {
            namespace: account.namespace.clone(),
            node: None,
            pod: None,
            secret: None,
            serviceaccount: bound(&entry.value()),
        };
        self.bind_token(account, &request["spec"]["boundObjectRef"], &mut about)?;
        let tokens = self.tokens.get().ok_or_else(|| Status::internal("no key to sign tokens with"))?;
        let (token, expires) = tokens.issue(&audiences, seconds, about).map_err(Status::internal)?;
        request["kind"] = json!("TokenRequest");
        request["apiVersion"] = json!("authentication.k8s.io/v1");
        request["metadata"]["name"] = json!(account.name);
        request["metadata"]["namespace"] = json!(account.namespace);
        request["metadata"]["uid"] = json!(Uuid::new_v4().to_string());
        request["metadata"]["creationTimestamp"] = json!(time_text(self.clock.now()));
        request["spec"]["audiences"] = json!(audiences);
        request["spec"]["expirationSeconds"] = json!(seconds);
        // Always printed.
        request["spec"]["boundObjectRef"] = request["spec"]["boundObjectRef"].take();
        request["status"] = json!({
            "token": token,
            "expirationTimestamp": time_text(expires),
        });
        let json = serde_json::to_vec(&request).map_err(Status::internal)?.into();
        // Not an object that is kept: it travels as one, so that every client reads it the same way.
        let answer = Object { key: account.clone(), revision: entry.object.revision, json };
        Ok(Written { created: true, ..Written::changed(Arc::new(answer)) })
    }

    /// Ties a token to what it is to live and die with: a pod, which must run as the account, with its node; a node; or a secret.
    fn bind_token(&self, account: &Key, reference: &Value, about: &mut Private) -> Result<(), Status> {
        if reference.is_null() {
            return Ok(());
        }
        let field = |name: &str| reference[name].as_str().unwrap_or_default();
        let (version, kind, name, wanted) = (field("apiVersion"), field("kind"), field("name"), field("uid"));
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let (row, namespace): (&'static Kind, &str) = match (group, kind) {
            ("", "Pod") => (&kinds::POD, &account.namespace),
            ("", "Secret") => (&kinds::SECRET, &account.namespace),
            ("", "Node") => (&kinds::NODE, ""),
            _ => {
                let text = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
                return Err(Status::bad_request(text));
            }
        };
        if name.is_empty() {
            return Err(Status::bad_request("Name parameter required."));
        }
        let found = self.entry(&Key::new(row, namespace, name));
        let found = found.ok_or_else(|| Status::not_found(row, name))?.value();
        match kind {
            "Secret" => about.secret = Some(bound(&found)),
            "Node" => about.node = Some(bound(&found)),
            _ => {
                if found["spec"]["serviceAccountName"] != account.name.as_str() {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        account.name
                    )));
                }
                let node = found["spec"]["nodeName"].as_str().unwrap_or_default();
                let node = self.entry(&Key::new(&kinds::NODE, "", node));
                about.node = node.map(|node| bound(&node.value()));
                about.pod = Some(bound(&found));
            }
        }
        if !wanted.is_empty() && wanted != text(&found, "uid") {
            let text = format!(
                "Operation cannot be fulfilled on {kind} {name:?}: the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            // Upstream names the kind where it names the resource elsewhere.
            let details = Details { name: name.into(), kind: kind.into(), ..Details::default() };
            return Err(Status::failure(409, "Conflict", text).with_details(details));
        }
        Ok(())
    }
}

fn bound(object: &Value) -> Bound {
    Bound { name: text(object, "name").to_owned(), uid: text(object, "uid").to_owned() }
}

fn check_name(given: &str, account: &str) -> Result<(), Status> {
    let mut errors = Errors::new();
    if !given.is_empty() && given != account {
        let at = Path::root("metadata");
        errors.invalid(&at.child("name"), given, "must match the service account name if specified");
    }
    refuse(account, &errors)
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
    refuse("", &errors)
}

fn refuse(name: &str, errors: &Errors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid_named("authentication.k8s.io", "TokenRequest", name, errors))
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
