//! The flags that say where an API server keeps everything.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coracle_apiserver::Config;
use coracle_apiserver::store::etcd::{Endpoints, PREFIX};
use coracle_apiserver::store::{Etcd, Store};

/// Where objects are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Where {
    /// On this machine's disk, in DIR/data.
    #[default]
    Embedded,
    /// In an etcd that several API servers share.
    Etcd,
}

/// Where an API server keeps everything. The names are kube-apiserver's, but for the first two.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArgs {
    /// Where objects are kept
    #[arg(long, value_enum, default_value_t)]
    store: Where,
    /// Addresses of etcd's members, with commas between them
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "URL",
        alias = "etcd-servers",
        required_if_eq("store", "etcd")
    )]
    etcd_endpoints: Vec<String>,
    /// Certificate authority of etcd, PEM
    #[arg(long, value_name = "FILE")]
    etcd_cafile: Option<PathBuf>,
    /// Certificate to show to etcd, PEM
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with; two clusters on one etcd have two
    #[arg(long, value_name = "PREFIX", default_value = PREFIX)]
    etcd_prefix: String,
}

impl StoreArgs {
    /// The store that is shared, if one is asked for.
    ///
    /// # Errors
    /// Files that cannot be read, addresses and certificates that cannot be used.
    pub fn shared(&self, config: &Config) -> Result<Option<Box<dyn Store>>> {
        if self.store == Where::Embedded {
            if !self.etcd_endpoints.is_empty() {
                bail!("--etcd-endpoints goes with --store etcd");
            }
            return Ok(None);
        }
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let identity = match (&self.etcd_certfile, &self.etcd_keyfile) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        let ca = self.etcd_cafile.as_deref().map(read).transpose()?;
        let endpoints = Endpoints { urls: self.etcd_endpoints.clone(), ca, identity };
        let etcd = Etcd::new(&endpoints, &self.etcd_prefix, config.bounds, config.clock.clone())?;
        Ok(Some(Box::new(etcd)))
    }
}
