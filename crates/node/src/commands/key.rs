//! `starling key`: the keys that tables are signed with.

use super::print_json;
use crate::cli::{KeyArguments, KeyCommand};
use crate::exit::Exit;
use crate::shipping::{self, SigningKey};
use serde::Serialize;
use std::io::Write;

/// A key, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Key {
    file: String,
    public: String,
}

/// Makes a key, or shows the public one of it.
pub(crate) fn run(arguments: &KeyArguments) -> anyhow::Result<Exit> {
    let (file, public) = match &arguments.command {
        KeyCommand::Generate { file } => (file, shipping::generate(file)?),
        KeyCommand::Show { file } => (file, SigningKey::read(file)?.public()),
    };
    if arguments.json {
        print_json(&Key { file: file.display().to_string(), public: public.to_string() })?;
    } else {
        writeln!(std::io::stdout().lock(), "{public}")?;
        if matches!(arguments.command, KeyCommand::Generate { .. }) {
            eprintln!("{}: keep this file where tables are compiled, and nowhere else", file.display());
        }
    }
    Ok(Exit::Fine)
}
