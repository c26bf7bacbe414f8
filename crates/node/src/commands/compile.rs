//! `starling compile`: a master file to a table file.

use super::{print_json, source};
use crate::cli::CompileArguments;
use crate::config::Rotation;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::zones::image;
use crate::zones::load::{self, Compiled};
use anyhow::Context;
use serde::Serialize;
use std::io::Write;
use std::time::Instant;

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
    took_ms: u64,
    warnings: Vec<String>,
}

/// Compiles the zone that the command line names.
pub(crate) fn run(arguments: &CompileArguments) -> anyhow::Result<Exit> {
    let rotation = if arguments.no_rotate { Rotation::Off } else { Rotation::On };
    let zone = source::zone(&arguments.zone, arguments.origin.as_ref(), rotation)?;
    let start = Instant::now();
    let compiled = load::compile(&zone, &Progress::on_terminal().zone(zone.name.as_name()));
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
    let result = Result {
        name: zone.name.to_string(),
        table: arguments.output_file.display().to_string(),
        serial: table.serial(),
        records: table.record_count(),
        names: table.name_count(),
        bytes: table.image().len(),
        digest: table.digest().to_string(),
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
    }
    Ok(Exit::Fine)
}
