//! What is wrong with a configuration, and how it is shown.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    /// What.
    pub(super) title: String,
    /// Where in the file, in octets, and what stands there; none for what is missing as a whole.
    pub(super) place: Option<(Range<usize>, String)>,
    /// What to do.
    pub(super) help: String,
}

impl Problem {
    /// A problem that has no place in the file.
    pub(super) fn general(title: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { title: title.into(), place: None, help: help.into() }
    }

    /// A problem at a place of the file; `label` says what stands there.
    pub(super) fn at(
        place: Range<usize>,
        title: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem { title: title.into(), place: Some((place, label.into())), help: help.into() }
    }
}

impl std::fmt::Display for Problem {
    /// What, and what to do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.title)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "; {}", self.help) }
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could be read, but what it says can't be done.
    Invalid {
        /// The file, where there is one.
        path: Option<PathBuf>,
        /// Its text.
        text: String,
        /// All that is wrong, in the order of the file; not empty.
        problems: Vec<Problem>,
    },
}

/// How problems are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// With colours, for a terminal.
    Coloured,
    /// As plain ASCII.
    Plain,
}

impl ConfigError {
    /// All problems as text of several lines, with the lines of the file they are in.
    pub(crate) fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Coloured => Renderer::styled().decor_style(DecorStyle::Ascii),
            Style::Plain => Renderer::plain(),
        };
        match self {
            ConfigError::Unreadable { path, source } => {
                let title = format!("cannot read the configuration {}: {source}", path.display());
                let help = "name an existing file with `--config`, and make it readable for the node's user";
                let group = Group::with_title(Level::ERROR.primary_title(title));
                renderer.render(&[group.element(Level::HELP.message(help))])
            }
            ConfigError::Invalid { path, text, problems } => {
                let path = path.as_ref().map(|path| path.display().to_string());
                let shown =
                    problems.iter().map(|problem| renderer.render(&[group(problem, path.as_deref(), text)]));
                shown.collect::<Vec<_>>().join("\n\n")
            }
        }
    }

    /// Each problem as one line: `file:line:column: what; what to do`.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            ConfigError::Unreadable { path, source } => vec![format!("{}: {source}", path.display())],
            ConfigError::Invalid { path, text, problems } => {
                let file = path.as_ref().map(|path| path.display().to_string());
                problems.iter().map(|problem| line(problem, file.as_deref(), text)).collect()
            }
        }
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for ConfigError {}

fn group<'a>(problem: &'a Problem, path: Option<&'a str>, text: &'a str) -> Group<'a> {
    let title = Level::ERROR.primary_title(&*problem.title);
    let mut group = match &problem.place {
        Some((place, label)) => {
            let annotation = AnnotationKind::Primary.span(place.clone()).label(label.as_str());
            title.element(Snippet::source(text).path(path).annotation(annotation))
        }
        None => match path {
            Some(path) => title.element(Origin::path(path)),
            None => Group::with_title(title),
        },
    };
    if !problem.help.is_empty() {
        group = group.element(Level::HELP.message(&*problem.help));
    }
    group
}

fn line(problem: &Problem, file: Option<&str>, text: &str) -> String {
    let mut line = String::new();
    match (file, &problem.place) {
        (Some(file), Some((place, _))) => {
            let (row, column) = row_and_column(text, place.start);
            line.push_str(&format!("{file}:{row}:{column}: "));
        }
        (Some(file), None) => line.push_str(&format!("{file}: ")),
        (None, _) => {}
    }
    line + &problem.to_string()
}

/// Counted from 1, columns in characters.
fn row_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let row = before.matches('\n').count() + 1;
    let line = before.rsplit('\n').next().unwrap_or("");
    (row, line.chars().count() + 1)
}
