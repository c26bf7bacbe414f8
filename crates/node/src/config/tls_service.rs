//! How the node is asked over TLS, and what it shows then (RFC 7858, RFC 9103).

use super::tls::{ALPN, OwnCertificate};
use crate::certificate::{self, not_after};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The most addresses: secondaries ask at few, and clients hardly at any.
pub(crate) const TLS_LISTEN_MAX: usize = 64;

/// DNS over TLS, as it is configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TlsService {
    /// Where connections are taken; changes need a restart.
    pub(crate) listen: Vec<SocketAddr>,
    /// What the node shows; a reload takes in changes.
    pub(crate) identity: Identity,
}

/// How the node proves who it is, and whom it believes.
#[derive(Clone)]
pub(crate) struct Identity {
    own: Arc<OwnCertificate>,
    authorities: Option<Vec<CertificateDer<'static>>>,
    not_after: Option<i64>,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// TLS 1.3 alone (RFC 9103 §7.2). Where there are `authorities`, clients have to show a certificate that one of these has
    /// signed.
    ///
    /// # Errors
    /// Certificates or a key that can't be used, or do not belong together.
    pub(crate) fn new(
        own: OwnCertificate,
        authorities: Option<Vec<CertificateDer<'static>>>,
    ) -> Result<Identity, rustls::Error> {
        let not_after = own.chain.first().and_then(not_after);
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&[&TLS13])?;
        let builder = match &authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                authorities.iter().try_for_each(|authority| roots.add(authority.clone()))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut server = builder.with_single_cert(own.chain.clone(), own.key.clone_key())?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Identity { own: Arc::new(own), authorities, not_after, server: Arc::new(server) })
    }

    /// What the library works with.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// What is to be said of the node's certificate, if anything is.
    pub(crate) fn concern(&self) -> Option<String> {
        self.not_after.and_then(certificate::concern).map(|it| format!("the certificate of [node.tls] {it}"))
    }

    /// Until when the node's certificate is good, in seconds since 1970; `None` where it can't be read.
    pub(crate) fn not_after(&self) -> Option<i64> {
        self.not_after
    }
}

impl PartialEq for Identity {
    /// The rest follows.
    fn eq(&self, other: &Identity) -> bool {
        (&self.own, &self.authorities) == (&other.own, &other.authorities)
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    /// Nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate until {:?}", self.not_after)
    }
}
