//! `scripts/lab`: brings the lab up, shows what happens in it, and breaks things on demand.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use starling_tests::lab::bird::Paths;
use starling_tests::lab::breakage::Breakage;
use starling_tests::lab::copies::{Outcome, Step};
use starling_tests::lab::ledger::{LOST_AFTER, Tally};
use starling_tests::lab::node::Weight;
use starling_tests::lab::pools::{Course, Pool};
use starling_tests::lab::pop::Software;
use starling_tests::lab::primary::PrimaryKind;
use starling_tests::lab::report::{Report, words};
use starling_tests::lab::routes::Change;
use starling_tests::lab::topology::POPS;
use starling_tests::lab::{Lab, Plan, Source, Steering};
use starling_tests::netns;
use starling_tests::tools;

const USAGE: &str =
    "scripts/lab [up] [OPTIONS]        three PoPs, two routers, one client; Ctrl-C takes it all down
scripts/lab all [OPTIONS]         the same, everything broken once, and a table of what came of it
scripts/lab copies [OPTIONS]      the nodes' zone comes from one primary: a change, its death, a cut past expiry, bad versions
scripts/lab pools [--svg FILE]    names that answer with endpoints at the PoPs: these report loads, die and come back, and a PoP is cut off
scripts/lab break WHAT [POP]      in another terminal: break something and say what was seen
scripts/lab mend                  in another terminal: put everything right again
scripts/lab status                in another terminal: what the routers have learned
Options: --node starling|nsd   --ecmp   --rate QUERIES-A-SECOND   (default: starling, best path, 5000)
         --primary knot|bind|starling   --not-critical   (default: knot with `copies`, else the nodes have the zone as a file)";

/// How often the lab looks for a command, for Ctrl-C, and at what the client saw.
const TICK: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["help" | "--help" | "-h", ..] => {
            println!("{USAGE}");
            Ok(())
        }
        ["break" | "mend" | "status", ..] => ask(&arguments.join(" ")),
        ["all", ref options @ ..] => plan(options).and_then(all),
        ["copies", ref options @ ..] => plan(options).and_then(copies),
        ["pools", "--svg", file, ref options @ ..] => {
            plan(options).and_then(|plan| pools(plan, Some(Path::new(file))))
        }
        ["pools", ref options @ ..] => plan(options).and_then(|plan| pools(plan, None)),
        ["up", ref options @ ..] => plan(options).and_then(up),
        ref options => plan(options).and_then(up),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the lab is to end: `scripts/lab` closes its input at Ctrl-C, and so does the kernel if that script dies.
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn at_end_of_input() -> Self {
        let stop = Self(Arc::default());
        let ended = Arc::clone(&stop.0);
        thread::spawn(move || {
            // An input that can't be read is at its end.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            ended.store(true, Ordering::Relaxed);
        });
        stop
    }

    fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

fn plan(options: &[&str]) -> Result<Plan> {
    let mut plan = Plan::default();
    let (mut kind, mut weight) = (None, Weight::Critical);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--ecmp" => plan.paths = Paths::Equal,
            "--node" => {
                plan.software = match options.next().copied() {
                    Some("starling") => Software::Starling,
                    Some("nsd") => Software::Usual,
                    other => bail!("--node takes starling or nsd, not {}", other.unwrap_or("nothing")),
                }
            }
            "--rate" => {
                let rate = options.next().and_then(|rate| rate.parse().ok());
                plan.rate =
                    rate.filter(|rate| (1..=100_000).contains(rate)).context("--rate takes 1 to 100000")?;
            }
            "--primary" => {
                kind = Some(options.next().context("--primary takes knot, bind or starling")?.parse()?)
            }
            "--not-critical" => weight = Weight::Ordinary,
            other => bail!("`{other}` is no option\n{USAGE}"),
        }
    }
    if let Some(kind) = kind {
        ensure!(plan.software == Software::Starling, "--primary is for --node starling");
        plan.source = Source::Primary { kind, weight };
    }
    ensure!(kind.is_some() || weight == Weight::Critical, "--not-critical needs --primary");
    ensure!(netns::usable(), "run it as root");
    Ok(plan)
}

/// Where a lab that is up takes commands.
fn socket() -> PathBuf {
    tools::repository().join("target/lab.socket")
}

/// Gives a command to the lab that is up and prints what it says.
fn ask(command: &str) -> Result<()> {
    let path = socket();
    let mut stream = UnixStream::connect(&path)
        .with_context(|| format!("{}: no lab is up here: start it with scripts/lab", path.display()))?;
    writeln!(stream, "{command}")?;
    let mut failed = false;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        failed |= line.starts_with("lab: ");
        println!("{line}");
    }
    ensure!(!failed, "that failed");
    Ok(())
}

/// Breaks everything once.
fn all(plan: Plan) -> Result<()> {
    let mut lab = Lab::up(plan, None)?;
    let stop = Stop::at_end_of_input();
    let mut rows = Vec::new();
    for (breakage, _) in Breakage::ALL {
        if stop.wanted() {
            break;
        }
        let row = match breakage.observe(&mut lab, 0) {
            Ok(report) => {
                print!("{report}");
                report.row()
            }
            Err(error) => format!("{breakage:<20} {error:#}"),
        };
        println!();
        rows.push(row);
        lab.mend().with_context(|| format!("mending after {breakage}"))?;
    }
    println!("{}", Report::heading());
    rows.iter().for_each(|row| println!("{row}"));
    Ok(())
}

/// Goes through what happens between a primary and its nodes.
fn copies(mut plan: Plan) -> Result<()> {
    let kind = match plan.source {
        Source::Primary { kind, .. } => kind,
        Source::File => PrimaryKind::Knot,
    };
    if plan.source == Source::File {
        plan.source = Source::Primary { kind, weight: Weight::Critical };
    }
    let mut lab = Lab::up(plan, None)?;
    let stop = Stop::at_end_of_input();
    println!("{kind} as primary\n{}", Outcome::heading());
    for step in Step::ALL.into_iter().filter(|step| step.is_possible(kind)) {
        if stop.wanted() {
            break;
        }
        println!("{}", step.make(&mut lab)?);
    }
    Ok(())
}

/// Goes through what happens to endpoints of pools, and to a PoP; the picture goes to a file, too, where one is given.
fn pools(plan: Plan, svg: Option<&Path>) -> Result<()> {
    ensure!(plan.software == Software::Starling, "pools are for --node starling");
    let mut lab = Lab::up(Plan { steering: Steering::Pools, ..plan }, None)?;
    let stop = Stop::at_end_of_input();
    let course = Course::run(&mut lab, || !stop.wanted(), |line| println!("{line}"))?;
    if stop.wanted() {
        return Ok(());
    }
    println!("\n{}", course.figures());
    Pool::ALL.iter().for_each(|pool| println!("{}", course.picture(*pool)));
    println!("{}", course.shares_pictured());
    if let Some(file) = svg {
        std::fs::write(file, course.svg()).with_context(|| file.display().to_string())?;
    }
    let faults = course.faults();
    ensure!(faults.is_empty(), "{} things were not as they have to be:\n{}", faults.len(), faults.join("\n"));
    Ok(())
}

/// Keeps a lab up until Ctrl-C.
fn up(plan: Plan) -> Result<()> {
    let path = socket();
    ensure!(UnixStream::connect(&path).is_err(), "a lab is up already: {}", path.display());
    let start = Instant::now();
    let (sender, changes) = channel();
    let stop = Stop::at_end_of_input();
    thread::spawn(move || show(&changes, start));
    println!("bringing up p1 p2 p3 (nodes), r1 r2 (routers), client and origin");
    let mut lab = Lab::up(plan, Some(&sender))?;
    let listener = listen(&path)?;
    print!("{}", lab.status()?);
    println!("the lab is up: `scripts/lab break WHAT` in another terminal, Ctrl-C ends it");
    let mut seen = Seen::default();
    while !stop.wanted() {
        match listener.accept() {
            Ok((stream, _)) => serve(&mut lab, stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(TICK),
            Err(error) => return Err(error).context("command socket"),
        }
        seen.look(&lab, start);
    }
    println!("taking the lab down");
    std::fs::remove_file(&path).context("command socket")
}

fn listen(path: &Path) -> Result<UnixListener> {
    // Left by a lab that was killed: nobody answers there.
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Prints changes of routes as they come.
fn show(changes: &Receiver<Change>, start: Instant) {
    loop {
        match changes.recv_timeout(TICK) {
            Ok(Change { at, router, family, hops }) => {
                println!("{} {router} {family}: {}", stamp(at, start), words(&hops));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Seconds since the start, to the microsecond.
fn stamp(at: Instant, start: Instant) -> String {
    format!("{:>12.6}", at.saturating_duration_since(start).as_secs_f64())
}

/// What the client saw when it was last looked at.
#[derive(Default)]
struct Seen {
    upto: Option<Instant>,
    last: String,
}

impl Seen {
    /// Looks at each second that is accounted for, and prints a line where it differs from the one before.
    fn look(&mut self, lab: &Lab, start: Instant) {
        let Some(to) = Instant::now().checked_sub(LOST_AFTER) else { return };
        let from = *self.upto.get_or_insert(to);
        if to.saturating_duration_since(from) < Duration::from_secs(1) {
            return;
        }
        self.upto = Some(to);
        let tally = lab.client().ledger().tally(from, to);
        let line = summary(&tally);
        if line != self.last {
            println!("{} client: {line}", stamp(from, start));
            self.last = line;
        }
    }
}

fn summary(tally: &Tally) -> String {
    let mut line = format!("answered by {}", tally.names());
    for (count, what) in [(tally.lost, "lost"), (tally.late, "late"), (tally.tcp_lost, "lost over TCP")] {
        if count > 0 {
            line += &format!(", {count} {what}");
        }
    }
    line
}

fn serve(lab: &mut Lab, stream: UnixStream) {
    // Whoever asked may have gone; what was asked for is done all the same.
    let mut reply = stream;
    let outcome = reply.set_nonblocking(false).map_err(Into::into).and_then(|()| command(lab, &reply));
    let text = outcome.unwrap_or_else(|error| format!("lab: {error:#}"));
    let _ = writeln!(reply, "{}", text.trim_end());
}

fn command(lab: &mut Lab, stream: &UnixStream) -> Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("command")?;
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["break", what] => Ok(what.parse::<Breakage>()?.observe(lab, 0)?.to_string()),
        ["break", what, pop] => {
            let index = POPS.iter().position(|name| *name == pop);
            let index = index.with_context(|| format!("`{pop}` is none of {}", POPS.join(", ")))?;
            Ok(what.parse::<Breakage>()?.observe(lab, index)?.to_string())
        }
        ["mend", ..] => lab.mend().and_then(|()| lab.status()),
        ["status"] => lab.status(),
        _ => bail!("say `break WHAT [POP]`, `mend` or `status`"),
    }
}
