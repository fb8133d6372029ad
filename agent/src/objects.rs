//! The ConfigMaps and Secrets that a node's pods name. A node may read them one at a time and not list them; many pods
//! name the same, such as `kube-root-ca.crt`. So each is read once in a while for all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::{Key, Object};
use coracle_client::{Client, Error};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Objects that were read lately.
#[derive(Default)]
pub struct Objects {
    known: parking_lot::Mutex<HashMap<Key, Arc<Mutex<Option<Read>>>>>,
}

/// What was read: an object, or that there is none.
#[derive(Clone)]
struct Read {
    object: Option<Arc<Object>>,
    at: Instant,
}

impl Objects {
    /// An object that was read not longer ago than `age`. Of those who ask at the same time one reads, and the others wait.
    pub async fn get(
        &self,
        client: &dyn Client,
        key: &Key,
        age: Duration,
    ) -> Result<Option<Arc<Object>>, Error> {
        let slot = self.known.lock().entry(key.clone()).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(read) = slot.as_ref().filter(|read| read.at.elapsed() < age) {
            return Ok(read.object.clone());
        }
        let object = client.get(key).await?;
        *slot = Some(Read { object: object.clone(), at: Instant::now() });
        Ok(object)
    }

    /// Forgets what has not been asked for in a while.
    pub fn sweep(&self, age: Duration) {
        let old = |read: &Read| read.at.elapsed() > age;
        // What is being read is in use.
        self.known
            .lock()
            .retain(|_, slot| slot.try_lock().map_or(true, |read| !read.as_ref().is_none_or(old)));
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::kinds;
    use coracle_client::Op;
    use coracle_client::fake::Fake;
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_object_is_read_once_in_a_while() {
        let cluster = Fake::new();
        let key = Key::new(&kinds::CONFIG_MAP, "ns", "m");
        let objects = Objects::default();
        let age = Duration::from_secs(5);
        let get = async || objects.get(&cluster, &key, age).await.unwrap();
        assert!(get().await.is_none());
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "ns"}});
        let op = Op::Create { kind: kinds::CONFIG_MAP.handle(), namespace: "ns".into(), sub: None, object };
        let client: Arc<dyn Client> = Arc::new(cluster.clone());
        client.write_one(op).await.unwrap();
        assert!(get().await.is_none(), "it was read a moment ago");
        assert!(
            objects.get(&cluster, &key, Duration::ZERO).await.unwrap().is_some(),
            "who wants it new gets it new"
        );
        client.write_one(Op::delete_key(key.clone())).await.unwrap();
        tokio::time::advance(age / 2).await;
        assert!(get().await.is_some(), "it is shared");
        tokio::time::advance(age).await;
        assert!(get().await.is_none(), "it is read again");
        objects.sweep(age);
        assert_eq!(objects.known.lock().len(), 1);
        tokio::time::advance(age * 2).await;
        objects.sweep(age);
        assert!(objects.known.lock().is_empty());
    }
}
