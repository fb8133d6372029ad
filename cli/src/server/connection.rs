//! The API server that a verb talks to: a cluster of ours, or any Kubernetes that a kubeconfig names.

use std::path::PathBuf;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::cluster::Selection;

/// Where a verb goes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Target {
    /// Namespace; the context's own where it is not given
    #[arg(long, short, value_name = "NS")]
    pub namespace: Option<String>,
    /// A kubeconfig of any Kubernetes, instead of a cluster of Coracle's
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
}

/// A client of one API server.
pub struct Connection {
    /// The client.
    pub client: kube::Client,
    /// The namespace that unqualified names are in.
    pub namespace: String,
}

impl Connection {
    /// Finds the API server: the kubeconfig or context asked for, or the cluster that `selection` means, or, where this machine
    /// has none, whatever the user's kubeconfig says.
    ///
    /// # Errors
    /// No cluster is meant, or several; a kubeconfig that cannot be read.
    pub async fn open(selection: &Selection, target: &Target) -> Result<Connection> {
        let is_named = target.kubeconfig.is_some() || target.context.is_some();
        let kubeconfig = match (&target.kubeconfig, is_named) {
            (Some(file), _) => Some(file.clone()),
            (None, true) => None,
            (None, false) => match selection.find() {
                Ok(cluster) => Some(cluster.kubeconfig()),
                Err(error) if selection.name.is_some() || selection.data_dir.is_some() => return Err(error),
                Err(error) if Kubeconfig::read().is_err() => return Err(error),
                Err(_) => None,
            },
        };
        let kubeconfig = match kubeconfig {
            Some(file) => {
                Kubeconfig::read_from(&file).with_context(|| format!("cannot use {}", file.display()))?
            }
            None => Kubeconfig::read().context("cannot read your kubeconfig")?,
        };
        let options = KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let namespace = target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Connection { client: kube::Client::try_from(config)?, namespace })
    }
}
