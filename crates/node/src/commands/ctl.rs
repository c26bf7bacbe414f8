//! `starling ctl`: asking and telling a running node.

use super::{catalog, lookup, pool, print_json, publish, route, zone};
use crate::certificate;
use crate::cli::{CtlArguments, CtlCommand, Switch, Then, ZoneAction};
use crate::control::{self, Request, Response};
use crate::exit::Exit;
use crate::status::{
    AgentStatus, CopyStatus, DiskStatus, InterfaceStatus, JournalStatus, NodeStatus, Outcome, ReloadReport,
    TlsStatus, ZoneDigest, ZoneStatus,
};
use anyhow::bail;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the agent may take to follow its server: it reads one file and takes over what is there.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait between two looks for it.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Does what the command line says.
pub(crate) fn run(arguments: &CtlArguments) -> anyhow::Result<Exit> {
    let path = control::path_for(arguments)?;
    let request = request(&arguments.command);
    match control::ask(&path, &request)? {
        Response::Status(status) => show(arguments, &status, |status| print_status(status))?,
        Response::Zones(zones) if matches!(arguments.command, CtlCommand::Zones { digests: true }) => {
            let served: Vec<ZoneDigest> = zones.iter().filter_map(ZoneDigest::of).collect();
            show(arguments, &served, |served| zone::print_digests(served))?;
        }
        Response::Zones(zones) => show(arguments, &zones, |zones| print_zones(zones))?,
        Response::Catalogs(catalogs) => show(arguments, &catalogs, |catalogs| catalog::print(catalogs))?,
        Response::Pools(pools) if matches!(arguments.command, CtlCommand::Pools) => {
            show(arguments, &pools, |pools| pool::print_all(pools))?;
        }
        Response::Pools(pools) => show(arguments, &pools, |pools| pool::print(pools))?,
        Response::Answer(answer) => match &arguments.command {
            CtlCommand::Lookup { question } => lookup::show_of_node(&answer, question, arguments.json)?,
            _ => bail!("the node answers a query, which was not asked"),
        },
        // Nothing that `ctl` asks for is answered so.
        Response::Digests(page) => show(arguments, &page.zones, |zones| zone::print_digests(zones))?,
        Response::PoolViews(told) => bail!("the node answers {told:?}, which is for peers"),
        Response::Zone(status) => show(arguments, &status, |status| zone::print(status))?,
        Response::Reload(report) => {
            show(arguments, &report, print_reload)?;
            return Ok(if report.is_good() { Exit::Fine } else { Exit::Problem });
        }
        Response::Published(report) => {
            show(arguments, &report, publish::print)?;
            let wants_durable = matches!(arguments.command, CtlCommand::Publish { durable: true, .. });
            return Ok(publish::exit(&report, wants_durable));
        }
        Response::Route(status) => show(arguments, &status, |status| route::print(status))?,
        Response::History(records) => show(arguments, &records, |records| route::print_history(records))?,
        Response::Done(text) => {
            show(arguments, &text, |text| writeln!(io::stdout(), "{text}"))?;
            if matches!(request, Request::Upgrade { .. }) {
                let status = upgraded(&path)?;
                show(arguments, &status, |status| route::print_upgraded(status))?;
            }
        }
        Response::Error(error) => bail!("the node refuses: {error}"),
    }
    Ok(Exit::Fine)
}

fn request(command: &CtlCommand) -> Request {
    match command {
        CtlCommand::Status => Request::Status,
        CtlCommand::Zones { .. } => Request::Zones { max: None },
        CtlCommand::Reload { zone, force } => Request::Reload { zone: zone.clone(), force: *force },
        CtlCommand::Notify { zone } => Request::Notify { zone: zone.clone() },
        CtlCommand::Refresh { zone } => Request::Refresh { zone: zone.clone() },
        CtlCommand::Retransfer { zone } => Request::Retransfer { zone: zone.clone() },
        CtlCommand::Publish { zone, table, any_serial, durable } => Request::Publish {
            zone: zone.clone(),
            table: absolute(table),
            any_serial: *any_serial,
            durable: *durable,
        },
        CtlCommand::Catalog { command } => catalog::request(command),
        CtlCommand::Lookup { question } => lookup::request(question),
        CtlCommand::Pools => Request::Pools { pool: None },
        CtlCommand::Pool { pool, action: None } => Request::Pools { pool: pool.clone() },
        CtlCommand::Pool { action: Some(action), .. } => pool::request(action),
        CtlCommand::Zone { action } => match action {
            ZoneAction::Status { zone } => Request::ZoneStatus { zone: zone.clone() },
            ZoneAction::Approve { zone } => Request::ZoneApprove { zone: zone.clone() },
            ZoneAction::Rollback { zone } => Request::ZoneRollback { zone: zone.clone() },
        },
        CtlCommand::Drain { time, then } => Request::Drain {
            for_ms: time.map(|time| time.as_millis() as u64), // at most a month
            then_up: *then == Then::Up,
        },
        CtlCommand::Undrain => Request::Undrain,
        CtlCommand::Maintenance { switch } => Request::Maintenance { on: *switch == Switch::On },
        CtlCommand::Explain => Request::Explain,
        CtlCommand::History { count } => Request::History { count: *count },
        CtlCommand::Upgrade { binary } => {
            Request::Upgrade { binary: binary.as_ref().map(|path| absolute(path)) }
        }
    }
}

/// A path as the node has to have it, which may have another working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Waits for the agent that follows its server.
fn upgraded(path: &Path) -> anyhow::Result<Box<AgentStatus>> {
    let deadline = Instant::now() + FOLLOWS_WITHIN;
    loop {
        match control::ask(path, &Request::Explain) {
            Ok(Response::Route(status)) => return Ok(status),
            _ if Instant::now() < deadline => std::thread::sleep(ASK_AGAIN_AFTER),
            Ok(_) => bail!("the agent answers, but not as one that was upgraded"),
            Err(error) => return Err(error.context("the server was replaced, but the agent is not back")),
        }
    }
}

/// Prints an answer in the form that is wanted.
fn show<T: serde::Serialize>(
    arguments: &CtlArguments,
    answer: &T,
    print: impl Fn(&T) -> io::Result<()>,
) -> anyhow::Result<()> {
    if arguments.json { print_json(answer) } else { Ok(print(answer)?) }
}

fn print_status(status: &NodeStatus) -> io::Result<()> {
    let NodeStatus { zones, udp, tcp, .. } = status;
    let answers: Vec<String> =
        status.answers.iter().map(|(rcode, count)| format!("{rcode} {count}")).collect();
    let lines = [
        ("version", status.version.clone()),
        ("name", status.name.clone().unwrap_or_else(|| "(hidden)".to_owned())),
        ("process", status.pid.to_string()),
        ("since", format!("{} ({} s)", status.since, status.uptime_s)),
        ("listening", status.listen.join(" ")),
        ("workers", format!("{} UDP, {} TCP", status.workers, status.tcp_workers)),
        (
            "zones",
            format!(
                "{} ok, {} stale, {} failed, {} expired",
                zones.ok, zones.stale, zones.failed, zones.expired
            ),
        ),
        ("generation", generation(status)),
        (
            "UDP",
            format!(
                "{} queries ({} through AF_XDP) in {} batches, {} answers, {} truncated, {} not sent, {} lost in full queues, {} shed, {} shortened and {} withheld by the rate limit",
                udp.queries,
                udp.xdp_queries,
                udp.batches,
                udp.answers,
                udp.truncated,
                udp.dropped,
                udp.queue_drops,
                udp.shed,
                udp.limited_shortened,
                udp.limited_withheld
            ),
        ),
        (
            "TCP",
            format!(
                "{} queries, {} answers; {} connections accepted, {} open, {} refused, {} closed for others, {} \
                 idle, {} slow",
                tcp.queries,
                tcp.answers,
                tcp.accepted,
                tcp.open,
                tcp.refused,
                tcp.evicted,
                tcp.idle,
                tcp.slow
            ),
        ),
        ("answers", if answers.is_empty() { "none".to_owned() } else { answers.join(", ") }),
    ];
    let tls = status.tls.iter().map(|tls| ("TLS", tls_line(tls)));
    let interfaces = status.interfaces.iter().map(|interface| ("interface", interface_line(interface)));
    let disk = status.disk.iter().map(|disk| ("state", disk_line(disk)));
    let lines: Vec<_> = lines.into_iter().chain(tls).chain(interfaces).chain(disk).collect();
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|(key, value)| writeln!(out, "{key:12}{value}"))?;
    drop(out);
    status.agent.iter().try_for_each(|agent| route::print_summary(agent))
}

fn tls_line(tls: &TlsStatus) -> String {
    let until = tls.certificate_not_after_s.map(certificate::shown);
    format!(
        "on {}, {} handshakes and {} that failed, certificate good until {}",
        tls.listen.join(", "),
        tls.handshakes,
        tls.handshakes_failed,
        until.as_deref().unwrap_or("an unknown time")
    )
}

fn disk_line(disk: &DiskStatus) -> String {
    match &disk.failure {
        None => "written as it should be".to_owned(),
        Some(failure) => format!("{} files can't be written and wait: {failure}", disk.waiting),
    }
}

fn interface_line(interface: &InterfaceStatus) -> String {
    let InterfaceStatus { name, packet_path, mode, queues, detail, kernel_answers } = interface;
    let mode = mode.as_ref().map_or_else(String::new, |mode| format!(", {mode}, queues: {queues}"));
    let detail = detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
    let answered =
        kernel_answers.map_or_else(String::new, |count| format!(", answered in the kernel: {}", count.sum()));
    format!("{name}: {packet_path}{mode}{answered}{detail}")
}

fn generation(status: &NodeStatus) -> String {
    let reloading = if status.reloading { ", a reload is going on" } else { "" };
    let waiting =
        if status.generation == status.generation_served { "" } else { ", not yet served by all workers" };
    format!("{}{waiting}{reloading}", status.generation)
}

fn print_zones(zones: &[ZoneStatus]) -> io::Result<()> {
    let mut rows = vec![
        ["ZONE", "STATE", "SERIAL", "RECORDS", "NAMES", "OCTETS", "FROM", "SINCE", "DIGEST"]
            .map(str::to_owned),
    ];
    for zone in zones {
        let state = zone.state.word();
        let mut row = [zone.name.as_str(), state, "-", "-", "-", "-", "-", "-", "-"].map(str::to_owned);
        if let Some(served) = &zone.served {
            let digest: String = served.digest.chars().take(16).collect();
            let numbers = [u64::from(served.serial), served.records, served.names, served.table_bytes];
            row[2..6].clone_from_slice(&numbers.map(|number| number.to_string()));
            row[6..].clone_from_slice(&[served.loaded_from.clone(), served.since.clone(), digest]);
        }
        rows.push(row);
    }
    let widths: [usize; 9] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let mut out = io::stdout().lock();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
        let Some(zone) = index.checked_sub(1).map(|index| &zones[index]) else { continue };
        if let Some(copy) = &zone.copy {
            writeln!(out, "  {}", copy_line(copy))?;
        }
        if zone.served.as_ref().is_some_and(|served| !served.durable) {
            writeln!(out, "  not yet on disk: a restart would begin with an earlier version")?;
        }
        if let Some(JournalStatus { from_serial, to_serial, differences, octets }) = &zone.journal {
            writeln!(
                out,
                "  journal from {from_serial} to {to_serial}, {differences} differences, {octets} octets"
            )?;
        }
        for notified in &zone.notified {
            writeln!(out, "  {}: told of {}, {}", notified.secondary, notified.serial, notified.state)?;
        }
        if let Some(error) = &zone.error {
            writeln!(
                out,
                "  since {}, {}:",
                error.since,
                if error.count == 1 { "1 error".to_owned() } else { format!("{} errors", error.count) }
            )?;
            error.messages.iter().try_for_each(|message| writeln!(out, "  {message}"))?;
        }
    }
    Ok(())
}

pub(super) fn copy_line(copy: &CopyStatus) -> String {
    let mut line = format!("copy of {}", copy.primaries.join(" "));
    let times = [("confirmed", &copy.confirmed), ("expires", &copy.expires), ("asked next", &copy.next)];
    for (what, time) in times {
        if let Some(time) = time {
            line.push_str(&format!(", {what} {time}"));
        }
    }
    if copy.asking {
        line.push_str(", asked now");
    }
    if let Some(failure) = &copy.failure {
        line.push_str(&format!("; {failure}"));
    }
    line
}

fn print_reload(report: &ReloadReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    report.refused.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    for zone in &report.zones {
        write!(out, "{}: ", zone.name)?;
        match &zone.outcome {
            Outcome::Reloaded { from_serial, to_serial, took_ms } => {
                let from = from_serial.map_or_else(|| "none".to_owned(), |serial| serial.to_string());
                writeln!(out, "reloaded, serial {from} -> {to_serial}, in {took_ms} ms")?;
            }
            Outcome::Added { serial, took_ms } => writeln!(out, "loaded, serial {serial}, in {took_ms} ms")?,
            Outcome::Unchanged => writeln!(out, "unchanged")?,
            Outcome::Removed => writeln!(out, "removed")?,
            Outcome::Failed { count, messages } => {
                writeln!(
                    out,
                    "failed, {}",
                    if *count == 1 { "1 error".to_owned() } else { format!("{count} errors") }
                )?;
                messages.iter().try_for_each(|message| writeln!(out, "  {message}"))?;
                if *count > messages.len() {
                    writeln!(out, "  and {} more; `starling check` shows all", count - messages.len())?;
                }
            }
        }
    }
    Ok(())
}
