//! What an upstream has of a prefix, asked over its own BIRD's control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How a route looks to the upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// There is none.
    Gone,
    /// With the AS of the node alone, and nothing on it.
    Plain,
    /// With a longer path or a lower local preference.
    Worse,
    /// With the community 65535:0.
    Shutdown,
}

/// A connection to a BIRD, which knows nothing of the crate under test.
pub(crate) struct Talk {
    stream: BufReader<UnixStream>,
}

impl Talk {
    pub(crate) fn open(socket: &Path) -> Result<Talk> {
        let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut talk = Talk { stream: BufReader::new(stream) };
        talk.reply()?;
        Ok(talk)
    }

    /// The reply to a command, codes included.
    pub(crate) fn ask(&mut self, command: &str) -> Result<String> {
        self.stream.get_mut().write_all(format!("{command}\n").as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> Result<String> {
        let mut text = String::new();
        loop {
            let from = text.len();
            if self.stream.read_line(&mut text)? == 0 {
                bail!("BIRD closed the connection after {text:?}");
            }
            let line = &text.as_bytes()[from..];
            if line.len() > 4 && line[..4].iter().all(u8::is_ascii_digit) && line[4] == b' ' {
                return Ok(text);
            }
        }
    }

    /// How a prefix looks.
    pub(crate) fn look(&mut self, prefix: &str) -> Result<Look> {
        let reply = self.ask(&format!("show route {prefix} all"))?;
        if reply.contains("8001 ") {
            return Ok(Look::Gone);
        }
        // BIRD 2 writes `BGP.as_path`, BIRD 3 `bgp_path`.
        let field = |names: [&str; 2]| {
            let found = reply.lines().find_map(|line| names.iter().find_map(|name| line.split_once(name)));
            found.map(|(_, value)| value.trim())
        };
        let path = field(["BGP.as_path:", "bgp_path:"]).unwrap_or_default().split_whitespace().count();
        let preference = field(["BGP.local_pref:", "bgp_local_pref:"]);
        let preference = preference.and_then(|value| value.parse().ok()).unwrap_or(100);
        Ok(if field(["BGP.community:", "bgp_community:"]).is_some_and(|value| value.contains("(65535,0)")) {
            Look::Shutdown
        } else if path > 1 || preference < 100 {
            Look::Worse
        } else {
            Look::Plain
        })
    }
}

/// When a prefix came to look how.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) prefix: &'static str,
    pub(crate) look: Look,
}

/// A thread that looks at prefixes all the time and writes down each change.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Seen>>>,
}

impl Watcher {
    /// Starts to look; when this returns it has looked once.
    pub(crate) fn start(socket: &Path, prefixes: &'static [&'static str]) -> Result<Watcher> {
        let mut talk = Talk::open(socket)?;
        let mut last = Vec::new();
        let mut seen = Vec::new();
        for prefix in prefixes {
            let look = talk.look(prefix)?;
            seen.push(Seen { at: Instant::now(), prefix, look });
            last.push(look);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            // Once more after it was told to stop, so that nothing from before that is missed.
            let mut done = false;
            while !done {
                done = stopped.load(Ordering::Relaxed);
                for (prefix, last) in prefixes.iter().zip(&mut last) {
                    let look = talk.look(prefix)?;
                    if *last != look {
                        seen.push(Seen { at: Instant::now(), prefix, look });
                        *last = look;
                    }
                }
                // BIRD does its own work between two questions; asked without a pause it would do little else.
                thread::park_timeout(Duration::from_micros(300));
            }
            Ok(seen)
        });
        Ok(Watcher { stop, thread })
    }

    /// Everything seen until now.
    pub(crate) fn stop(self) -> Result<Vec<Seen>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?
    }
}

/// The looks of a prefix, one after the other.
pub(crate) fn looks(seen: &[Seen], prefix: &str) -> Vec<Look> {
    seen.iter().filter(|seen| seen.prefix == prefix).map(|seen| seen.look).collect()
}

/// Whether what was seen is the way down. A step may be missing, where the watcher did not get to look in time; that each
/// was reached is seen by whoever takes the steps. A gap, or a step back, may not be there.
pub(crate) fn is_way_down(seen: &[Look]) -> bool {
    let mut way = [Look::Gone, Look::Plain, Look::Worse, Look::Shutdown, Look::Gone].iter();
    let ends = [seen.first(), seen.last()].map(|look| look == Some(&Look::Gone));
    ends == [true, true] && seen.len() > 2 && seen.iter().all(|look| way.any(|step| step == look))
}
