//! `starling compile`: a master file to a table file.

use super::{print_json, source};
use crate::cli::CompileArguments;
use crate::config::Rotation;
use crate::exit::Exit;
use crate::gate;
use crate::progress::Progress;
use crate::shipping::{self, PublicKey, Signature, SigningKey};
use crate::zones::image;
use crate::zones::load::{self, Compiled, ZoneErrors};
use anyhow::Context;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use table::Claims;

/// The result, as `--json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Result {
    name: String,
    table: String,
    serial: u32,
    records: u32,
    names: u32,
    bytes: usize,
    digest: String,
    /// The digest of the records, as `ctl zones --digests` has it.
    content: String,
    signature: Option<String>,
    signed_by: Option<String>,
    took_ms: u64,
    warnings: Vec<String>,
}

/// Compiles the zone that the command line names.
pub(crate) fn run(arguments: &CompileArguments) -> anyhow::Result<Exit> {
    let rotation = if arguments.no_rotate { Rotation::Off } else { Rotation::On };
    let zone = source::zone(&arguments.zone, arguments.origin.as_ref(), rotation)?;
    // Before the zone is: a key that can't be used is told at once.
    let key = arguments.sign.as_deref().map(SigningKey::read).transpose()?;
    let start = Instant::now();
    let compiled = load::compile(&zone, &Progress::on_terminal().zone(zone.name.as_name()));
    let compiled =
        compiled.and_then(|compiled| match gate::zonemd_fault(zone.admission.zonemd, compiled.zonemd) {
            Some(fault) => Err(ZoneErrors::one(format!("{}: error: {fault}", arguments.zone.display()))),
            None => Ok(compiled),
        });
    let Compiled { table, warnings, .. } = match compiled {
        Ok(compiled) => compiled,
        Err(errors) => {
            for line in errors.errors.iter().chain(&errors.warnings) {
                eprintln!("{line}");
            }
            eprintln!("{}: not compiled, {} is unchanged", zone.name, arguments.output_file.display());
            return Ok(Exit::Problem);
        }
    };
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    image::replace(&arguments.output_file, table.image())
        .with_context(|| format!("cannot write {}", arguments.output_file.display()))?;
    let signed = match &key {
        Some(key) => Some(sign(table.image(), key, &arguments.output_file)?),
        None => None,
    };
    let result = Result {
        name: zone.name.to_string(),
        table: arguments.output_file.display().to_string(),
        serial: table.serial(),
        records: table.record_count(),
        names: table.name_count(),
        bytes: table.image().len(),
        digest: table.digest().to_string(),
        content: table.content().to_string(),
        signature: signed.as_ref().map(|(path, _)| path.display().to_string()),
        signed_by: signed.as_ref().map(|(_, key)| key.to_string()),
        took_ms: start.elapsed().as_millis() as u64, // no compilation takes 500 million years
        warnings,
    };
    if arguments.output.json {
        print_json(&result)?;
    } else {
        let Result { name, table, serial, records, names, bytes, digest, took_ms, .. } = &result;
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{name}: serial {serial}, {records} records, {names} names, {bytes} octets, digest {digest}; {table} \
             written in {took_ms} ms"
        )?;
        if let Some((path, key)) = &signed {
            writeln!(out, "{name}: {} is signed by {key}", path.display())?;
        }
    }
    Ok(Exit::Fine)
}

/// Writes the signature of a table beside it; where, and whose it is.
fn sign(image: &[u8], key: &SigningKey, table: &Path) -> anyhow::Result<(PathBuf, PublicKey)> {
    let claims = Claims::read(image).context("the table can't be signed")?;
    let signature = Signature::of(&claims, key);
    let path = shipping::path_for(table);
    image::replace(&path, signature.to_text().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok((path, signature.key))
}
