//! What every namespace holds from the start: the account `default`, as which pods run that name no other, and the certificate
//! authority by which they know the API server.
//!
//! ```text
//! [Namespace] [ServiceAccount] [ConfigMap] --watch--> plan --> ServiceAccount default, ConfigMap kube-root-ca.crt
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::Key;
use coracle_client::{Ctx, Error, Op, Requeue, Store, Typed};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio_util::sync::CancellationToken;

use crate::{Shared, drive};

const ACCOUNT: &str = "default";
const CA: &str = "kube-root-ca.crt";
const CA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const CA_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions \
    of Kubernetes clusters.";

/// All that `plan` may look at.
pub struct Observed<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// Its account `default`, if it is there.
    pub account: Option<&'a ServiceAccount>,
    /// Its copy of the authority, if it is there.
    pub authority: Option<&'a ConfigMap>,
    /// The authority, as PEM.
    pub ca_pem: &'a str,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the account.
    CreateAccount(ServiceAccount),
    /// Make the copy of the authority.
    CreateAuthority(ConfigMap),
    /// Put the copy right.
    RepairAuthority(ConfigMap),
}

/// Decides and does nothing else: same input, same output, and `[]` once converged.
pub fn plan(observed: &Observed<'_>) -> Vec<Action> {
    let meta = &observed.namespace.metadata;
    if meta.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let named = |name: &str| ObjectMeta {
        name: Some(name.into()),
        namespace: meta.name.clone(),
        ..ObjectMeta::default()
    };
    let mut actions = Vec::new();
    if observed.account.is_none() {
        actions.push(Action::CreateAccount(ServiceAccount {
            metadata: named(ACCOUNT),
            ..ServiceAccount::default()
        }));
    }
    let data = BTreeMap::from([(CA_KEY.to_owned(), observed.ca_pem.to_owned())]);
    let describe = |mut map: ConfigMap| {
        map.metadata.annotations.get_or_insert_default().insert(DESCRIPTION.into(), CA_DESCRIPTION.into());
        ConfigMap { data: Some(data.clone()), ..map }
    };
    match observed.authority {
        None => {
            let map = ConfigMap { metadata: named(CA), ..ConfigMap::default() };
            actions.push(Action::CreateAuthority(describe(map)));
        }
        Some(map) => {
            let annotations = map.metadata.annotations.as_ref();
            let described = annotations.is_some_and(|annotations| annotations.contains_key(DESCRIPTION));
            if map.data.as_ref() != Some(&data) || !described {
                actions.push(Action::RepairAuthority(describe(map.clone())));
            }
        }
    }
    actions
}

struct Controller {
    namespaces: Store<Namespace>,
    accounts: Store<ServiceAccount>,
    maps: Store<ConfigMap>,
    shared: Shared,
}

/// Runs the controller until `stop`.
pub async fn run(shared: Shared, stop: CancellationToken) {
    let controller = Arc::new(Controller {
        namespaces: shared.informers.store(),
        accounts: shared.informers.store(),
        maps: shared.informers.store(),
        shared: shared.clone(),
    });
    let key = |name: Option<&String>| Key::new(Namespace::kind(), "", name.cloned().unwrap_or_default());
    let runner = shared.runner("serviceaccount-controller").workers(8).watches_itself::<Namespace>();
    let runner = runner.watches::<ServiceAccount>(move |change| {
        let meta = &change.object().metadata;
        let gone = change.new.is_none() && meta.name.as_deref() == Some(ACCOUNT);
        gone.then(|| key(meta.namespace.as_ref())).into_iter().collect()
    });
    let runner = runner.watches::<ConfigMap>(move |change| {
        let meta = &change.object().metadata;
        (meta.name.as_deref() == Some(CA)).then(|| key(meta.namespace.as_ref())).into_iter().collect()
    });
    drive(runner, controller, stop, |it, ctx, key| Box::pin(it.reconcile(ctx, key))).await;
}

impl Controller {
    #[tracing::instrument(skip_all, fields(%key))]
    async fn reconcile(&self, ctx: &Ctx, key: &Key) -> Result<Requeue, Error> {
        let Some(namespace) = self.namespaces.get_key(key) else { return Ok(Requeue::Done) };
        let account = self.accounts.get(&key.name, ACCOUNT);
        let authority = self.maps.get(&key.name, CA);
        let observed = Observed {
            namespace: &namespace,
            account: account.as_deref(),
            authority: authority.as_deref(),
            ca_pem: &self.shared.config.ca_pem,
        };
        let op = |action: Action| match action {
            Action::CreateAccount(account) => Op::create(&account),
            Action::CreateAuthority(map) => Op::create(&map),
            Action::RepairAuthority(map) => Op::update(&map),
        };
        for outcome in ctx.write(plan(&observed).into_iter().map(op).collect()).await? {
            match outcome {
                // Somebody was quicker, or the namespace is going.
                Err(status)
                    if status.reason == "AlreadyExists" || status.code == 403 || status.code == 404 => {}
                Err(status) => return Err(Error::Refused(status)),
                Ok(_) => {}
            }
        }
        Ok(Requeue::Done)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn namespace(deleted: bool) -> Namespace {
        let mut value = json!({"metadata": {"name": "n"}});
        if deleted {
            value["metadata"]["deletionTimestamp"] = json!(crate::testing::time(0));
        }
        serde_json::from_value(value).expect("a namespace")
    }

    #[test]
    fn a_namespace_gets_both_and_keeps_them_right() {
        let living = namespace(false);
        let none = Observed { namespace: &living, account: None, authority: None, ca_pem: "pem" };
        let made = plan(&none);
        let [Action::CreateAccount(account), Action::CreateAuthority(map)] = &made[..] else {
            panic!("two things to make, not {made:?}");
        };
        assert_eq!(map.data.as_ref().map(|data| data[CA_KEY].as_str()), Some("pem"));
        let there = Observed { account: Some(account), authority: Some(map), ..none };
        assert_eq!(plan(&there), []);
        let mut edited = map.clone();
        edited.data.get_or_insert_default().insert("more".into(), "y".into());
        let repaired = plan(&Observed { authority: Some(&edited), ..there });
        assert_eq!(repaired, [Action::RepairAuthority(map.clone())]);
        let dying = namespace(true);
        assert_eq!(plan(&Observed { namespace: &dying, account: None, authority: None, ca_pem: "pem" }), []);
    }
}
