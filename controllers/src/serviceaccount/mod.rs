//! What every namespace holds from the start: the account `default`, as which pods run that name no other, and the certificate
//! authority by which they know the API server.
//!
//! ```text
//! [Namespace] [ServiceAccount] [ConfigMap] --watch--> plan --> ServiceAccount default, ConfigMap kube-root-ca.crt
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::{Key, Object};
use coracle_client::{Action, Controller, Ctx, Error, Op, Plan, Store, Stored, Typed, Wakes};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::Shared;

const ACCOUNT: &str = "default";
const CA: &str = "kube-root-ca.crt";
const CA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const CA_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions \
    of Kubernetes clusters.";

/// All that `plan` may look at.
pub struct Observed {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// Its account `default`, if it is there.
    pub account: Option<Arc<ServiceAccount>>,
    /// Its copy of the authority, if it is there.
    pub authority: Option<Arc<Authority>>,
    /// The authority, as PEM.
    pub ca_pem: String,
}

/// A namespace's copy of the authority: the ConfigMap of that name. All others are left out of the store, which would be most of
/// what a large cluster's controllers hold.
pub struct Authority(ConfigMap);

impl Stored for Authority {
    fn is_wanted(key: &Key) -> bool {
        key.name == CA
    }

    fn read(object: &Arc<Object>) -> Result<Arc<Authority>, serde_json::Error> {
        ConfigMap::from_json(&object.json).map(|map| Arc::new(Authority(map)))
    }

    fn ns_name(&self) -> (String, String) {
        self.0.ns_name()
    }

    fn owners(&self) -> Vec<String> {
        self.0.owners()
    }
}

/// Decides and does nothing else: same input, same output, and no actions once converged.
pub fn plan(observed: &Observed) -> Plan {
    let meta = &observed.namespace.metadata;
    if meta.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let named = |name: &str| ObjectMeta {
        name: Some(name.into()),
        namespace: meta.name.clone(),
        ..ObjectMeta::default()
    };
    // Somebody may be quicker.
    let create = |op: Op| Action::write(op).fine_if("AlreadyExists");
    let mut actions = Vec::new();
    if observed.account.is_none() {
        let account = ServiceAccount { metadata: named(ACCOUNT), ..ServiceAccount::default() };
        actions.push(create(Op::create(&account)));
    }
    let data = BTreeMap::from([(CA_KEY.to_owned(), observed.ca_pem.clone())]);
    let describe = |mut map: ConfigMap| {
        map.metadata.annotations.get_or_insert_default().insert(DESCRIPTION.into(), CA_DESCRIPTION.into());
        ConfigMap { data: Some(data.clone()), ..map }
    };
    match &observed.authority {
        None => {
            let map = ConfigMap { metadata: named(CA), ..ConfigMap::default() };
            actions.push(create(Op::create(&describe(map))));
        }
        Some(authority) => {
            let map = &authority.0;
            let annotations = map.metadata.annotations.as_ref();
            let described = annotations.is_some_and(|annotations| annotations.contains_key(DESCRIPTION));
            if map.data.as_ref() != Some(&data) || !described {
                actions.push(Action::write(Op::update(&describe(ConfigMap::clone(map)))));
            }
        }
    }
    Plan::of(actions)
}

/// The controller's stores.
pub struct NamespaceContents {
    namespaces: Store<Namespace>,
    accounts: Store<ServiceAccount>,
    authorities: Store<Authority>,
    ca_pem: String,
}

impl NamespaceContents {
    /// Over the stores of this process.
    pub fn new(shared: &Shared) -> NamespaceContents {
        NamespaceContents {
            namespaces: shared.informers.store(),
            accounts: shared.informers.store(),
            authorities: shared.informers.store_as(ConfigMap::kind()),
            ca_pem: shared.config.ca_pem.clone(),
        }
    }
}

impl Controller for NamespaceContents {
    const NAME: &'static str = "serviceaccount-controller";
    const WORKERS: usize = 8;
    type Observed = Observed;

    fn wakes(self: &Arc<Self>, wakes: Wakes) -> Wakes {
        let namespace_of =
            |meta: &ObjectMeta| Key::new(Namespace::kind(), "", meta.namespace.clone().unwrap_or_default());
        wakes
            .on_each::<Namespace>()
            .on::<ServiceAccount>(move |change| {
                let meta = &change.object().metadata;
                let gone = change.new.is_none() && meta.name.as_deref() == Some(ACCOUNT);
                gone.then(|| namespace_of(meta)).into_iter().collect()
            })
            .on_stored::<Authority>(ConfigMap::kind(), move |change| {
                vec![namespace_of(&change.object().0.metadata)]
            })
    }

    async fn observe(&self, _: &Ctx, key: &Key) -> Result<Option<Observed>, Error> {
        let Some(namespace) = self.namespaces.get_key(key) else { return Ok(None) };
        let account = self.accounts.get(&key.name, ACCOUNT);
        let authority = self.authorities.get(&key.name, CA);
        Ok(Some(Observed { namespace, account, authority, ca_pem: self.ca_pem.clone() }))
    }

    fn plan(observed: &Observed, _: Timestamp) -> Plan {
        plan(observed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::object_of;

    fn observed(deleted: bool) -> Observed {
        let mut value = json!({"metadata": {"name": "n"}});
        if deleted {
            value["metadata"]["deletionTimestamp"] = json!(crate::testing::time(0));
        }
        let namespace = Arc::new(serde_json::from_value(value).expect("a namespace"));
        Observed { namespace, account: None, authority: None, ca_pem: "pem".into() }
    }

    fn words(plan: &Plan) -> Vec<String> {
        plan.actions.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_namespace_gets_both_and_keeps_them_right() {
        let made = plan(&observed(false));
        assert_eq!(
            words(&made),
            ["create serviceaccounts/n/default", "create configmaps/n/kube-root-ca.crt"]
        );
        let account: ServiceAccount = object_of(&made.actions[0]);
        let map: ConfigMap = object_of(&made.actions[1]);
        assert_eq!(map.data.as_ref().map(|data| data[CA_KEY].as_str()), Some("pem"));
        let mut there = observed(false);
        (there.account, there.authority) = (Some(Arc::new(account)), Some(Arc::new(Authority(map.clone()))));
        assert_eq!(plan(&there), Plan::default());
        let mut edited = map.clone();
        edited.data.get_or_insert_default().insert("more".into(), "y".into());
        there.authority = Some(Arc::new(Authority(edited)));
        let repaired = plan(&there);
        assert_eq!(words(&repaired), ["update configmaps/n/kube-root-ca.crt"]);
        assert_eq!(object_of::<ConfigMap>(&repaired.actions[0]), map);
        assert_eq!(plan(&observed(true)), Plan::default());
    }
}
