//! Agents that say how much endpoints can take, as HAProxy's `agent-check` has it.
//!
//! Who connects is sent a line of words, between which are spaces, tabs or commas: `75%`, how much is left of the
//! endpoint's weight; `drain` and `maint`, which `ready` ends; `down`, `fail` and `stopped`, which `up` ends; and a
//! reason after `#`. What a line doesn't mention stays as it was, and so does everything where there is no line.
//! Without effect are `maxconn:` and a number, as nobody counts here, and words that are none of these.

use super::{number, shown};

/// The longest line in octets.
pub const LINE_LEN_MAX: usize = 1024;
/// The most that can be left, in percent of a weight: who says more has forgotten the unit.
pub const PERCENT_MAX: u32 = 1000;

/// What an agent has said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agent {
    mode: Mode,
    /// That it is not good, and why.
    down: Option<String>,
    percent: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Ready,
    Drain,
    Maint,
}

impl Agent {
    /// None has said anything yet: the endpoint can take all that it may.
    pub fn silent() -> Agent {
        Agent { mode: Mode::Ready, down: None, percent: 100 }
    }

    /// How much of its weight is left, in percent.
    pub fn percent(&self) -> u32 {
        self.percent
    }

    /// Whether it is to be answered with only where nothing else is left.
    pub fn is_drained(&self) -> bool {
        self.mode == Mode::Drain || self.percent == 0
    }

    /// Why the endpoint is not good, if it says so.
    pub fn trouble(&self) -> Option<String> {
        let said = if self.mode == Mode::Maint { Some("maint") } else { self.down.as_deref() };
        said.map(|said| format!("its agent says {said}"))
    }

    /// Takes what it says. Each word counts by itself, as to HAProxy: who is down is so even if what is left can't be
    /// understood. Of several that say the same kind of thing the last one counts.
    ///
    /// # Errors
    /// What is left can't be so much, or no word says anything: the line shows nothing of what is left.
    pub fn hear(&mut self, line: &[u8]) -> Result<(), Unclear> {
        let line = String::from_utf8_lossy(line);
        let (words, reason) = line.split_once('#').unwrap_or((&*line, ""));
        let (mut says_something, mut percent) = (false, Some(self.percent));
        for word in words.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
            let lower = word.to_ascii_lowercase();
            match lower.as_str() {
                "ready" => self.mode = Mode::Ready,
                "drain" => self.mode = Mode::Drain,
                "maint" => self.mode = Mode::Maint,
                "up" => self.down = None,
                "down" | "fail" | "stopped" => {
                    let reason = shown(reason);
                    self.down = Some(if reason.is_empty() { lower } else { format!("{lower}: {reason}") });
                }
                _ => match lower.strip_suffix('%') {
                    Some(number) => percent = number::whole(number).filter(|it| *it <= PERCENT_MAX),
                    None if lower.starts_with("maxconn:") => {}
                    None => continue,
                },
            }
            says_something = true;
        }
        match percent.filter(|_| says_something) {
            Some(percent) => self.percent = percent,
            None => return Err(Unclear(shown(&line))),
        }
        Ok(())
    }
}

/// What an agent has said that shows nothing of what is left of a weight.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("its agent says {0:?}")]
pub struct Unclear(String);

/// The line at the beginning of what an agent has sent so far, if it is whole, or as long as one may be.
pub fn line(sent: &[u8]) -> Option<&[u8]> {
    let within = sent.get(..LINE_LEN_MAX).unwrap_or(sent);
    match within.iter().position(|octet| matches!(octet, b'\r' | b'\n')) {
        Some(end) => within.get(..end),
        None => (within.len() == LINE_LEN_MAX).then_some(within),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known after these lines: how much is left, whether it is drained, and what is wrong.
    fn after(lines: &[&str]) -> (u32, bool, String) {
        let mut agent = Agent::silent();
        for line in lines {
            agent.hear(line.as_bytes()).unwrap();
        }
        (agent.percent(), agent.is_drained(), agent.trouble().unwrap_or_default())
    }

    #[test]
    fn words_are_those_of_haproxy() {
        for (lines, percent, is_drained, trouble) in [
            (&["75%"][..], 75, false, ""),
            (&["UP 75%"], 75, false, ""),
            (&["ready,\t75%,maxconn:30 up"], 75, false, ""),
            (&["0%"], 0, true, ""),
            (&["drain"], 100, true, ""),
            // What is not mentioned stays.
            (&["drain 50%", "40%"], 40, true, ""),
            (&["drain", "ready"], 100, false, ""),
            (&["maint", "up"], 100, false, "its agent says maint"),
            (&["maint", "ready"], 100, false, ""),
            (&["maint", "drain"], 100, true, ""),
            (&["down"], 100, false, "its agent says down"),
            (&["Stopped # for the night, 5%"], 100, false, "its agent says stopped: for the night, 5%"),
            (&["fail#disk", "ready 10%"], 10, false, "its agent says fail: disk"),
            (&["down", "up"], 100, false, ""),
            (&["maint down"], 100, false, "its agent says maint"),
            (&["maint down", "ready"], 100, false, "its agent says down"),
        ] {
            assert_eq!(after(lines), (percent, is_drained, trouble.to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_word_is_said_and_changes_nothing() {
        let mut known = Agent::silent();
        known.hear(b"drain 30% down #x").unwrap();
        for line in [
            "",
            "# up",
            "HTTP/1.1 200 OK",
            "failed",
            "-5%",
            "7.5%",
            "%",
            "1001%",
            "99999999999%",
            "\u{fffd}%",
        ] {
            let mut agent = known.clone();
            let said = agent.hear(line.as_bytes()).unwrap_err().to_string();
            assert_eq!(said, format!("its agent says {line:?}"));
            assert_eq!(agent, known, "{line}");
        }
    }

    #[test]
    fn what_can_be_understood_of_a_line_counts() {
        for (line, percent, is_drained, trouble) in [
            ("up 1001%", 100, false, ""),
            ("7.5% down", 100, false, "its agent says down"),
            ("% drain", 100, true, ""),
            ("60% 7.5%", 100, false, ""),
        ] {
            let mut agent = Agent::silent();
            assert!(agent.hear(line.as_bytes()).is_err(), "{line}");
            let known = (agent.percent(), agent.is_drained(), agent.trouble().unwrap_or_default());
            assert_eq!(known, (percent, is_drained, trouble.to_owned()), "{line}");
        }
        assert_eq!(after(&["7.5% 50%"]), (50, false, String::new()));
    }

    #[test]
    fn a_line_ends_with_what_comes_first() {
        let long = [b'x'; LINE_LEN_MAX + 1];
        for (sent, found) in [
            (&b""[..], None),
            (b"up", None),
            (b"up\r\ndown", Some(&b"up"[..])),
            (b"\nup", Some(b"")),
            (&long, Some(&long[1..])),
            (&long[2..], None),
        ] {
            assert_eq!(line(sent), found, "{sent:?}");
        }
    }
}
