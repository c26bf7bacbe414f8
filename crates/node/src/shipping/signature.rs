//! The signature of a table: what is signed, and the file that it stands in.
//!
//! ```text
//! starling table signature 1
//! zone example.com.
//! serial 2026010100
//! format 3
//! octets 53477376
//! digest 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b
//! key 7Zc1w7xDFxUB7Y1m6lBZ0Wsm0AzyHUo4XHhEXnZqWjo=
//! signature hV4n…
//! ```
//! The signature is over the lines before `key`, the last line feed included. They are made of the table anew wherever it is
//! verified; those of the file only serve to say what another signature is of.

use super::key::{PublicKey, SIGNATURE_LEN, SigningKey};
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use table::Claims;

/// The first line: no other kind of statement begins so.
const TITLE: &str = "starling table signature 1";
/// The most octets of the file: the longest name, escaped, and some 400 for the rest.
pub(super) const FILE_LEN_MAX: u64 = 4096;

/// Why a signature is not one of this table.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SignatureError {
    /// The file is something else.
    #[error("it is no signature of a table, as `starling compile --sign KEY` makes them")]
    Unreadable,
    /// It is that of another table.
    #[error("it is of another table: it says `{signed}`, and the table has `{table}`")]
    OtherTable {
        /// The first line that differs.
        signed: String,
        /// What stands there for the table.
        table: String,
    },
    /// It was not made with the key that it names, or was changed since.
    #[error("it was not made with the key {0} that it names, or was changed since")]
    Wrong(PublicKey),
}

/// A signature of a table, as its file has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Signature {
    statement: String,
    /// The key that it is to be verified with.
    pub(crate) key: PublicKey,
    octets: [u8; SIGNATURE_LEN],
}

impl Signature {
    /// Signs a table.
    pub(crate) fn of(table: &Claims, key: &SigningKey) -> Signature {
        let statement = statement(table);
        Signature { octets: key.sign(statement.as_bytes()), key: key.public(), statement }
    }

    /// Reads what a file holds.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn from_text(text: &[u8]) -> Result<Signature, SignatureError> {
        let read = || {
            let text = std::str::from_utf8(text).ok().filter(|text| text.starts_with(TITLE))?;
            let (statement, rest) = text.split_at(text.find("\nkey ")? + 1);
            let mut lines = rest.lines();
            let key = PublicKey::from_text(lines.next()?.strip_prefix("key ")?)?;
            let octets = zone::rdata::base64(lines.next()?.strip_prefix("signature ")?.as_bytes())?;
            let octets = octets.try_into().ok()?;
            lines.next().is_none().then(|| Signature { statement: statement.to_owned(), key, octets })
        };
        read().ok_or(SignatureError::Unreadable)
    }

    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        let Signature { statement, key, octets } = self;
        format!("{statement}key {key}\nsignature {}\n", zone::rdata::to_base64(octets))
    }

    /// Verifies that it is of this table, by the key that it names; whether that key counts for anything is another question.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn verify(&self, table: &Claims) -> Result<(), SignatureError> {
        let statement = statement(table);
        if statement != self.statement {
            let mut pairs = self.statement.lines().zip(statement.lines());
            let (signed, table) = pairs.find(|(signed, table)| signed != table).unwrap_or(("more lines", ""));
            return Err(SignatureError::OtherTable { signed: signed.to_owned(), table: table.to_owned() });
        }
        let is_signed = self.key.has_signed(statement.as_bytes(), &self.octets);
        is_signed.then_some(()).ok_or(SignatureError::Wrong(self.key))
    }
}

/// What is signed. The digest covers the image but for its first octets, and of those everything that matters stands here.
fn statement(table: &Claims) -> String {
    let Claims { apex, serial, octets, digest } = table;
    let format = table::VERSION;
    let mut text = String::new();
    // A name has one text form; nothing in it is a line feed.
    let _infallible = writeln!(
        text,
        "{TITLE}\nzone {apex}\nserial {serial}\nformat {format}\noctets {octets}\ndigest {digest}"
    );
    text
}

/// Where the signature of a table is: beside it.
pub(crate) fn path_for(table: &Path) -> PathBuf {
    let mut path = OsString::from(table);
    path.push(".sig");
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::shipping::generate;
    use table::Digest;

    fn claims() -> Claims {
        let apex = config::apex("a\\010b.example").unwrap();
        Claims { apex, serial: 7, octets: 1000, digest: Digest([3; 32]) }
    }

    fn key(folder: &Path) -> SigningKey {
        let path = folder.join(format!("{:x}", fastrand::u64(..)));
        generate(&path).unwrap();
        SigningKey::read(&path).unwrap()
    }

    #[test]
    fn a_signature_is_of_one_table_alone() {
        let folder = tempfile::tempdir().unwrap();
        let signature = Signature::of(&claims(), &key(folder.path()));
        let read = Signature::from_text(signature.to_text().as_bytes()).unwrap();
        assert_eq!(read, signature);
        assert_eq!(read.verify(&claims()), Ok(()));
        for other in [
            Claims { apex: config::apex("b.example").unwrap(), ..claims() },
            Claims { serial: 8, ..claims() },
            Claims { octets: 1001, ..claims() },
            Claims { digest: Digest([4; 32]), ..claims() },
        ] {
            assert!(matches!(read.verify(&other), Err(SignatureError::OtherTable { .. })), "{other:?}");
        }
        let error = read.verify(&Claims { serial: 8, ..claims() }).unwrap_err().to_string();
        assert!(error.contains("`serial 7`") && error.contains("`serial 8`"), "{error}");
    }

    #[test]
    fn what_was_changed_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let text = Signature::of(&claims(), &key(folder.path())).to_text();
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            let verified = Signature::from_text(&changed).and_then(|read| read.verify(&claims()));
            assert!(verified.is_err(), "octet {at} of\n{text}");
            let short = Signature::from_text(&text.as_bytes()[..at]).and_then(|read| read.verify(&claims()));
            assert!(short.is_err() || at == text.len() - 1, "{at} octets of\n{text}");
        }
        // The lines of another table with a good signature of this one.
        let other = Claims { serial: 8, ..claims() };
        let forged = text.replace("serial 7", "serial 8");
        let forged = Signature::from_text(forged.as_bytes()).unwrap();
        assert!(matches!(forged.verify(&other), Err(SignatureError::Wrong(_))));
    }

    #[test]
    fn the_longest_name_has_room() {
        let labels = ["\\000".repeat(63), "\\000".repeat(63), "\\000".repeat(63), "\\000".repeat(61)];
        let apex = config::apex(&labels.join(".")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let signature = Signature::of(&Claims { apex, ..claims() }, &key(folder.path()));
        assert!((signature.to_text().len() as u64) < FILE_LEN_MAX);
    }
}
