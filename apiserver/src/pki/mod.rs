//! The cluster's certificate authority and everything that it vouches for.
//!
//! ```text
//!  DIR/ca.crt, ca.key         made once
//!  DIR/accounts.key           signs the tokens of service accounts
//!  DIR/bootstrap-tokens       what a new node shows; only hashes
//!  server certificate         new at every start, never on disk
//! ```
//!
//! Keys are written with mode 0600 and never logged.

mod bootstrap;
mod error;
mod files;
pub mod token;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coracle_client::Clock;
use coracle_client::kubeconfig::Credentials;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use error::PkiError;
pub use files::write_private;
use token::AccountTokens;

const CA_YEARS: i16 = 10;
/// Clients come back for a new certificate when the cluster starts; none runs for years without that.
const LEAF_YEARS: i16 = 2;
const ADMIN: &str = "kubernetes-admin";
const MASTERS: &str = "system:masters";
/// The first address of the services' network, where pods find the API.
pub const SERVICE_ADDRESS: &str = "10.0.0.1";

/// The cluster's authority: issues certificates, and knows bootstrap tokens and the tokens of service accounts.
pub struct Pki {
    dir: PathBuf,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
    accounts: Arc<AccountTokens>,
    bootstrap: bootstrap::Tokens,
    clock: Clock,
}

impl Pki {
    /// Takes the authority of a directory, or makes one where there is none. Servers that share it may do so at the same time.
    ///
    /// # Errors
    /// Files that cannot be read, written or understood.
    pub fn open(dir: &Path, clock: Clock) -> Result<Pki, PkiError> {
        let dir = dir.to_owned();
        files::make_private_dir(&dir)?;
        let _turn = files::lock(&dir)?;
        let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
        let (ca_pem, key) = match (files::read(&cert_path)?, files::read(&key_path)?) {
            (Some(cert), Some(key)) => {
                let key = KeyPair::from_pem(&key).map_err(|e| PkiError::damaged(&key_path, e))?;
                (cert, key)
            }
            (Some(_), None) => return Err(PkiError::damaged(&key_path, "missing beside ca.crt")),
            // The key is written first: alone, it has never vouched for anything.
            (None, _) => {
                let (cert, key) = make_ca(clock.now())?;
                files::write_private(&key_path, &key.serialize_pem())?;
                files::write_private(&cert_path, &cert)?;
                (cert, key)
            }
        };
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key).map_err(|e| PkiError::damaged(&cert_path, e))?;
        let accounts = Arc::new(AccountTokens::open(&dir.join("accounts.key"), clock.clone())?);
        let bootstrap = bootstrap::Tokens::open(&dir.join("bootstrap-tokens"))?;
        Ok(Pki { dir, ca_pem, issuer, accounts, bootstrap, clock })
    }

    /// The authority's certificate in PEM: what `kube-root-ca.crt` holds.
    pub fn ca(&self) -> &str {
        &self.ca_pem
    }

    /// Makes and checks tokens of service accounts.
    pub fn accounts(&self) -> &Arc<AccountTokens> {
        &self.accounts
    }

    /// TLS for the API server, with a new certificate for this machine's names, the API's names inside the cluster and
    /// `extra` names or addresses. Clients may show a certificate of this authority, or none.
    ///
    /// # Errors
    /// Only for names that cannot stand in a certificate.
    pub fn server_config(&self, extra: &[String]) -> Result<Arc<rustls::ServerConfig>, PkiError> {
        let mut names: Vec<String> = [
            "localhost",
            "127.0.0.1",
            "::1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            SERVICE_ADDRESS,
        ]
        .map(str::to_owned)
        .into();
        names.extend(host_name());
        names.extend(extra.iter().filter(|name| !name.is_empty()).cloned());
        names.sort_unstable();
        names.dedup();
        let key = KeyPair::generate()?;
        let mut params = self.leaf("kube-apiserver", None, names)?;
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        let cert = params.signed_by(&key, &self.issuer)?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca_pem.as_bytes());
        roots.add(ca.map_err(|e| PkiError::damaged(&self.dir.join("ca.crt"), e))?)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|e| PkiError::Crypto(e.to_string()))?;
        let private =
            PrivateKeyDer::try_from(key.serialize_der()).map_err(|e| PkiError::Crypto(e.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![cert.der().clone()], private)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// A new key and a certificate for a user in at most one group.
    ///
    /// # Errors
    /// Only for names that cannot stand in a certificate.
    pub fn credentials(
        &self,
        server: &str,
        user: &str,
        group: Option<&str>,
    ) -> Result<Credentials, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = self.leaf(user, group, Vec::new())?;
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Credentials {
            server: server.into(),
            ca: self.ca_pem.clone(),
            certificate,
            key: key.serialize_pem(),
        })
    }

    /// The administrator's credentials, the same at every start.
    ///
    /// # Errors
    /// Files that cannot be read, written or understood.
    pub fn admin(&self, server: &str) -> Result<Credentials, PkiError> {
        let path = self.dir.join("admin.kubeconfig");
        let _turn = files::lock(&self.dir)?;
        if let Some(text) = files::read(&path)? {
            let known = Credentials::from_kubeconfig(&text).map_err(|e| PkiError::damaged(&path, e))?;
            if known.ca == self.ca_pem && lasts(&known.certificate, self.clock.now()) {
                return Ok(Credentials { server: server.into(), ..known });
            }
        }
        let credentials = self.credentials(server, ADMIN, Some(MASTERS))?;
        files::write_private(&path, &credentials.to_kubeconfig(ADMIN))?;
        Ok(credentials)
    }

    /// Writes the administrator's kubeconfig for a server to a file that only its owner may read.
    ///
    /// # Errors
    /// Files that cannot be read, written or understood.
    pub fn write_kubeconfig(&self, path: &Path, server: &str) -> Result<(), PkiError> {
        files::write_private(path, &self.admin(server)?.to_kubeconfig(ADMIN))
    }

    /// A certificate for the node `name`, over the key of a request in PEM. What the request says about its subject does
    /// not count.
    ///
    /// # Errors
    /// A request that cannot be read or is not signed with its own key.
    pub fn sign_node(&self, name: &str, request: &str) -> Result<String, PkiError> {
        let mut request = CertificateSigningRequestParams::from_pem(request)?;
        let mut params = self.leaf(&format!("system:node:{name}"), Some("system:nodes"), Vec::new())?;
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
        request.params = params;
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    /// A new bootstrap token, `ID.SECRET`, good until `expires`. Only its hash is kept.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn make_bootstrap_token(&self, expires: Option<Timestamp>) -> Result<String, PkiError> {
        self.bootstrap.make(expires, self.clock.now())
    }

    /// Whether a bootstrap token is good now.
    pub fn is_bootstrap_token(&self, token: &str) -> bool {
        self.bootstrap.check(token, self.clock.now())
    }

    fn leaf(
        &self,
        user: &str,
        group: Option<&str>,
        names: Vec<String>,
    ) -> Result<CertificateParams, PkiError> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, user);
        (params.not_before, params.not_after) = validity(self.clock.now(), LEAF_YEARS);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

fn make_ca(now: Timestamp) -> Result<(String, KeyPair), PkiError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "coracle-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = validity(now, CA_YEARS);
    Ok((params.self_signed(&key)?.pem(), key))
}

/// From the day before, for clocks that are behind, to `years` later.
fn validity(now: Timestamp, years: i16) -> (time::OffsetDateTime, time::OffsetDateTime) {
    let day = |years: i16| {
        let today = TimeZone::UTC.to_datetime(now).date();
        let day = today.yesterday().unwrap_or(today);
        // Most years have no 29 February.
        let number = u8::try_from(day.day().min(28)).unwrap_or(1);
        let month = u8::try_from(day.month()).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(day.year() + years), month, number)
    };
    (day(0), day(years))
}

/// Whether a certificate is good for another thirty days.
fn lasts(pem: &str, now: Timestamp) -> bool {
    const MARGIN: i64 = 30 * 24 * 3600;
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return false };
    match x509_parser::parse_x509_certificate(&der) {
        Ok((_, cert)) => cert.validity().not_after.timestamp() > now.as_second() + MARGIN,
        Err(_) => false,
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim().to_ascii_lowercase();
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (!name.is_empty() && (name.chars().all(fine) || name.parse::<IpAddr>().is_ok())).then_some(name)
}

#[cfg(test)]
mod tests;
