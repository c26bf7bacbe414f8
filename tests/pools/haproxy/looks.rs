//! How many looks in a row change what is known, and what a good look is.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use starling_tests::server::own_address;
use starling_tests::tools;

use super::{HaProxy, Turns, known};
use crate::endpoint::{Endpoint, Manner, addresses};
use crate::node::{Node, SEEN_WITHIN, pool};

/// A check here and there, what its looks find, and what follows from each: `u` is up, `d` down, `?` unknown.
///
/// A letter for a look: `p` is a page with status 200; bad are `f`, with 500, `n`, with 404, `b`, something that is no HTTP, `c`, a
/// connection that is closed without an answer, and `x`, one that is reset. `2` is a page with status 204, `3` one with 302.
struct Case {
    rise: u32,
    fall: u32,
    /// What a good page has there, if it is said, and the key for that here.
    expect: &'static str,
    status: &'static str,
    /// Further words of the server there.
    of_server: &'static str,
    looks: String,
    theirs: String,
    ours: String,
}

/// Rows of which both make the same once they have found the endpoint good: (rise, fall, looks, standing after each).
const ALIKE: &[(u32, u32, &str, &str)] = &[
    // "considered as dead after <count> consecutive unsuccessful health checks"
    (2, 3, "fff", "uud"),
    (2, 1, "f", "d"),
    (2, 3, "ffpfff", "uuuuud"),
    (1, 3, "fpfpffpffpfff", "uuuuuuuuuuuud"),
    // "considered as operational after <count> consecutive successful health checks"
    (2, 3, "fffpp", "uuddu"),
    (2, 3, "fffpfpp", "uuddddu"),
    (3, 2, "ffppfppp", "uddddddu"),
    (1, 3, "fffpf", "uuduu"),
    (1, 1, "fpfpfp", "dududu"),
    (3, 1, "fppfppp", "ddddddu"),
    // However it is bad.
    (1, 1, "npbpcpxp", "dudududu"),
    (2, 4, "nbcx", "uuud"),
    // With `http-check expect status 200`, as with our default, nothing else is good.
    (1, 1, "2p3p", "dudu"),
];

/// Rows from the start, where we differ: a server there is up until something is bad, and one bad look is enough as long as it
/// was never good. We answer with nothing that was not seen to be good, and the same numbers hold from the start.
/// (rise, fall, looks, theirs, ours)
const STARTS: &[(u32, u32, &str, &str, &str)] = &[
    (2, 3, "pp", "uu", "?u"),
    (1, 3, "p", "u", "u"),
    (2, 3, "fff", "ddd", "??d"),
    (2, 1, "f", "d", "d"),
    (2, 3, "fpp", "ddu", "??u"),
    (2, 2, "fpfp", "dddd", "????"),
    (3, 3, "pfff", "uuud", "???d"),
];

/// Which pages are good is said there, as it is our default.
const OK_ALONE: &str = "http-check expect status 200";
/// Pages by their status: (what is expected there, the key here, looks, theirs, ours), with a look for each change.
const PAGES: &[(&str, &str, &str, &str, &str)] = &[
    // "responses 2xx and 3xx are considered valid" (4.2, option httpchk): we differ, as a redirect shows nothing of what it leads
    // to.
    ("", "", "p2p3pnp", "uuuuudu", "udududu"),
    ("", ", status = [200, 204, 302]", "p2p3pnp", "uuuuudu", "uuuuudu"),
    ("http-check expect status 204", ", status = 204", "2p2", "udu", "udu"),
];

/// What a row of looks comes to once an endpoint was found good.
fn by_rows(rise: u32, fall: u32, looks: &str) -> String {
    let (mut is_up, mut row) = (true, 0);
    let standing = |look| {
        let is_good = look == 'p';
        row = if is_good == is_up { 0 } else { row + 1 };
        if row >= if is_up { fall } else { rise } {
            (is_up, row) = (is_good, 0);
        }
        if is_up { 'u' } else { 'd' }
    };
    looks.chars().map(standing).collect()
}

fn cases() -> Vec<Case> {
    let from_good = |rise: u32, fall: u32, of_server, looks: &str, standings: &str| {
        let before = rise as usize;
        Case {
            rise,
            fall,
            expect: OK_ALONE,
            status: "",
            of_server,
            looks: "p".repeat(before) + looks,
            theirs: "u".repeat(before) + standings,
            ours: "?".repeat(before - 1) + "u" + standings,
        }
    };
    let mut cases = Vec::new();
    for (rise, fall, looks, standings) in ALIKE {
        cases.push(from_good(*rise, *fall, "", looks, standings));
    }
    // Intervals that depend on the state are HAProxy's alone. They say when it looks, and not how often it takes.
    for (rise, fall, looks, standings) in &ALIKE[..8] {
        cases.push(from_good(*rise, *fall, "fastinter 150ms downinter 300ms", looks, standings));
    }
    for (rise, fall, looks, theirs, ours) in STARTS {
        let [looks, theirs, ours] = [looks, theirs, ours].map(|text| (*text).to_owned());
        cases.push(Case {
            rise: *rise,
            fall: *fall,
            expect: OK_ALONE,
            status: "",
            of_server: "",
            looks,
            theirs,
            ours,
        });
    }
    for (expect, status, looks, theirs, ours) in PAGES {
        let [looks, theirs, ours] = [looks, theirs, ours].map(|text| (*text).to_owned());
        cases.push(Case { rise: 1, fall: 1, expect, status, of_server: "", looks, theirs, ours });
    }
    let mut random = fastrand::Rng::with_seed(0x5eed);
    for (rise, fall) in (1..=3).flat_map(|rise| (1..=3).map(move |fall| (rise, fall))) {
        let looks: String = (0..16).map(|_| if random.bool() { 'p' } else { 'f' }).collect();
        cases.push(from_good(rise, fall, "", &looks, &by_rows(rise, fall, &looks)));
    }
    cases
}

/// Lets a look find this.
fn find(mut look: TcpStream, what: char) -> Result<()> {
    if what == 'x' {
        // What was asked is not read: the kernel resets the connection.
        return Ok(());
    }
    let mut request = Vec::new();
    let mut some = [0; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let len = look.read(&mut some)?;
        ensure!(len > 0, "no whole request: {}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&some[..len]);
    }
    let page = |status: &str| format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
    let said = match what {
        'p' => page("200"),
        'f' => page("500"),
        'n' => page("404"),
        '2' => "HTTP/1.1 204 Said\r\n\r\n".to_owned(),
        '3' => page("302"),
        'b' => "220 mail.example ESMTP\r\n".to_owned(),
        _ => String::new(),
    };
    Ok(look.write_all(said.as_bytes())?)
}

#[test]
fn so_many_looks_in_a_row_count_as_they_do_for_haproxy() -> Result<()> {
    let cases = cases();
    let [endpoints, them, us] = [(); 3].map(|()| own_address());
    let turns: Vec<Turns> = cases.iter().map(|_| Turns::start(endpoints)).collect::<Result<_>>()?;
    let (mut backends, mut pools) = (String::new(), String::new());
    for (index, (case, turns)) in cases.iter().zip(&turns).enumerate() {
        let Case { rise, fall, expect, status, of_server, .. } = case;
        backends += &format!(
            "backend p{index}\n  source {them}\n  option httpchk GET /\n  {expect}\n  server e0 {} check inter \
             200ms rise {rise} fall {fall} {of_server}\n",
            turns.at
        );
        let check = format!(
            "check = {{ kind = \"http\", port = {}, source = \"{us}\", interval-ms = 20, timeout-ms = 600000, rise = {rise}, fall \
             = {fall}{status} }}",
            turns.at.port()
        );
        pools += &pool(&format!("p{index}"), &format!("\"p{index}.example.com\""), &check, &[(endpoints, 1)]);
    }
    let haproxy = HaProxy::start(600_000, &backends)?;
    let node = Node::running(&pools)?;
    let mut found: Vec<[String; 2]> = vec![Default::default(); cases.len()];
    let most = cases.iter().map(|case| case.looks.len()).max().context("cases")?;
    for step in 0..=most {
        let going_on =
            || cases.iter().zip(&turns).enumerate().filter(|(_, (case, _))| case.looks.len() >= step);
        // Before the first look there is nothing to be compared but what each begins with.
        let looks: Vec<[TcpStream; 2]> = going_on()
            .map(|(_, (_, turns))| Ok([turns.next(them)?, turns.next(us)?]))
            .collect::<Result<_>>()?;
        let theirs = haproxy.servers()?;
        // What is shown here may be a moment older, and then of fewer looks.
        let ours = tools::poll("all looks are shown", SEEN_WITHIN, || {
            let ours = known(&node)?;
            let is_shown = |index| ours[&format!("p{index}")]["runs"].as_u64() == Some(step as u64);
            let are_shown = going_on().all(|(index, _)| is_shown(index));
            Ok(are_shown.then_some(ours))
        })?;
        for ((index, (case, _)), looks) in going_on().zip(looks) {
            let (server, endpoint) = (&theirs[&format!("p{index}/e0")], &ours[&format!("p{index}")]);
            let is_known = endpoint["health"].as_str().context("health")?;
            let standings = [
                if server.is_up { "u" } else { "d" },
                if is_known == "unknown" { "?" } else { &is_known[..1] },
            ];
            if step == 0 {
                ensure!(standings == ["u", "?"], "p{index} begins as {standings:?}");
            } else {
                found[index].iter_mut().zip(standings).for_each(|(found, standing)| found.push_str(standing));
            }
            let Some(what) = case.looks[step.min(case.looks.len())..].chars().next() else { continue };
            looks.into_iter().try_for_each(|look| find(look, what))?;
        }
    }
    for (case, found) in cases.iter().zip(&found) {
        let Case { rise, fall, expect, status, of_server, looks, theirs, ours } = case;
        let what = format!("rise {rise} fall {fall} {of_server} ({expect}{status}): {looks}");
        ensure!(found[0] == *theirs, "HAProxy, {what}: {} and not {theirs}", found[0]);
        ensure!(found[1] == *ours, "starling, {what}: {} and not {ours}", found[1]);
    }
    let looks: usize = cases.iter().map(|case| case.looks.len()).sum();
    println!("{} rows of {looks} looks", cases.len());
    Ok(())
}

#[test]
fn what_is_gone_or_hangs_is_down_for_both_until_it_is_back() -> Result<()> {
    let ([address], port) = addresses()?;
    let server = format!("server e0 {address}:{port} check inter 50ms rise 2 fall 3\n");
    let backends =
        format!("backend tcp\n  mode tcp\n  {server}backend http\n  option httpchk GET /\n  {server}");
    let times = format!("port = {port}, interval-ms = 50, timeout-ms = 500, rise = 2, fall = 3");
    let of_kind = |kind: &str| {
        let check = format!("check = {{ kind = \"{kind}\", {times} }}");
        pool(kind, &format!("\"{kind}.example.com\""), &check, &[(address, 1)])
    };
    let haproxy = HaProxy::start(500, &backends)?;
    let node = Node::running(&[of_kind("tcp"), of_kind("http")].concat())?;
    // Whether one that only connects, and one that asks for a page, find it good.
    let are = |tcp: bool, http: bool, why: &str| {
        let now = || -> Result<[[bool; 2]; 2]> {
            let (theirs, ours) = (haproxy.servers()?, known(&node)?);
            Ok(["tcp", "http"]
                .map(|kind| [theirs[&format!("{kind}/e0")].is_up, ours[kind]["health"] == "up"]))
        };
        tools::poll(why, SEEN_WITHIN, || Ok((now()? == [[tcp; 2], [http; 2]]).then_some(())))
            .with_context(|| format!("{:?} of tcp and http by HAProxy and us\n{}", now(), node.log()))
    };
    are(false, false, "nobody is there")?;
    for _ in 0..3 {
        let endpoint = Endpoint::start(address, port)?;
        are(true, true, "it is back")?;
        for (manner, why) in [
            (Manner::Hangs, "it says nothing"),
            (Manner::Babbles, "it says what is no page"),
            (Manner::Answers(503, "out of order".to_owned()), "it says that it does not work"),
        ] {
            endpoint.set(manner);
            are(true, false, why)?;
            endpoint.set(Manner::good());
            are(true, true, "it answers again")?;
        }
        drop(endpoint);
        are(false, false, "it is gone")?;
    }
    Ok(())
}
