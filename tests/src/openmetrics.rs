//! A strict reader of OpenMetrics text, of the part of it that Starling writes.
//!
//! Stricter than scrapers are: every family has HELP and TYPE and stands once, every series too, and names follow the
//! conventions (`starling_`, base units, `_total` for counters).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// What the text is called in an answer's content type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Ends of names that OpenMetrics gives a meaning, so that no family's own name may have them.
const RESERVED: [&str; 7] = ["_total", "_created", "_count", "_sum", "_bucket", "_info", "_gsum"];
/// Units that have a base unit to be used instead.
const NO_BASE_UNITS: [&str; 6] = ["_ms", "_us", "_milliseconds", "_microseconds", "_minutes", "_octets"];

/// The values by series, such as `starling_zones{state="ok"}`.
pub type Samples = BTreeMap<String, f64>;

/// A metric family while its samples are read.
struct Family {
    name: String,
    kind: String,
    /// Of a histogram, the labels that the last bucket had beside its bound, and its value.
    bucket: Option<(String, f64)>,
}

/// Reads a whole exposition.
pub fn read(text: &str) -> Result<Samples> {
    let body = text.strip_suffix("# EOF\n").context("it does not end with `# EOF`")?;
    let mut samples = Samples::new();
    let mut names = BTreeSet::new();
    let mut family: Option<Family> = None;
    let mut lines = body.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let read = header(help, lines.next())?;
            ensure!(names.insert(read.name.clone()), "{} stands twice", read.name);
            family = Some(read);
            continue;
        }
        ensure!(!line.starts_with('#') && !line.is_empty(), "neither HELP nor a sample: {line}");
        let family = family.as_mut().with_context(|| format!("of no family: {line}"))?;
        let (series, value) = sample(line, family).with_context(|| line.to_owned())?;
        ensure!(samples.insert(series, value).is_none(), "the series stands twice: {line}");
    }
    Ok(samples)
}

fn header(help: &str, type_line: Option<&str>) -> Result<Family> {
    let (name, help) = help.split_once(' ').with_context(|| format!("HELP without text: {help}"))?;
    ensure!(name.starts_with("starling_") && is_name(name), "{name} is no name");
    for end in RESERVED.iter().chain(&NO_BASE_UNITS) {
        ensure!(!name.ends_with(end), "{name} must not end in {end}");
    }
    ensure!(help.ends_with('.') && help.len() > 10, "{name}: the help is no sentence: {help}");
    let kind = type_line.and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '));
    let kind = kind.with_context(|| format!("no TYPE after the HELP of {name}: {type_line:?}"))?;
    ensure!(["counter", "gauge", "info", "histogram"].contains(&kind), "{name} is of type {kind}");
    Ok(Family { name: name.to_owned(), kind: kind.to_owned(), bucket: None })
}

fn sample(line: &str, family: &mut Family) -> Result<(String, f64)> {
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let name_len = series.find('{').unwrap_or(series.len());
    let (name, labels) = series.split_at(name_len);
    let end = match family.kind.as_str() {
        "counter" => "_total",
        "info" => "_info",
        "histogram" => {
            ["_bucket", "_sum", "_count"].into_iter().find(|end| name.ends_with(end)).unwrap_or("_bucket")
        }
        _ => "",
    };
    ensure!(name.strip_suffix(end) == Some(&family.name), "not of the {} {}", family.kind, family.name);
    if !labels.is_empty() {
        check_labels(labels)?;
    }
    let value: f64 = value.parse().context("value")?;
    ensure!(value.is_finite(), "a value that is no number");
    ensure!(!["counter", "histogram"].contains(&family.kind.as_str()) || value >= 0.0, "a counter below 0");
    if end == "_bucket" {
        let (before, rest) = labels.split_once("le=\"").context("a bucket without its bound")?;
        let others = format!("{before}{}", rest.split_once('"').context("an end of the bound")?.1);
        let last = family.bucket.as_ref().filter(|(of, _)| *of == others);
        ensure!(last.is_none_or(|(_, last)| *last <= value), "a bucket that lacks what one before it has");
        family.bucket = Some((others, value));
    }
    ensure!(family.kind != "info" || value == 1.0, "an info other than 1");
    Ok((series.to_owned(), value))
}

/// `{name="value",…}` with every name once, and `\`, `"` and line breaks escaped.
fn check_labels(labels: &str) -> Result<()> {
    let mut rest = labels.strip_prefix('{').context("no `{`")?;
    let mut names = BTreeSet::new();
    loop {
        let (name, value) = rest.split_once("=\"").context("no value of a label")?;
        ensure!(is_name(name) && !name.contains(':'), "{name:?} is no label");
        ensure!(names.insert(name), "the label {name} stands twice");
        rest = &value[label_value_len(value)?..];
        match rest.strip_prefix("\",") {
            Some(more) => rest = more,
            None => break,
        }
    }
    ensure!(rest == "\"}", "after the labels: {rest:?}");
    Ok(())
}

/// How many octets a label's value has, up to its closing quote.
fn label_value_len(value: &str) -> Result<usize> {
    let mut chars = value.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok(at),
            '\\' => match chars.next() {
                Some((_, '\\' | '"' | 'n')) => {}
                other => bail!("`\\` before {other:?}"),
            },
            _ => {}
        }
    }
    bail!("a label's value without end")
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILY: &str = "# HELP starling_x Things that were counted.\n# TYPE starling_x counter\n";

    fn refused(samples: &str) -> String {
        format!("{:#}", read(&format!("{FAMILY}{samples}# EOF\n")).unwrap_err())
    }

    #[test]
    fn good_text_is_read() {
        let text =
            format!("{FAMILY}starling_x_total{{a=\"1\",b=\"\\\\\\\"}}, \"}} 7\nstarling_x_total 8\n# EOF\n");
        let samples = read(&text).unwrap();
        assert_eq!(samples["starling_x_total"], 8.0);
        assert_eq!(samples["starling_x_total{a=\"1\",b=\"\\\\\\\"}, \"}"], 7.0);
        let text = "# HELP starling_y Times of some kind.\n# TYPE starling_y histogram\nstarling_y_sum 0.5\nstarling_y_count 2\n\
                    starling_y_bucket{le=\"1.0\"} 1\nstarling_y_bucket{le=\"+Inf\"} 2\n# EOF\n";
        assert_eq!(read(text).unwrap()["starling_y_bucket{le=\"+Inf\"}"], 2.0);
    }

    #[test]
    fn bad_text_is_refused() {
        assert!(read(FAMILY).is_err(), "no end");
        assert!(refused("starling_x 1\n").contains("not of the counter"));
        assert!(refused("starling_y_total 1\n").contains("not of the counter"));
        assert!(refused("starling_x_total 1\nstarling_x_total 2\n").contains("twice"));
        assert!(refused("starling_x_total -1\n").contains("below 0"));
        assert!(refused("starling_x_total NaN\n").contains("no number"));
        assert!(refused("starling_x_total{} 1\n").contains("no value of a label"));
        assert!(refused("starling_x_total{a=\"1\",a=\"2\"} 1\n").contains("twice"));
        assert!(refused("starling_x_total{a=\"\\x\"} 1\n").contains('\\'));
        assert!(refused("starling_x_total{a=\"1\"}{b=\"1\"} 1\n").contains("after the labels"));
        assert!(refused(FAMILY).contains("stands twice"));
        assert!(refused("\n").contains("neither"));
        let buckets = "# HELP starling_y Times of some kind.\n# TYPE starling_y histogram\n";
        let refused_bucket = |samples: &str| refused(&format!("{buckets}{samples}"));
        assert!(refused_bucket("starling_y_bucket 1\n").contains("without its bound"));
        // Each series has buckets of its own.
        let two = "starling_y_bucket{le=\"1\",a=\"b\"} 2\nstarling_y_bucket{le=\"1\",a=\"c\"} 1\n";
        assert_eq!(read(&format!("{buckets}{two}# EOF\n")).unwrap().len(), 2);
        assert!(refused_bucket(&format!("{two}starling_y_bucket{{le=\"2\",a=\"c\"}} 0\n")).contains("lacks"));
        let less = "starling_y_bucket{le=\"1\"} 2\nstarling_y_bucket{le=\"+Inf\"} 1\n";
        assert!(refused_bucket(less).contains("lacks"));
        assert!(refused_bucket("starling_y 1\n").contains("not of the histogram"));
        assert!(refused("# HELP starling_y_ms Things of some kind.\n").contains("_ms"));
        assert!(refused("# HELP starling_y Things of some kind.\nstarling_y 1\n").contains("no TYPE"));
    }
}
