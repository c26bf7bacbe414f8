//! How a server proves over TLS who it is: by a certificate for its name, or by its key alone. Primaries have to (RFC 9103), and
//! endpoints of pools where their check says so.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use webpki::EndEntityCert;

/// The most `[[tls]]`: one for each primary of the largest fleets.
pub(crate) const TLS_MAX: usize = 256;
/// The most pins of one: a key, its successor, and that for several primaries.
pub(crate) const PINS_MAX: usize = 16;
/// Octets of a pin: those of SHA-256.
pub(crate) const PIN_LEN: usize = 32;
/// The protocol that both sides have to agree upon: DNS over TLS (RFC 7858, RFC 9103 §7.1).
pub(crate) const ALPN: &[u8] = b"dot";

/// What is taken for a proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// A certificate for the name that one of these has signed.
    Authorities(Vec<CertificateDer<'static>>),
    /// A certificate, whoever has signed it, whose public key has one of these digests (SHA-256 of the
    /// SubjectPublicKeyInfo, as in RFC 7858 §4.2).
    Pins(Vec<[u8; PIN_LEN]>),
    /// Any certificate whose key the server has: whoever it is. Not for primaries.
    Anything,
}

/// A certificate of the node's own.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct OwnCertificate {
    /// It, and behind it those between it and an authority.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub(crate) key: PrivateKeyDer<'static>,
}

/// What the library works with to be sure of a server, and to show it who asks, where there is something to show.
///
/// # Errors
/// An authority that is no certificate, or none; an own certificate with another one's key.
pub(super) fn client(
    proof: &Proof,
    own: Option<&OwnCertificate>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions)?;
    let by_key = |pins| Arc::new(KeyVerifier { pins, provider });
    let builder = match proof {
        Proof::Authorities(authorities) => {
            let mut roots = RootCertStore::empty();
            authorities.iter().try_for_each(|authority| roots.add(authority.clone()))?;
            if roots.is_empty() {
                return Err(rustls::Error::General("it has no certificate".to_owned()));
            }
            builder.with_root_certificates(roots)
        }
        Proof::Pins(pins) => builder.dangerous().with_custom_certificate_verifier(by_key(Some(pins.clone()))),
        Proof::Anything => builder.dangerous().with_custom_certificate_verifier(by_key(None)),
    };
    let mut client = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key())?,
    };
    client.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(client)
}

/// Whether a server has to agree to the protocol in TLS (ALPN).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Agreement {
    /// RFC 9103 §7.1.
    Required,
    /// A server that knows of no ALPN will do. It is offered all the same.
    Offered,
}

/// How to speak TLS with a primary.
#[derive(Clone)]
pub(crate) struct Tls {
    /// How it is called in the configuration.
    pub(crate) name: String,
    server_name: Option<ServerName<'static>>,
    proof: Proof,
    own: Option<Arc<OwnCertificate>>,
    agreement: Agreement,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// TLS 1.3 alone (RFC 9103 §7.2); a server without a name is called by its address.
    ///
    /// # Errors
    /// An authority that is no certificate, or none; an own certificate with another one's key.
    pub(crate) fn new(
        name: String,
        server_name: Option<ServerName<'static>>,
        proof: Proof,
        own: Option<OwnCertificate>,
        agreement: Agreement,
    ) -> Result<Tls, rustls::Error> {
        let client = client(&proof, own.as_ref(), &[&TLS13], &[ALPN])?;
        Ok(Tls { name, server_name, proof, own: own.map(Arc::new), agreement, client: Arc::new(client) })
    }

    /// Whether a server will do that has agreed to this protocol.
    pub(crate) fn takes(&self, protocol: Option<&[u8]>) -> bool {
        match protocol {
            Some(protocol) => protocol == ALPN,
            None => self.agreement == Agreement::Offered,
        }
    }

    /// What the library works with.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Whose certificate the server at this address has to show.
    pub(crate) fn server_name(&self, address: IpAddr) -> ServerName<'static> {
        self.server_name.clone().unwrap_or_else(|| ServerName::IpAddress(address.into()))
    }
}

impl PartialEq for Tls {
    /// The client follows from the rest.
    fn eq(&self, other: &Tls) -> bool {
        (&self.name, &self.server_name, &self.proof, &self.own, self.agreement)
            == (&other.name, &other.server_name, &other.proof, &other.own, other.agreement)
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.name, self.server_name, self.proof)
    }
}

/// Takes whoever has the key of the certificate.
#[derive(Debug)]
struct KeyVerifier {
    /// Those that it may be; any where there are none.
    pins: Option<Vec<[u8; PIN_LEN]>>,
    provider: Arc<CryptoProvider>,
}

/// A server whose key is another one.
#[derive(thiserror::Error)]
#[error("its key has the pin {}, which is not among those of the configuration", zone::rdata::to_base64(.0))]
struct OtherKey([u8; PIN_LEN]);

impl fmt::Debug for OtherKey {
    /// The library shows its callers' errors so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(pins) = &self.pins else { return Ok(ServerCertVerified::assertion()) };
        let certificate = EndEntityCert::try_from(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let pin: [u8; PIN_LEN] = Sha256::digest(certificate.subject_public_key_info()).into();
        if pins.contains(&pin) {
            return Ok(ServerCertVerified::assertion());
        }
        let why = OtherError(Arc::new(OtherKey(pin)));
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(why)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // That it has the key whose certificate it has shown.
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
