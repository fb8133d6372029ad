//! The Docker engine, through bollard.

mod answer;
mod connection;
mod create;
mod engine;
mod exec;
mod helper;
mod images;
mod logs;
mod network;
mod observe;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::EventMessage;
use bollard::query_parameters as query;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

#[cfg(test)]
pub(crate) use create::body as create_body;

use super::disk::{self, DiskFiles};
use super::{
    Container, ContainerEvent, ContainerSpec, Enforced, Error, EventKind, ExecOutput, Image, Info, Limits,
    LogLine, LogOptions, Network, PodFiles, Removed, Runtime, Session, Streams, TerminalSize,
};
use crate::helper::Job;
use crate::labels::{self, Mark, Owner};
use crate::network::Subnet;
use answer::{error_of, gone_is_fine};
use connection::label_filter;
pub use connection::{DockerRuntime, connect};

impl DockerRuntime {
    /// Every container that the filters let through.
    async fn look_at_all(&self, filters: HashMap<String, Vec<String>>) -> Result<Vec<Container>, Error> {
        let options =
            query::ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let found = self.docker.list_containers(Some(options)).await.map_err(error_of)?;
        let ids = found.into_iter().filter_map(|summary| summary.id);
        // The list leaves out exit codes and times, so each is looked at: a few at a time.
        let looks =
            futures::stream::iter(ids).map(|id| async move { self.inspect(&id).await }).buffer_unordered(8);
        let containers: Vec<_> = looks.collect().await;
        let containers: Result<Vec<_>, _> = containers.into_iter().filter_map(Result::transpose).collect();
        Ok(containers?.into_iter().filter(|one| one.labels.contains_key(labels::CLUSTER)).collect())
    }

    /// Which container of an owner's an event of a network is about. Such an event shows no labels, so the container is looked at;
    /// one that has ended is left out: it always loses its networks.
    async fn disconnected(&self, owner: &Owner, event: EventMessage) -> Option<ContainerEvent> {
        let id = event.actor?.attributes?.remove("container")?;
        let found = self.inspect(&id).await.ok().flatten().filter(|found| found.state.is_running())?;
        let is_owners = owner.labels().iter().all(|(key, value)| found.labels.get(key) == Some(value));
        let uid = found.labels.get(labels::UID).filter(|_| is_owners)?.clone();
        Some(ContainerEvent { id, uid, kind: EventKind::Disconnected })
    }

    /// The ids of all containers that agents have made for an owner, those that are being removed among them.
    async fn ids(&self, owner: &Owner) -> Result<Vec<String>, Error> {
        let listed = self.labels(owner).await?.into_iter().map(|(id, _)| id);
        let looks = listed.map(|id| async move {
            let found = self.docker.inspect_container(&id, None::<query::InspectContainerOptions>).await;
            match found.map_err(error_of) {
                Ok(found) => {
                    Ok(found.host_config.is_some_and(|host| observe::is_marked(&host)).then_some(id))
                }
                Err(Error::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let looks: Vec<Result<Option<String>, Error>> =
            futures::stream::iter(looks).buffer_unordered(8).collect().await;
        looks.into_iter().filter_map(Result::transpose).collect()
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn info(&self) -> Result<Info, Error> {
        let info = self.docker.info().await.map_err(error_of)?;
        Ok(observe::info(info))
    }

    async fn ping(&self) -> Result<(), Error> {
        self.docker.ping().await.map(|_| ()).map_err(error_of)
    }

    async fn ensure_network(&self, mark: &Mark, subnet: Option<Subnet>) -> Result<Network, Error> {
        network::ensure(&self.docker, mark, subnet).await
    }

    async fn containers(&self, owner: &Owner) -> Result<Vec<Container>, Error> {
        self.look_at_all(label_filter(owner)).await
    }

    async fn labels(&self, owner: &Owner) -> Result<Vec<(String, BTreeMap<String, String>)>, Error> {
        let filters = Some(label_filter(owner));
        let options = query::ListContainersOptions { all: true, filters, ..Default::default() };
        let found = self.docker.list_containers(Some(options)).await.map_err(error_of)?;
        let named = found.into_iter().filter_map(|one| Some((one.id?, one.labels?.into_iter().collect())));
        Ok(named.collect())
    }

    async fn of_pod(&self, owner: &Owner, uid: &str) -> Result<Vec<Container>, Error> {
        let mut filters = label_filter(owner);
        filters.entry("label".into()).or_default().push(format!("{}={uid}", labels::UID));
        self.look_at_all(filters).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, Error> {
        match self
            .docker
            .inspect_container(id, None::<query::InspectContainerOptions>)
            .await
            .map_err(error_of)
        {
            Ok(found) if observe::is_going(&found) => Ok(None),
            Ok(found) => Ok(Some(observe::container(found))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, Error> {
        create::volumes(&self.docker, spec).await?;
        let options = query::CreateContainerOptions { name: Some(spec.name.clone()), ..Default::default() };
        let made = self
            .docker
            .create_container(Some(options), create::body(spec, self.oom_protection))
            .await
            .map_err(error_of)?;
        Ok(made.id)
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        self.docker.start_container(id, None::<query::StartContainerOptions>).await.map_err(error_of)
    }

    async fn update(&self, id: &str, limits: &Limits) -> Result<Limits, Error> {
        let options = None::<query::InspectContainerOptions>;
        let found = self.docker.inspect_container(id, options).await.map_err(error_of)?;
        let in_nanos = found.host_config.as_ref().is_some_and(observe::is_in_nanos);
        self.docker.update_container(id, create::update(limits, in_nanos)).await.map_err(error_of)?;
        // The engine takes what it cannot enforce, too.
        let gone = || Error::NotFound(format!("container {id} is gone"));
        self.inspect(id).await?.map(|shown| shown.limits).ok_or_else(gone)
    }

    fn enforced(&self) -> Enforced {
        self.enforced
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<(), Error> {
        let options = query::KillContainerOptions { signal: signal.into() };
        match self.docker.kill_container(id, Some(options)).await.map_err(error_of) {
            Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            other => other,
        }
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let options = query::RemoveContainerOptions { force: true, v: true, link: false };
        match gone_is_fine(self.docker.remove_container(id, Some(options)).await.map_err(error_of)) {
            // Somebody else is at it already.
            Err(Error::Conflict(message)) if message.contains("in progress") => Ok(()),
            other => other,
        }
    }

    async fn ended(&self, id: &str) -> Result<(), Error> {
        let options = query::WaitContainerOptions { condition: "not-running".into() };
        match self.docker.wait_container(id, Some(options)).next().await {
            // An exit code other than 0 comes as an error.
            Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => gone_is_fine(Err(error_of(error))),
            None => Err(Error::Unreachable("it broke off while a container was waited for".into())),
        }
    }

    async fn exec(
        &self,
        id: &str,
        command: &[String],
        limit: usize,
        timeout: Duration,
    ) -> Result<ExecOutput, Error> {
        exec::run(self, id, command, limit, timeout).await
    }

    async fn open_exec(
        &self,
        id: &str,
        command: &[String],
        streams: Streams,
        size: Option<TerminalSize>,
    ) -> Result<Session, Error> {
        exec::open(self, id, command, streams, size).await
    }

    async fn attach(&self, id: &str, streams: Streams) -> Result<Session, Error> {
        session::attach(&self.docker, id, streams).await
    }

    fn logs(&self, id: &str, options: &LogOptions) -> BoxStream<'static, Result<LogLine, Error>> {
        logs::logs(self.docker.clone(), id.to_owned(), options.clone())
    }

    async fn events(&self, owner: &Owner) -> Result<BoxStream<'static, ContainerEvent>, Error> {
        let mut filters = label_filter(owner);
        filters.insert("type".into(), vec!["container".into()]);
        filters.insert("event".into(), ["start", "kill", "die", "destroy"].map(String::from).to_vec());
        // The request goes out only when the stream is first asked: what happens until then is asked for by time, the
        // engine's, which keeps its latest events.
        let now = self.docker.info().await.map_err(error_of)?.system_time;
        let now = now.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let since = now.map(|now| format!("{}.{:09}", now.as_second(), now.subsec_nanosecond()));
        let of_networks = HashMap::from([("type", "network"), ("event", "disconnect")]);
        let of_networks =
            of_networks.into_iter().map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).collect();
        // An error ends the stream: the caller asks again, and looks at everything anew.
        let follow = |filters| {
            let options =
                query::EventsOptions { since: since.clone(), filters: Some(filters), ..Default::default() };
            let events = self.docker.events(Some(options)).map(Result::ok);
            events.chain(futures::stream::iter([None]))
        };
        let (runtime, owner) = (self.clone(), owner.clone());
        let disconnected = follow(of_networks).then(move |event| {
            let (runtime, owner) = (runtime.clone(), owner.clone());
            async move { Some(runtime.disconnected(&owner, event?).await) }
        });
        let events = follow(filters).map(|event| event.map(observe::event));
        let events = futures::stream::select(events, disconnected)
            .take_while(|event| futures::future::ready(event.is_some()))
            .filter_map(|event| futures::future::ready(event.flatten()));
        Ok(events.boxed())
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, Error> {
        images::find(&self.docker, reference).await
    }

    async fn images(&self) -> Result<Vec<Image>, Error> {
        images::list(&self.docker).await
    }

    async fn pull(&self, reference: &str) -> Result<(), Error> {
        images::pull(&self.docker, reference).await
    }

    async fn import(&self, reference: &str, tar: Bytes, changes: &[String]) -> Result<(), Error> {
        images::import(&self.docker, reference, tar, changes).await
    }

    async fn help(&self, owner: &Owner, job: &Job) -> Result<u64, Error> {
        helper::run(self, &owner.labels(), job).await
    }

    async fn open_files(&self, root: &Path, owner: &Owner) -> Result<Arc<dyn PodFiles>, Error> {
        Ok(Arc::new(DiskFiles::open(root, owner, Arc::new(self.clone())).await?))
    }

    async fn remove_files(&self, owner: &Owner, roots: &[PathBuf]) -> Result<(), Error> {
        disk::remove_nodes(self, owner, roots).await
    }

    async fn clean_up(&self, owner: &Owner, authority: &str) -> Result<Removed, Error> {
        network::clean_up(self, &self.docker, owner, authority).await
    }
}
