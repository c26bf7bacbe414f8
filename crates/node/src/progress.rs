//! How far the loading of zones has come, for somebody who watches.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wire::Name;

/// Master files from this size on get a line of their own. Smaller ones are done before anybody can read it.
const SHOWN_FROM: u64 = 8 << 20;

/// The lines of all zones that are being loaded.
pub(crate) struct Progress {
    lines: Option<MultiProgress>,
}

impl Progress {
    /// On stderr if that is a terminal, else nowhere.
    pub(crate) fn on_terminal() -> Progress {
        let terminal = std::io::stderr().is_terminal();
        Progress {
            lines: terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10))),
        }
    }

    /// Nowhere.
    pub(crate) fn nowhere() -> Progress {
        Progress { lines: None }
    }

    /// The line of one zone; it goes away with the value.
    pub(crate) fn zone(&self, name: Name<'_>) -> ZoneProgress {
        ZoneProgress {
            name: name.to_string(),
            lines: self.lines.clone(),
            bar: std::sync::OnceLock::new(),
            total: AtomicU64::new(0),
        }
    }
}

/// How far the loading of one zone has come.
pub(crate) struct ZoneProgress {
    name: String,
    lines: Option<MultiProgress>,
    bar: std::sync::OnceLock<ProgressBar>,
    total: AtomicU64,
}

impl ZoneProgress {
    /// So many more octets are to be read.
    pub(crate) fn expect(&self, octets: u64) {
        let total = self.total.fetch_add(octets, Ordering::Relaxed) + octets;
        let Some(lines) = &self.lines else { return };
        if total < SHOWN_FROM {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let bar = lines.add(ProgressBar::new(total));
            bar.set_style(style("{prefix} reading   {wide_bar} {bytes}/{total_bytes} {eta}"));
            bar.set_prefix(self.name.clone());
            bar
        });
        bar.set_length(total);
    }

    /// So many octets have been read.
    pub(crate) fn read(&self, octets: u64) {
        if let Some(bar) = self.bar.get() {
            bar.set_position(octets);
        }
    }

    /// Reading is over.
    pub(crate) fn compiling(&self) {
        if let Some(bar) = self.bar.get() {
            bar.set_style(style("{prefix} compiling {spinner} {elapsed}"));
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }
}

impl Drop for ZoneProgress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are constants; should one ever be wrong, the plain bar still tells enough.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
