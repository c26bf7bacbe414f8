//! Decodes checks over HTTP.

use super::super::super::probe::{HttpProbe, HttpVersion, Method, Probe};
use super::super::super::problem::Problem;
use super::super::pool::texts;
use super::super::{Section, Value};
use super::{Around, TEXT_MAX, host, text, trust};
use hyper::header::HeaderName;

/// The most status codes that are good.
const STATUSES_MAX: usize = 16;
/// The most fields of a head that are looked at.
const HEADERS_MAX: usize = 16;

/// Whether it is over TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    ClearText,
    Tls,
}

pub(super) fn http(
    section: &mut Section<'_, '_>,
    over: Over,
    around: &mut Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Probe> {
    let before = problems.len();
    let host = host(section, problems);
    let is_path = |text: &str| {
        text.starts_with('/')
            && text.bytes().all(|octet| octet.is_ascii_graphic())
            && text.parse::<hyper::Uri>().is_ok()
    };
    let path = text(section, "path", is_path, "write a path, as `path = \"/health\"`", problems);
    let contains = text(section, "contains", |_| true, "write 1 to 1,024 octets of text", problems);
    let statuses = section.take("status").map(|value| statuses(value, problems));
    let headers = section.take("header").map(|value| headers(value, problems)).unwrap_or_default();
    let methods = [("GET", Method::Get), ("HEAD", Method::Head)];
    let method = section.choice("method", "method of these checks", &methods, problems);
    let method = method.unwrap_or(Method::Get);
    let versions = [("1.1", HttpVersion::One), ("2", HttpVersion::Two)];
    let version = section.choice("http-version", "version of HTTP here", &versions, problems);
    let version = version.unwrap_or(HttpVersion::One);
    if method == Method::Head
        && let Some(place) = section.place_of("contains")
    {
        let title = "an answer to HEAD has no body that could contain anything";
        problems.push(Problem::at(place, title, "this", "remove it, or ask with GET"));
    }
    let alpn: &[u8] = if version == HttpVersion::Two { b"h2" } else { b"http/1.1" };
    let tls = match over {
        Over::ClearText => None,
        Over::Tls => Some(trust::tls(section, host.as_deref(), &[alpn], around, problems)?),
    };
    let path = path.unwrap_or_else(|| "/".to_owned());
    let statuses = statuses.unwrap_or(vec![200]);
    let probe = HttpProbe { version, method, host, path, statuses, headers, contains, tls };
    (problems.len() == before).then(|| Probe::Http(Box::new(probe)))
}

fn headers(value: &Value<'_>, problems: &mut Vec<Problem>) -> Vec<(HeaderName, Option<String>)> {
    const EXAMPLE: &str = "header = [\"x-health: ok\", \"etag\"]";
    let mut headers = Vec::new();
    for (text, place) in texts(value, "header", HEADERS_MAX, EXAMPLE, problems) {
        let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value)));
        let value = value.map(|value| value.trim().to_owned());
        match HeaderName::from_bytes(name.trim().as_bytes()) {
            Ok(name) if text.len() <= TEXT_MAX => headers.push((name, value)),
            _ => {
                let title = format!("`{text}` is no field of a head");
                let help = format!("write `{EXAMPLE}`: a field with its value, or its name alone");
                problems.push(Problem::at(place, title, "this field", help));
            }
        }
    }
    headers
}

fn statuses(value: &Value<'_>, problems: &mut Vec<Problem>) -> Vec<u16> {
    const HELP: &str = "write `status = 200`, or a list as `status = [200, 204]`";
    let items: Vec<&Value<'_>> = match value.get_ref().as_array() {
        Some(items) => items.iter().take(STATUSES_MAX + 1).collect(),
        None => vec![value],
    };
    let code = |item: &&Value<'_>| {
        let code: u16 = item.get_ref().as_integer()?.as_str().parse().ok()?;
        (100..=599).contains(&code).then_some(code)
    };
    match items.iter().map(code).collect::<Option<Vec<u16>>>() {
        Some(codes) if !codes.is_empty() && codes.len() <= STATUSES_MAX => codes,
        _ => {
            let title = format!("`status` is 1 to {STATUSES_MAX} codes from 100 to 599");
            problems.push(Problem::at(value.span(), title, "this", HELP));
            Vec::new()
        }
    }
}
