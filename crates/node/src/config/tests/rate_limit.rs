//! Rate limits in the configuration.

use super::{decoded, lines};

#[test]
fn a_rate_limit_has_a_rate() {
    assert_eq!(decoded("").unwrap().rate_limit, None);
    let rate_limit = |text: &str| decoded(&format!("[rate-limit]\n{text}")).unwrap().rate_limit.unwrap();
    let least = rate_limit("responses-per-s = 200");
    assert_eq!((least.responses_per_s, least.burst, least.slip), (200, 400, 1));
    assert_eq!((least.prefix_lens, &least.exempt[..]), ([24, 56], &[][..]));
    let all = rate_limit(
        "responses-per-s = 5\nburst = 300\nslip = 0\nipv4-prefix = 32\nipv6-prefix = 48\n\
         exempt = [\"192.0.2.0/24\", \"2001:db8::53\", \"::ffff:198.51.100.7\"]",
    );
    assert_eq!((all.burst, all.slip, all.prefix_lens), (300, 0, [32, 48]));
    let exempt: Vec<String> = all.exempt.iter().map(|(address, len)| format!("{address}/{len}")).collect();
    assert_eq!(exempt, ["192.0.2.0/24", "2001:db8::53/128", "198.51.100.7/32"]);
}

#[test]
fn a_bad_rate_limit_is_told() {
    for (text, title) in [
        ("", "[rate-limit] has no `responses-per-s`"),
        ("responses-per-s = 0", "`responses-per-s` is out of range"),
        ("responses-per-s = 100001", "`responses-per-s` is out of range"),
        ("responses-per-s = 10\nburst = 601", "`burst` is out of range"),
        ("responses-per-s = 10\nslip = 101", "`slip` is out of range"),
        ("responses-per-s = 10\nipv6-prefix = 65", "`ipv6-prefix` is out of range"),
        ("responses-per-s = 10\nexempt = \"192.0.2.1\"", "exempt must be a list"),
        ("responses-per-s = 10\nexempt = [\"192.0.2.1/24\"]", "this is no network"),
        ("responses-per-s = 10\nexempt = [\"resolver.example\"]", "this is no network"),
        ("responses-per-s = 10\nexempt = [7]", "a network must be text"),
        ("responses-per-second = 10", "unknown key `responses-per-second`"),
    ] {
        let said = lines(&format!("[rate-limit]\n{text}"));
        assert!(said.iter().any(|line| line.contains(title)), "{text}: {said:?}");
    }
}
