//! Networks of clients that ask for the same again and again.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use starling_tests::message::Message;
use starling_tests::name::Name;
use starling_tests::query::{Edns, Query};
use starling_tests::server::own_socket_address;
use starling_tests::{client, http, openmetrics};

use crate::node::{Node, Site, TYPE_A, TYPE_SOA, small_zone};

const TC: u16 = 0x0200;
/// How long an answer may take that comes, and one that is waited for and does not.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
const SILENT_FOR: Duration = Duration::from_millis(300);
/// Queries in each row, and how many of them are answered at once.
const ROW: usize = 40;
const BURST: usize = 10;

/// A client at an address of its own, asking one after the other.
struct Asker(UdpSocket);

/// How the queries of a row were answered.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    whole: usize,
    shortened: usize,
    silent: usize,
}

impl Asker {
    fn new(address: &str, node: &Node) -> Result<Self> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.connect(node.address())?;
        Ok(Self(socket))
    }

    fn ask(&self, query: &[u8], within: Duration) -> Result<Option<Message>> {
        self.0.send(query)?;
        self.0.set_read_timeout(Some(within))?;
        let mut buffer = [0; 4096];
        let Ok(len) = self.0.recv(&mut buffer) else { return Ok(None) };
        let message = Message::decode(&buffer[..len])?;
        if message.flags & TC != 0 {
            let count = message.answer.len() + message.authority.len() + message.additional.len();
            ensure!(len <= query.len() && count == 0, "{len} octets for {}: {message}", query.len());
            ensure!(message.opt.is_some() == (query[11] == 1), "{message}");
        }
        Ok(Some(message))
    }

    /// Asks for the names one after the other; what came over the limit may have had its turn again meanwhile.
    fn row(&self, names: impl Iterator<Item = String>, rtype: u16, within: Duration) -> Result<Row> {
        let mut row = Row { whole: 0, shortened: 0, silent: 0 };
        let start = Instant::now();
        for name in names {
            let query = Query::new(Name::parse(&name)?, rtype).with_edns(Edns::size(1232)).bytes(7);
            match self.ask(&query, within)? {
                None => row.silent += 1,
                Some(message) if message.flags & TC != 0 => row.shortened += 1,
                Some(_) => row.whole += 1,
            }
        }
        let again = start.elapsed().as_secs() as usize + 1;
        if row.whole > BURST && row.whole <= BURST + again {
            let late = row.whole - BURST;
            row.whole = BURST;
            *(if row.shortened > 0 { &mut row.shortened } else { &mut row.silent }) += late;
        }
        Ok(row)
    }
}

const ALL: Row = Row { whole: ROW, shortened: 0, silent: 0 };
const LIMITED: Row = Row { whole: BURST, shortened: ROW - BURST, silent: 0 };

fn same(name: &str) -> impl Iterator<Item = String> {
    std::iter::repeat_n(name.to_owned(), ROW)
}

fn different(suffix: &str) -> impl Iterator<Item = String> {
    (0..ROW).map(move |number| format!("n{number}.{suffix}"))
}

/// Replaces what the configuration says of the limit.
fn limit(site: &Site, lines: &str) -> Result<()> {
    let file = site.path("node.toml");
    let text = std::fs::read_to_string(&file)?;
    let before = text.split("[rate-limit]").next().unwrap_or_default();
    let section = if lines.is_empty() { String::new() } else { format!("[rate-limit]\n{lines}\n") };
    Ok(std::fs::write(file, format!("{before}{section}"))?)
}

#[test]
fn a_network_that_asks_for_the_same_is_told_to_come_over_tcp() -> Result<()> {
    let zone = tempfile::NamedTempFile::new()?;
    let names = (0..ROW).map(|number| format!("n{number} A 192.0.2.7\n")).collect::<String>();
    let more = format!("{names}*.wild TXT \"{}\"\nsub NS ns.sub\nns.sub A 192.0.2.53\n", "x".repeat(200));
    std::fs::write(zone.path(), small_zone(1, &more))?;
    let management = own_socket_address()?;
    let site = Site::new(&[("small.example", zone.path())], "workers = 2")?;
    let file = site.path("node.toml");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(file, format!("{text}\n[management]\nlisten = [\"{management}\"]\n"))?;
    limit(&site, "responses-per-s = 1\nburst = 10\nexempt = [\"127.0.77.0/24\"]")?;
    let node = site.start()?;
    let asker = Asker::new("127.0.1.1", &node)?;
    for (what, row, expected) in [
        ("one name", asker.row(same("www.small.example."), TYPE_A, ANSWERED_WITHIN)?, LIMITED),
        ("names", asker.row(different("small.example."), TYPE_A, ANSWERED_WITHIN)?, ALL),
        ("no names", asker.row(different("none.small.example."), TYPE_A, ANSWERED_WITHIN)?, LIMITED),
        ("a wildcard", asker.row(different("wild.small.example."), 16, ANSWERED_WITHIN)?, LIMITED),
        ("below a delegation", asker.row(different("sub.small.example."), TYPE_A, ANSWERED_WITHIN)?, LIMITED),
        ("outside", asker.row(different("other.example."), TYPE_A, ANSWERED_WITHIN)?, LIMITED),
    ] {
        ensure!(row == expected, "{what}: {row:?}");
    }
    // Who is in another network has what he asks for, and so has who comes over TCP, or is not limited.
    let neighbour = Asker::new("127.0.1.200", &node)?;
    let www = Query::new(Name::parse("www.small.example.")?, TYPE_A).bytes(9);
    let shortened = neighbour.ask(&www, ANSWERED_WITHIN)?.context("an answer")?;
    ensure!(shortened.flags & TC != 0, "{shortened}");
    let other = Asker::new("127.0.2.1", &node)?.ask(&www, ANSWERED_WITHIN)?.context("an answer")?;
    ensure!(other.flags & TC == 0 && other.answer.len() == 1, "{other}");
    let row = Asker::new("127.0.77.1", &node)?.row(same("www.small.example."), TYPE_A, ANSWERED_WITHIN)?;
    ensure!(row == ALL, "{row:?}");
    let answer = client::tcp(node.address(), &[www])?.pop().flatten().context("no answer over TCP")?;
    ensure!(Message::decode(&answer)?.answer.len() == 1);
    let dig = Asker::new("127.0.1.1", &node)?.row(same("small.example."), TYPE_SOA, ANSWERED_WITHIN)?;
    ensure!(dig == LIMITED, "{dig:?}");
    let samples = openmetrics::read(&http::get(management, "/metrics")?.body)?;
    let limited = samples["starling_udp_limited_total{action=\"shortened\"}"] as usize;
    // Two or three have had their turn again.
    ensure!((6 * (ROW - BURST) - 20..=6 * (ROW - BURST) + 1).contains(&limited), "{limited}");

    // A reload changes it, and takes it away.
    limit(&site, "responses-per-s = 1\nburst = 10\nslip = 0")?;
    ensure!(node.ctl(&["reload"])?.status.success());
    let asker = Asker::new("127.0.3.1", &node)?;
    let row = asker.row(same("www.small.example.").take(BURST + 3), TYPE_A, SILENT_FOR)?;
    ensure!(row == Row { whole: BURST, shortened: 0, silent: 3 }, "{row:?}");
    let samples = openmetrics::read(&http::get(management, "/metrics")?.body)?;
    ensure!(samples["starling_drops_total{cause=\"limited\"}"] >= 2.0, "{samples:?}");
    limit(&site, "")?;
    ensure!(node.ctl(&["reload"])?.status.success());
    let row = asker.row(same("www.small.example."), TYPE_A, ANSWERED_WITHIN)?;
    ensure!(row == ALL, "{row:?}");
    Ok(())
}
