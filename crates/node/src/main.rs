//! `starling`: an authoritative name server that answers from compiled tables.
//!
//! This crate is the one place where the others meet, and the only one that reads files in a user's format,
//! the command line, and signals. It decides nothing about answers or zones. It must never do anything for a
//! query on a packet thread but call the answer function.
//!
//! - [`cli`], [`config`]: what the user wants; [`exit`], [`logging`], [`progress`]: what the user is told
//! - [`zones`]: from a configured zone to a table; [`gate`]: which of them may be served; [`keeper`]: which are;
//!   [`archive`]: what outlives the process; [`shipping`]: tables that were compiled elsewhere
//! - [`certificate`]: until when one is valid
//! - [`agent`]: the process that holds the route, with the server as its child
//! - [`serve`]: the order of start and end, with [`listeners`], [`workers`], [`tcp`] and [`privileges`]
//! - [`link`]: what agent and server tell each other
//! - [`secondary`]: keeping copies of zones that other servers have
//! - [`control`], [`status`], [`node_status`]: what `starling ctl` asks and is told
//! - [`management`]: metrics, health and state over HTTP, and what the peers say
//! - [`commands`]: everything that needs no server; [`oracle`]: what one with a table alone would answer, and why

mod agent;
mod archive;
mod certificate;
mod cli;
mod commands;
mod config;
mod control;
mod exit;
mod gate;
mod keeper;
mod link;
mod listeners;
mod logging;
mod management;
mod memory;
mod node_status;
mod oracle;
mod outside;
mod places;
mod pools;
mod privileges;
mod progress;
mod receive_queues;
mod secondary;
mod serve;
mod shipping;
mod signals;
mod status;
mod tcp;
mod transfers;
mod workers;
mod zones;

use clap::Parser;
use cli::{Cli, Command};
use exit::Exit;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Run(arguments) => agent::run(arguments),
        Command::Check(arguments) => commands::check::run(arguments),
        Command::Compile(arguments) => commands::compile::run(arguments),
        Command::Key(arguments) => commands::key::run(arguments),
        Command::Inspect(arguments) => commands::inspect::run(arguments),
        Command::Lookup(arguments) => commands::lookup::run(arguments),
        Command::Bench(arguments) => commands::bench::run(arguments),
        Command::Ctl(arguments) => commands::ctl::run(arguments),
        Command::Compare(arguments) => commands::compare::run(arguments),
    };
    let is_server = matches!(cli.command, Command::Serve(_) | Command::Run(_));
    match result {
        Ok(exit) => exit.into(),
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) if !is_server && is_broken_pipe(&error) => Exit::Fine.into(),
        Err(error) => {
            eprintln!("starling: {}", explain(&error));
            if is_usage(&error) { Exit::Usage.into() } else { Exit::Problem.into() }
        }
    }
}

/// An error with its causes; those that an error has already named are not named again.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<commands::UsageError>() || error.is::<config::ConfigError>()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(broken))
}
