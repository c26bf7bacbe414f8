//! Every template is taken by `bird -p`.

use std::path::PathBuf;
use std::process::Command;

use starling_tests::tools;

/// The templates that a site copies; the other files are included by them.
pub(crate) const TEMPLATES: [&str; 5] =
    ["ebgp-one-upstream.conf", "ebgp-two-upstreams.conf", "ebgp-bfd.conf", "ibgp.conf", "protocols.conf"];

/// A file of `bird-config`.
pub(crate) fn path(file: &str) -> PathBuf {
    tools::repository().join("bird-config").join(file)
}

#[test]
fn bird_takes_each_template() {
    let bird = tools::program("bird").unwrap();
    for template in TEMPLATES {
        let output = Command::new(&bird).arg("-p").arg("-c").arg(path(template)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{template}: {said}");
    }
}

#[test]
fn each_template_says_what_must_not_be_left_to_defaults() {
    for template in TEMPLATES {
        let text = [template, "starling.conf", "learn.conf"]
            .map(|file| std::fs::read_to_string(path(file)).unwrap());
        let whole = if text[0].contains("\"learn.conf\"") { text.concat() } else { text[..2].concat() };
        assert!(text[0].contains("include \"starling.conf\""), "{template}");
        for line in [
            "watchdog timeout 5 s;",
            "hold time 9;",
            "graceful restart off;",
            "long lived graceful restart off;",
        ] {
            assert!(whole.lines().any(|found| found.trim() == line), "{template}: {line}");
        }
        let sessions = whole.matches("export filter starling_").count();
        assert!(sessions >= 2, "{template}: {sessions} channels with a filter");
        assert_eq!(whole.matches("import none;").count(), sessions, "{template}");
        assert!(!whole.contains("import all") && !whole.contains("export all"), "{template}");
    }
}

#[test]
fn what_is_learned_and_exported_is_checked_twice() {
    let text = std::fs::read_to_string(path("learn.conf")).unwrap();
    for family in ["V4", "V6"] {
        assert!(
            text.contains(&format!("import where krt_source = 153 && net ~ STARLING_{family};")),
            "{family}"
        );
    }
    let filters = text.matches("\nfilter ").count();
    assert_eq!(text.matches("if krt_source != 153 then reject;").count(), filters);
    assert_eq!(text.matches("if ! (net ~ STARLING_V4 || net ~ STARLING_V6) then reject;").count(), filters);
}

#[test]
fn every_template_is_in_the_list() {
    let mut found: Vec<String> = std::fs::read_dir(path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".conf") && !matches!(name.as_str(), "starling.conf" | "learn.conf"))
        .collect();
    found.sort();
    let mut known = TEMPLATES.to_vec();
    known.sort_unstable();
    assert_eq!(found, known);
}
