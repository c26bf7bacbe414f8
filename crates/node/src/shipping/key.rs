//! Keys that sign tables: Ed25519 (RFC 8032), private ones in PKCS#8 (RFC 8410 §7) as other tools write and read them.

use crate::zones::image;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Octets of a public key (RFC 8032 §5.1.5).
const PUBLIC_LEN: usize = 32;
/// Octets of what a private key is made of.
const SEED_LEN: usize = 32;
/// Octets of a signature (RFC 8032 §5.1.6).
pub(super) const SIGNATURE_LEN: usize = 64;
/// The largest file that is read as a private key; one has some 120 octets.
const FILE_LEN_MAX: u64 = 16 << 10;
/// What stands before the seed in the PKCS#8 of an Ed25519 key: version 0, the algorithm, two octet strings (RFC 8410 §7).
const PKCS8_START: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Its file can't be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error("others may read or change {path}, with mode {mode:03o}: chmod 600 {path}", path = .path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no private key of this kind.
    #[error("{path} holds no Ed25519 key in PKCS#8 (PEM); `starling key generate FILE` makes one", path = .path.display())]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

/// A public key: who has the private one may publish.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicKey([u8; PUBLIC_LEN]);

impl PublicKey {
    /// The key that this base64 text stands for.
    pub(crate) fn from_text(text: &str) -> Option<PublicKey> {
        zone::rdata::base64(text.as_bytes())?.try_into().ok().map(PublicKey)
    }

    /// Whether the private key that belongs to it has signed this message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    /// As base64.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", zone::rdata::to_base64(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A private key.
pub(crate) struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads a private key from a file that nobody else may read.
    ///
    /// # Errors
    /// The file can't be read, others can read it, or it holds something else.
    pub(crate) fn read(path: &Path) -> Result<SigningKey, KeyError> {
        let file_error = |source| KeyError::File { path: path.to_owned(), source };
        let file = std::fs::metadata(path).map_err(file_error)?;
        let mode = file.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let no_key = || KeyError::NoKey { path: path.to_owned() };
        if !file.is_file() || file.len() > FILE_LEN_MAX {
            return Err(no_key());
        }
        let text = std::fs::read(path).map_err(file_error)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| no_key())?;
        // Also those that say nothing of their public key, as most tools write them.
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der());
        key.map(SigningKey).map_err(|_| no_key())
    }

    /// The public key that belongs to it.
    pub(crate) fn public(&self) -> PublicKey {
        let mut octets = [0; PUBLIC_LEN];
        octets.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(octets)
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut octets = [0; SIGNATURE_LEN];
        octets.copy_from_slice(self.0.sign(message).as_ref());
        octets
    }
}

/// Makes a new key and writes it to a file that nobody else may read; its public key.
///
/// # Errors
/// There is a file of this name, or it can't be written, and then there is none.
pub(crate) fn generate(path: &Path) -> Result<PublicKey, KeyError> {
    let mut der = [0; PKCS8_START.len() + SEED_LEN];
    der[..PKCS8_START.len()].copy_from_slice(&PKCS8_START);
    SystemRandom::new().fill(&mut der[PKCS8_START.len()..]).map_err(|_| KeyError::NoRandomness)?;
    // 48 octets are one line of 64 characters, as PEM has them (RFC 7468 §2).
    let text =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", zone::rdata::to_base64(&der));
    let file_error = |source| KeyError::File { path: path.to_owned(), source };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true) // a key that is in use is lost by nobody's slip
        .mode(0o600)
        .open(path)
        .map_err(file_error)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.and_then(|()| image::sync_folder_of(path)).map_err(file_error);
    // What was written is read again: a key that nobody can use is found out now.
    let key = written.and_then(|()| SigningKey::read(path));
    if key.is_err() {
        let _gone_or_not = std::fs::remove_file(path);
    }
    key.map(|key| key.public())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_and_its_public_key_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let public = generate(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let key = SigningKey::read(&path).unwrap();
        assert_eq!(PublicKey::from_text(&public.to_string()), Some(key.public()));
        let signature = key.sign(b"one");
        assert!(public.has_signed(b"one", &signature));
        assert!(!public.has_signed(b"two", &signature));
        assert!(!public.has_signed(b"one", &signature[..63]));
        let other = generate(&folder.path().join("other")).unwrap();
        assert!(!other.has_signed(b"one", &signature));
        assert!(matches!(generate(&path), Err(KeyError::File { .. })), "it is not written over");
        assert_eq!(SigningKey::read(&path).unwrap().public(), public);
    }

    #[test]
    fn what_is_no_key_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        generate(&path).unwrap();
        let set_mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode(0o640);
        assert!(matches!(SigningKey::read(&path), Err(KeyError::Exposed { mode: 0o640, .. })));
        set_mode(0o600);
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(SigningKey::read(&path), Err(KeyError::NoKey { .. })), "{text}");
        }
        assert!(matches!(SigningKey::read(&folder.path().join("none")), Err(KeyError::File { .. })));
        for text in ["", "AAAA", "not base64!"] {
            assert_eq!(PublicKey::from_text(text), None);
        }
    }
}
