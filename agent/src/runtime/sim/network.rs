//! The network of the cluster: which container has which address in it, and what strangers do to it.

use std::net::Ipv4Addr;

use super::{Containers, Engine, SimRuntime};
use crate::labels::Mark;
use crate::network::Subnet;
use crate::runtime::{Error, EventKind, Network};

impl SimRuntime {
    /// `docker network disconnect`.
    pub fn disconnect(&self, id: &str) {
        self.0.containers.lock().disconnect(id);
        if let Ok(labels) = self.0.with(id, |one| one.container.labels.clone()) {
            self.0.send_event(&labels, id, EventKind::Disconnected);
        }
    }

    /// `docker network disconnect`, then `docker network connect --ip`. Nobody hears of it.
    ///
    /// # Errors
    /// The address is another's.
    pub fn reconnect(&self, id: &str, address: Ipv4Addr) -> Result<(), Error> {
        let mut containers = self.0.containers.lock();
        containers.disconnect(id);
        containers.connect(id, address)
    }

    /// `docker network disconnect -f` of every container, then `docker network rm`.
    pub fn remove_network(&self) {
        let connected: Vec<String> = self.0.containers.lock().addresses.values().cloned().collect();
        connected.iter().for_each(|id| self.disconnect(id));
        self.0.containers.lock().network = None;
    }
}

impl Engine {
    /// Connects a container to the network, if it is to have an address there.
    pub(super) fn take_address(&self, id: &str) -> Result<(), Error> {
        match self.with(id, |one| one.address)? {
            Some(address) => self.containers.lock().connect(id, address),
            None => Ok(()),
        }
    }
}

impl Containers {
    /// The cluster's network, which is made if it is not there.
    pub(super) fn network(&mut self, mark: &Mark) -> Network {
        let number = *self.network.get_or_insert_with(|| {
            self.made += 1;
            self.made
        });
        Network {
            id: format!("{number:064x}"),
            name: format!("coracle-{}", mark.cluster),
            // Always the same: there is nothing that it could collide with.
            subnet: Subnet::new(Ipv4Addr::new(10, 0, 0, 0), 8),
            gateway: Ipv4Addr::new(10, 0, 0, 1),
        }
    }

    /// Connects a container to the network with this address.
    pub(super) fn connect(&mut self, id: &str, address: Ipv4Addr) -> Result<(), Error> {
        if self.network.is_none() {
            return Err(Error::NotFound("the network is not there".into()));
        }
        if self.addresses.get(&address).is_some_and(|of| of != id) {
            return Err(Error::AddressInUse("Address already in use".into()));
        }
        self.addresses.insert(address, id.to_owned());
        if let Some(one) = self.by_id.get_mut(id) {
            one.container.address = Some(address);
        }
        Ok(())
    }

    /// Takes a container out of the network.
    pub(super) fn disconnect(&mut self, id: &str) {
        let address = self.by_id.get_mut(id).and_then(|one| one.container.address.take());
        if let Some(address) = address {
            self.addresses.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coracle_client::Clock;

    use super::*;
    use crate::runtime::Runtime;

    #[tokio::test]
    async fn a_simulated_network_is_made_again_with_another_id() {
        let runtime = SimRuntime::new(Clock::system(), Duration::ZERO);
        let mark = crate::labels::Mark::new("c", None);
        let first = runtime.ensure_network(&mark, None).await.unwrap();
        assert_eq!(runtime.ensure_network(&mark, None).await.unwrap(), first);
        runtime.remove_network();
        let second = runtime.ensure_network(&mark, Some(first.subnet)).await.unwrap();
        assert_eq!((second.subnet, second.id == first.id), (first.subnet, false));
    }
}
