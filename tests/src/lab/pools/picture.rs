//! The answers over time, as a picture: a line for each node and endpoint, and a mark where its answers had that
//! endpoint.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::answers::{BACKENDS, Backend};
use super::watch::Place;
use super::{Course, NAMES, Pool};
use crate::lab::topology::POPS;

/// The time that a character of the picture stands for.
const COLUMN: Duration = Duration::from_millis(500);

/// A line of a picture.
struct Line {
    /// Whose answers.
    pop: usize,
    endpoint: Backend,
    /// From when to when they had it, in seconds from the first step.
    spans: Vec<(f64, f64)>,
}

impl Course {
    /// The picture of a pool as text, to be shown with letters of one width. Endpoints that were never answered have
    /// no line.
    #[must_use]
    pub fn picture(&self, pool: Pool) -> String {
        let columns = self.columns();
        let mut text = format!("{}\n", NAMES[pool as usize]);
        for line in self.lines(pool) {
            let is_in = |column: usize| {
                let at = (column as f64 + 0.5) * COLUMN.as_secs_f64();
                line.spans.iter().any(|(from, to)| (*from..*to).contains(&at))
            };
            let marks: String = (0..columns).map(|column| if is_in(column) { '█' } else { '·' }).collect();
            writeln!(text, "{:>6} {:<4} {marks}", POPS[line.pop], line.endpoint).expect("a String takes all");
        }
        let mut scale = vec![' '; columns + 4];
        let mut legend = String::new();
        for (number, stage) in self.stages.iter().enumerate() {
            let column = (self.seconds(stage.at) / COLUMN.as_secs_f64()).round() as usize; // as above
            // From 1 to 9, and on with letters.
            let mark = char::from_digit(number as u32 + 1, 36).unwrap_or('+');
            scale[column.min(columns)] = mark;
            let comma = if number > 0 { ", " } else { "" };
            write!(legend, "{comma}{mark} {}", stage.step).expect("a String takes all");
        }
        let scale: String = scale.into_iter().collect();
        text + &format!(
            "{:>11} {}\n{legend}; a character is {} ms\n",
            "",
            scale.trim_end(),
            COLUMN.as_millis()
        )
    }

    /// The pictures of both pools as SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        const COLOURS: [&str; POPS.len()] = ["#2f6fb0", "#c0632a", "#3f8f4f"];
        const LEFT: f64 = 90.0;
        const WIDTH: f64 = 900.0;
        const ROW: f64 = 16.0;
        let scale = WIDTH / self.seconds(self.end).max(1.0);
        let (mut body, mut y) = (String::new(), 84.0);
        let mut push = |line: String| body.extend([line.as_str(), "\n"]);
        for pool in Pool::ALL {
            push(format!(
                "<text x=\"4\" y=\"{}\" font-weight=\"bold\">{}</text>",
                y + 11.0,
                NAMES[pool as usize]
            ));
            y += ROW;
            for line in self.lines(pool) {
                let (name, end) = (POPS[line.pop], LEFT + WIDTH);
                push(format!("<text x=\"20\" y=\"{}\">{name}: {}</text>", y + 12.0, line.endpoint));
                push(format!("<path d=\"M{LEFT} {}H{end}\" stroke=\"#ddd\"/>", y + ROW / 2.0));
                for (from, to) in &line.spans {
                    push(format!(
                        "<rect x=\"{:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>",
                        LEFT + from * scale,
                        y + 3.0,
                        (to - from) * scale,
                        ROW - 6.0,
                        COLOURS[line.endpoint.pop]
                    ));
                }
                y += ROW;
            }
            y += ROW / 2.0;
        }
        for (number, stage) in self.stages.iter().enumerate() {
            let x = LEFT + self.seconds(stage.at) * scale;
            // Neighbours would write over each other.
            let text_y = 16.0 + 15.0 * (number % 4) as f64;
            push(format!("<path d=\"M{x:.1} {text_y}V{y}\" stroke=\"#888\" stroke-dasharray=\"2 3\"/>"));
            push(format!("<text x=\"{:.1}\" y=\"{text_y}\">{}</text>", x + 3.0, stage.step));
        }
        for second in (0..=self.seconds(self.end) as u32).step_by(5) {
            let x = LEFT + f64::from(second) * scale;
            push(format!("<text x=\"{x:.1}\" y=\"{}\" fill=\"#555\">{second} s</text>", y + 14.0));
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n",
            LEFT + WIDTH + 60.0,
            y + 24.0
        )
    }

    /// The picture of the shares by load.
    #[must_use]
    pub fn shares_pictured(&self) -> String {
        self.share_picture(self.columns(), COLUMN)
    }

    /// How many characters of the picture there are.
    fn columns(&self) -> usize {
        (self.seconds(self.end) / COLUMN.as_secs_f64()).floor() as usize // a minute or so
    }

    /// Seconds from the first step.
    pub(super) fn seconds(&self, at: Instant) -> f64 {
        let start = self.stages.first().map_or(self.end, |stage| stage.at);
        at.saturating_duration_since(start).as_secs_f64()
    }

    fn lines(&self, pool: Pool) -> Vec<Line> {
        let each = (0..POPS.len()).flat_map(|pop| BACKENDS.map(|endpoint| (pop, endpoint)));
        let lines =
            each.map(|(pop, endpoint)| Line { pop, endpoint, spans: self.spans(pool, pop, endpoint) });
        lines.filter(|line| !line.spans.is_empty()).collect()
    }

    /// From when to when the answers of a node had an endpoint.
    fn spans(&self, pool: Pool, pop: usize, endpoint: Backend) -> Vec<(f64, f64)> {
        let mut spans: Vec<(f64, f64)> = Vec::new();
        let mut is_open = false;
        for sample in self.samples.iter().filter(|it| (it.place, it.pool) == (Place::Pop(pop), pool)) {
            let at = self.seconds(sample.asked);
            let has_it = sample.answer.is_some_and(|answer| answer.has(endpoint));
            match spans.last_mut().filter(|_| is_open) {
                Some(last) => last.1 = at,
                None if has_it => spans.push((at, at)),
                None => {}
            }
            is_open = has_it;
        }
        spans.retain(|(from, to)| from < to);
        spans
    }
}
