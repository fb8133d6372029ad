//! How a component or a person proves who it is, in the file form that everybody knows.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Where the server is, how it is recognised, and who one is there. All certificates and keys in PEM.
#[derive(Clone, PartialEq)]
pub struct Credentials {
    /// `https://127.0.0.1:6443`; for components also several, with commas between them.
    pub server: String,
    /// The certificate authority of the cluster.
    pub ca: String,
    /// The client's certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Without the key: this may end up in a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A kubeconfig that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// Not YAML, or not of the right form.
    #[error("not a kubeconfig: {0}")]
    Malformed(String),
    /// The current context leads nowhere, or to something without embedded certificates.
    #[error("kubeconfig: {0}")]
    Incomplete(String),
}

impl Credentials {
    /// A kubeconfig with one context, cluster and user, all called `name`.
    pub fn to_kubeconfig(&self, name: &str) -> String {
        let Credentials { server, ca, certificate, key } = self;
        let [ca, certificate, key] = [ca, certificate, key].map(|pem| STANDARD.encode(pem));
        format!(
            "\
apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    certificate-authority-data: {ca}
    server: {server}
users:
- name: {name}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {name}
current-context: {name}
preferences: {{}}
"
        )
    }

    /// What the current context of a kubeconfig names. Certificates must be embedded, as Coracle writes them.
    ///
    /// # Errors
    /// Text of another form, or something missing in it.
    pub fn from_kubeconfig(text: &str) -> Result<Credentials, KubeconfigError> {
        let file: File =
            serde_saphyr::from_str(text).map_err(|e| KubeconfigError::Malformed(e.to_string()))?;
        let missing = |what: &str| KubeconfigError::Incomplete(format!("no {what}"));
        let current = find(file.contexts, &file.current_context).ok_or_else(|| missing("current context"))?;
        let cluster =
            find(file.clusters, &current.cluster).ok_or_else(|| missing("cluster of the context"))?;
        let user = find(file.users, &current.user).ok_or_else(|| missing("user of the context"))?;
        Ok(Credentials {
            server: cluster.server,
            ca: decode(&cluster.ca, "certificate-authority-data")?,
            certificate: decode(&user.certificate, "client-certificate-data")?,
            key: decode(&user.key, "client-key-data")?,
        })
    }
}

fn decode(base64: &str, field: &str) -> Result<String, KubeconfigError> {
    let bad = || KubeconfigError::Incomplete(format!("{field} is missing or not base64"));
    if base64.is_empty() {
        return Err(bad());
    }
    let bytes = STANDARD.decode(base64.trim()).map_err(|_| bad())?;
    String::from_utf8(bytes).map_err(|_| bad())
}

fn find<T>(list: Vec<Named<T>>, name: &str) -> Option<T> {
    list.into_iter().find(|entry| entry.name == name).map(|entry| entry.what)
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "current-context")]
    current_context: String,
    clusters: Vec<Named<Cluster>>,
    users: Vec<Named<User>>,
    contexts: Vec<Named<Context>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "user", alias = "context")]
    what: T,
}

#[derive(Deserialize)]
struct Cluster {
    server: String,
    #[serde(rename = "certificate-authority-data", default)]
    ca: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(rename = "client-certificate-data", default)]
    certificate: String,
    #[serde(rename = "client-key-data", default)]
    key: String,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_key_is_not_shown() {
        let credentials = Credentials {
            server: "https://127.0.0.1:6443".into(),
            ca: "the ca".into(),
            certificate: "the certificate".into(),
            key: "the key".into(),
        };
        let text = credentials.to_kubeconfig("coracle-test");
        assert_eq!(Credentials::from_kubeconfig(&text).unwrap(), credentials);
        assert!(!format!("{credentials:?}").contains("key"));
        let lost = text.replace("current-context: coracle-test", "current-context: other");
        let error = Credentials::from_kubeconfig(&lost).unwrap_err();
        assert_eq!(error.to_string(), "kubeconfig: no current context");
    }
}
