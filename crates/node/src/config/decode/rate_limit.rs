//! What `[rate-limit]` says.

use super::super::problem::Problem;
use super::transfer::prefix;
use super::{Section, wrong_type};
use ipnet::IpNet;
use nameserver::{BURST_MAX_S, EXEMPT_MAX, RESPONSES_PER_S_MAX, RateLimit};

/// Of how many seconds the burst is where nothing is said.
const BURST_S: u32 = 2;
/// A site of IPv4, and of IPv6 what one client may have.
const PREFIX_LENS: [u8; 2] = [24, 56];
const EXEMPT: &str = "write addresses and prefixes, such as `exempt = [\"192.0.2.0/24\", \"2001:db8::53\"]`";

/// Decodes it.
pub(super) fn rate_limit(mut section: Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<RateLimit> {
    let most = u64::from(RESPONSES_PER_S_MAX);
    let responses_per_s = section.integer("responses-per-s", 1..=most, problems);
    if !section.has("responses-per-s") {
        let help = "add `responses-per-s = 200`, or take the section out";
        let title = "[rate-limit] has no `responses-per-s`";
        problems.push(Problem::at(section.place(), title, "in this section", help));
    }
    let per_s = responses_per_s.unwrap_or(most);
    let burst = section.integer("burst", 1..=per_s * u64::from(BURST_MAX_S), problems);
    let slip = section.integer("slip", 0..=100, problems).unwrap_or(1);
    let mut bits = |key, default: u8, range| {
        section.integer(key, range, problems).map_or(default, |bits| bits as u8) // at most 64
    };
    let [ipv4, ipv6] = PREFIX_LENS;
    let prefix_lens = [bits("ipv4-prefix", ipv4, 8..=32), bits("ipv6-prefix", ipv6, 16..=64)];
    let exempt = exempt(&mut section, problems);
    section.finish(problems);
    Some(RateLimit {
        responses_per_s: responses_per_s? as u32, // at most `RESPONSES_PER_S_MAX`
        burst: burst.map_or(per_s as u32 * BURST_S, |burst| burst as u32), // at most a minute's
        slip: slip as u32,                        // at most 100
        prefix_lens,
        exempt: exempt.iter().map(|network| (network.network(), network.prefix_len())).collect(),
    })
}

fn exempt(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Vec<IpNet> {
    let Some(value) = section.take("exempt") else { return Vec::new() };
    let Some(items) = value.get_ref().as_array().filter(|items| items.len() <= EXEMPT_MAX) else {
        problems.push(wrong_type(value, "exempt", "a list of at most 256", EXEMPT));
        return Vec::new();
    };
    let mut networks = Vec::new();
    for item in items.iter() {
        match item.get_ref().as_str().map(prefix) {
            Some(Ok(network)) => networks.push(network),
            Some(Err(help)) => {
                // What else a prefix is for says more than there may be here.
                let help = if help.starts_with("bits") { help } else { EXEMPT.to_owned() };
                problems.push(Problem::at(item.span(), "this is no network", "this text", help));
            }
            None => problems.push(wrong_type(item, "a network", "text", EXEMPT)),
        }
    }
    networks
}
