//! Names of BIRD's protocols.

use std::fmt;

/// Octets of the longest name (`SYM_MAX_LEN` of BIRD).
const NAME_MAX_LEN: usize = 64;

/// The name of a protocol in BIRD's configuration, safe to be put into a command.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProtocolName(String);

impl ProtocolName {
    /// Checks a name.
    ///
    /// # Errors
    /// It is none that BIRD's configuration can have.
    pub fn new(name: &str) -> Result<ProtocolName, NameError> {
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.' | b':');
        if name.is_empty() || name.len() > NAME_MAX_LEN || !name.bytes().all(fits) {
            return Err(NameError(name.to_owned()));
        }
        Ok(ProtocolName(name.to_owned()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a symbol: in quotes no name is taken for a keyword.
    pub(super) fn symbol(&self) -> String {
        format!("'{}'", self.0)
    }

    /// As a pattern that matches this name alone. An unknown one is a reply of its own code, where an unknown symbol
    /// is a syntax error like any other.
    pub(super) fn pattern(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Not the name of a protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} cannot be the name of a BIRD protocol: 1 to 64 letters, digits, and `_-.:`")]
pub struct NameError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_the_quotes() {
        for bad in ["", "a b", "a\"", "up*", "a'", "a\nconfigure", "ü"] {
            assert!(ProtocolName::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(ProtocolName::new("up-stream.4").unwrap().symbol(), "'up-stream.4'");
    }
}
