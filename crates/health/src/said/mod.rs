//! What endpoints and their agents say: octets of somebody else's, and what they mean. Nothing here asks anybody.

mod agent;
pub mod echo;
pub mod grpc;
mod number;

pub use agent::{Agent, LINE_LEN_MAX, PERCENT_MAX, Unclear, line};
pub use number::{after, decimal};

/// A text of somebody else's, fit to be shown: in one line, and short.
pub fn shown(text: &str) -> String {
    /// Enough for a sentence.
    const CHARS_MAX: usize = 200;
    text.trim().chars().take(CHARS_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}
