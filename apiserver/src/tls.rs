//! The server's own certificates: a CA made at first start, a certificate for the server, one for the administrator.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Makes or reads the CA under `dir`, and gives the server a certificate and the administrator a kubeconfig.
///
/// # Errors
/// Files that cannot be read or written, or do not hold what they should.
pub fn prepare(
    dir: &Path,
    kubeconfig: &Path,
    address: std::net::SocketAddr,
) -> anyhow_free::Result<Arc<ServerConfig>> {
    let pki = dir;
    std::fs::create_dir_all(pki)?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = name("coracle-ca", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key_path = pki.join("ca.key");
    let key = match std::fs::read_to_string(&key_path) {
        Ok(pem) => KeyPair::from_pem(&pem)?,
        Err(_) => {
            let key = KeyPair::generate()?;
            std::fs::write(&key_path, key.serialize_pem())?;
            key
        }
    };
    let ca = CertifiedIssuer::self_signed(params, key)?;
    std::fs::write(pki.join("ca.crt"), ca.pem())?;

    let mut server = CertificateParams::new(vec!["localhost".into(), "kubernetes".into()])?;
    server.distinguished_name = name("coracle-apiserver", None);
    server.subject_alt_names.push(rcgen::SanType::IpAddress(IpAddr::from([127, 0, 0, 1])));
    server.subject_alt_names.push(rcgen::SanType::IpAddress(address.ip()));
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::generate()?;
    let server = server.signed_by(&server_key, &ca)?;

    let mut admin = CertificateParams::new(Vec::<String>::new())?;
    admin.distinguished_name = name("kubernetes-admin", Some("system:masters"));
    admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let admin_key = KeyPair::generate()?;
    let admin = admin.signed_by(&admin_key, &ca)?;
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: coracle\nclusters:\n- name: coracle\n  cluster:\n    server: https://127.0.0.1:{}\n    certificate-authority-data: {}\ncontexts:\n- name: coracle\n  context: {{cluster: coracle, user: admin}}\nusers:\n- name: admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        address.port(),
        STANDARD.encode(ca.pem()),
        STANDARD.encode(admin.pem()),
        STANDARD.encode(admin_key.serialize_pem()),
    );
    std::fs::write(kubeconfig, text)?;

    let chain = vec![CertificateDer::from(server.der().to_vec())];
    let key = PrivateKeyDer::from_pem_slice(server_key.serialize_pem().as_bytes())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(ca.der().to_vec()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whatever went wrong, for the person who started the server.
mod anyhow_free {
    pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
}

fn name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}
