//! Calls to etcd: each within a time, and to another of its members where one does not answer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coracle_client::channel::noticing;
use coracle_proto::etcd as pb;
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, ConnectError, Request, Status, Streaming};

use super::super::StoreError;

const CONNECT: Duration = Duration::from_secs(2);
/// The largest answer: a page of frames or objects of any size.
const LARGEST_ANSWER: usize = 256 << 20;

/// Where etcd is, and as whom it is asked.
#[derive(Clone, Default)]
pub struct Endpoints {
    /// The URLs of its members; without a scheme they are `http://`, or `https://` where there is an authority.
    pub urls: Vec<String>,
    /// The authority of its certificates, PEM.
    pub ca: Option<String>,
    /// Certificate and key to show, PEM.
    pub identity: Option<(String, String)>,
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoints").field(&self.urls).finish()
    }
}

/// The members of an etcd, of which one is asked until it does not answer.
pub struct Access {
    members: Vec<Channel>,
    /// Which member is asked.
    at: AtomicUsize,
    /// All of them, for messages.
    name: String,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub enum Trouble {
    /// No answer. Where a connection stood, what was asked for may have been done all the same.
    Silent {
        /// What is known.
        why: String,
        /// Nothing was sent.
        unsent: bool,
    },
    /// etcd will not do it.
    Refused(String),
    /// What was asked for is larger than etcd takes.
    TooLarge,
    /// The past that was asked for is no longer kept.
    Compacted,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Silent { why, .. } | Trouble::Refused(why) => f.write_str(why),
            Trouble::TooLarge => f.write_str("the request is too large"),
            Trouble::Compacted => f.write_str("what is asked for has been compacted"),
        }
    }
}

impl Access {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`StoreError::Open`] for URLs or certificates that cannot be used.
    pub fn new(endpoints: &Endpoints) -> Result<Access, StoreError> {
        let name = endpoints.urls.join(",");
        let path = PathBuf::from(&name);
        let members: Result<Vec<Channel>, String> =
            endpoints.urls.iter().map(|url| channel(url, endpoints)).collect();
        let members = members.map_err(|why| StoreError::Open { path: path.clone(), why })?;
        if members.is_empty() {
            return Err(StoreError::Open { path, why: "no address of etcd is given".into() });
        }
        Ok(Access { members, at: AtomicUsize::new(0), name })
    }

    /// Where it is, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn member(&self) -> Channel {
        self.members[self.at.load(Ordering::Relaxed) % self.members.len()].clone()
    }

    /// Another member is asked from now on.
    fn turn(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
    }

    /// One transaction.
    ///
    /// # Errors
    /// [`Trouble`]
    pub async fn txn(&self, txn: pb::TxnRequest, within: Duration) -> Result<pb::TxnResponse, Trouble> {
        let mut client = KvClient::new(self.member()).max_decoding_message_size(LARGEST_ANSWER);
        self.answer(client.txn(txn), within).await
    }

    /// A page of keys.
    ///
    /// # Errors
    /// [`Trouble`]
    pub async fn range(
        &self,
        range: pb::RangeRequest,
        within: Duration,
    ) -> Result<pb::RangeResponse, Trouble> {
        let mut client = KvClient::new(self.member()).max_decoding_message_size(LARGEST_ANSWER);
        self.answer(client.range(range), within).await
    }

    /// Follows what is put, from one of etcd's revisions on. A member that loses touch with the others says so and ends it.
    ///
    /// # Errors
    /// [`Trouble`]
    pub async fn watch(
        &self,
        create: pb::WatchCreateRequest,
        within: Duration,
    ) -> Result<Streaming<pb::WatchResponse>, Trouble> {
        let mut client = WatchClient::new(self.member()).max_decoding_message_size(LARGEST_ANSWER);
        let (send, receive) = tokio::sync::mpsc::channel(1);
        // There is room for one, and the other end is below.
        let _ = send.try_send(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) });
        let mut request = Request::new(ReceiverStream::new(receive));
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        // etcd ends the watch when nothing more can be asked: the sender lives as long as the stream.
        let stream = self.answer(client.watch(request), within).await?;
        tokio::spawn(async move { send.closed().await });
        Ok(stream)
    }

    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
        within: Duration,
    ) -> Result<T, Trouble> {
        let trouble = match tokio::time::timeout(within, call).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => trouble(&status),
            Err(_) => {
                Trouble::Silent { why: format!("no answer within {} s", within.as_secs()), unsent: false }
            }
        };
        if matches!(trouble, Trouble::Silent { .. }) {
            self.turn();
        }
        Err(trouble)
    }
}

fn channel(url: &str, endpoints: &Endpoints) -> Result<Channel, String> {
    let explained = |error: tonic::transport::Error| match std::error::Error::source(&error) {
        Some(cause) => format!("{url}: {error}: {cause}"),
        None => format!("{url}: {error}"),
    };
    let with_tls = endpoints.ca.is_some() || endpoints.identity.is_some();
    let whole = match url.contains("://") {
        true => url.to_owned(),
        false => format!("{}://{url}", if with_tls { "https" } else { "http" }),
    };
    let mut endpoint = Endpoint::from_shared(whole.clone()).map_err(explained)?;
    if whole.starts_with("https://") {
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &endpoints.ca {
            tls = tls.ca_certificate(Certificate::from_pem(ca));
        }
        if let Some((certificate, key)) = &endpoints.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(tls).map_err(explained)?;
    }
    Ok(noticing(endpoint.connect_timeout(CONNECT)).connect_lazy())
}

/// What an error of etcd's is to us.
fn trouble(status: &Status) -> Trouble {
    let message = status.message();
    if message.contains("request is too large") {
        return Trouble::TooLarge;
    }
    if message.contains("has been compacted") {
        return Trouble::Compacted;
    }
    // A full database does not mend itself; too many requests do.
    let for_good = message.contains("database space exceeded");
    match status.code() {
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition => {
            Trouble::Refused(message.into())
        }
        Code::ResourceExhausted if for_good => Trouble::Refused(message.into()),
        _ => {
            let mut causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
            let unsent = causes.any(|cause| cause.is::<ConnectError>());
            Trouble::Silent { why: message.into(), unsent }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_says_is_told_apart() {
        let cases = [
            (Status::invalid_argument("etcdserver: request is too large"), "TooLarge"),
            (Status::out_of_range("etcdserver: mvcc: required revision has been compacted"), "Compacted"),
            (Status::resource_exhausted("etcdserver: mvcc: database space exceeded"), "Refused"),
            (Status::resource_exhausted("etcdserver: too many requests"), "Silent"),
            (Status::permission_denied("etcdserver: permission denied"), "Refused"),
            (Status::unavailable("etcdserver: leader changed"), "Silent"),
            (Status::unknown("etcdserver: request timed out"), "Silent"),
        ];
        for (status, expected) in cases {
            let got = format!("{:?}", trouble(&status));
            assert!(got.starts_with(expected), "{status}: {got}");
        }
    }
}
