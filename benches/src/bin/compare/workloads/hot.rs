//! Ten records, and one query for one of them.

use super::{Plan, TYPE_A, Version, head};

const APEX: &str = "bench.";

pub(super) fn plan() -> Plan {
    let text = |version| {
        head(version) + "www IN A 192.0.2.80\n@ IN MX 10 mail\nmail IN A 192.0.2.25\nftp IN CNAME www\n"
    };
    Plan {
        zones: vec![(APEX.to_owned(), text(Version::Before))],
        after: Some(text(Version::After)),
        queries: vec![(format!("www.{APEX}"), TYPE_A)],
        signed: None,
    }
}
