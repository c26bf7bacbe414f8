//! The commands that need no server of their own.

pub(crate) mod bench;
mod catalog;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod compile;
pub(crate) mod ctl;
mod dig;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod lookup;
mod message;
mod pool;
mod publish;
mod route;
mod source;
mod steered;
mod zone;

/// A mistake in the command line that only shows when its arguments are looked at.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Prints a value as one indented JSON document on stdout.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    std::io::Write::write_all(&mut out, b"\n")?;
    Ok(())
}
