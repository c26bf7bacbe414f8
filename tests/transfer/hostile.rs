//! Primaries that are broken or lie: the version before goes on being served, and the log says why.

use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use starling_tests::client::{read_framed, write_framed};
use starling_tests::process::Process;
use transfer::tsig::{Algorithm, Key};
use wire::NameBuf;

use crate::fake::{
    Answer, Fake, Gate, REFUSED, Script, Signing, SoaReply, TYPE_A, TYPE_AXFR, TYPE_CNAME, TYPE_IXFR,
    TYPE_SOA, a, axfr, good, good_records, ixfr, ixfr_error, ns, record, soa, wire,
};
use crate::site::{KEY_NAME, SEEN_WITHIN, SERVFAIL, Seen, Site, ZONE, key_section, wait};

fn lie(answers: &[Vec<u8>]) -> Answer {
    Answer::Messages(vec![axfr(answers)])
}

#[test]
fn the_version_before_is_served_whatever_a_primary_sends_and_the_log_says_why() -> Result<()> {
    let fake = Fake::start(good(1))?;
    let site = Site::new()?;
    let node = site.start(
        &[fake.address],
        "refresh-min-s = 1\nretry-min-s = 1\ntransfer-max-bytes = 1000000\ntransfer-timeout-ms = 2000",
    )?;
    node.wait_for(Seen::served(1))?;
    let glue = || a("ns1.small.example.");
    let cut = axfr(&[soa(2), ns(), glue()]);
    let half: Vec<u8> = axfr(&[soa(2), ns(), soa(2)]).into_iter().rev().skip(9).rev().collect();
    let many: Vec<Vec<u8>> = (0..1000).map(|index| a(&format!("h{index}.small.example."))).collect();
    let lies = [
        (Answer::Messages(vec![cut]), "in the middle of the transfer"),
        (Answer::Messages(Vec::new()), "in the middle of the transfer"),
        (Answer::Messages(vec![half]), "malformed message"),
        (lie(&[soa(2), ns(), glue(), soa(3)]), "ends with another SOA record (serial 3)"),
        (lie(&[ns(), glue(), soa(2)]), "does not begin with the SOA record"),
        (lie(&[soa(2), ns(), glue(), soa(2), a("late.small.example.")]), "1 more records follow"),
        (
            lie(&[soa(2), ns(), glue(), a("www.example.org."), soa(2)]),
            "www.example.org., which is not in the zone",
        ),
        (
            lie(&[soa(2), ns(), record(ZONE, TYPE_A, &[1, 2, 3]), soa(2)]),
            "the data of small.example. A is wrong",
        ),
        (lie(&[soa(2), ns(), record(ZONE, TYPE_CNAME, &wire("x.")), soa(2)]), "what it sent is not good"),
        (Answer::Endless(axfr(&[soa(2), ns(), glue()]), axfr(&many)), "more than 1000000 octets"),
        (Answer::Silence, "nothing within 2 s"),
        (Answer::Messages(vec![vec![0; 3]]), "malformed message"),
    ];
    for ((zone, why), serial) in lies.into_iter().zip(2..) {
        let before = node.process.log().matches(why).count();
        // Each with a serial of its own to the question for it: what is no good is not transferred again.
        fake.play(Script { serial, zone, ..good(serial) });
        node.wait_for_more_log(why, before).with_context(|| why.to_owned())?;
        ensure!(node.seen()? == Seen::served(1), "{why}");
    }
    let failure = node.zone()?["copy"]["failure"].clone();
    ensure!(failure.as_str().is_some_and(|text| text.contains(&fake.address.to_string())), "{failure}");
    fake.play(good(99));
    node.wait_for(Seen::served(99))?;
    wait(|| node.zone(), |zone| zone["state"] == "ok" && zone["copy"]["failure"].is_null())
}

#[test]
fn a_primary_that_goes_back_is_followed_only_by_hand() -> Result<()> {
    let fake = Fake::start(good(9))?;
    let site = Site::new()?;
    let node = site.start(&[fake.address], "refresh-min-s = 1\nretry-min-s = 1")?;
    node.wait_for(Seen::served(9))?;
    fake.play(good(3));
    node.wait_for_log("its primaries have older versions than 9")?;
    ensure!(node.seen()? == Seen::served(9));
    let output = node.ctl(&["retransfer", ZONE])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(node.seen()? == Seen::served(3), "`retransfer` returns when the zone is served");
    Ok(())
}

#[test]
fn a_notify_is_heard_from_those_who_may_and_over_both_transports() -> Result<()> {
    let fake = Fake::start(good(1))?;
    let site = Site::new()?;
    // Without NOTIFY nothing would be asked for an hour.
    let node = site.start(&[fake.address], "refresh-min-s = 3600")?;
    node.wait_for(Seen::served(1))?;
    let notify = [&[0x12, 0x34, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &wire(ZONE), &[0, 6, 0, 1]].concat();
    let response = |rcode: u8| {
        let mut response = notify.clone();
        (response[2], response[3]) = (0xa4, rcode);
        response
    };
    fake.play(good(2));
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(SEEN_WITHIN))?;
    let over_udp = |request: &[u8]| -> Result<Vec<u8>> {
        let mut buffer = [0; 512];
        socket.send_to(request, node.address)?;
        let len = socket.recv(&mut buffer)?;
        Ok(buffer[..len].to_vec())
    };
    ensure!(over_udp(&notify)? == response(0));
    node.wait_for(Seen::served(2))?;
    fake.play(good(3));
    let mut stream = TcpStream::connect(node.address)?;
    stream.set_read_timeout(Some(SEEN_WITHIN))?;
    write_framed(&mut stream, &notify)?;
    ensure!(read_framed(&mut stream)?.as_deref() == Some(&response(0)[..]));
    node.wait_for(Seen::served(3))?;
    // Of a zone that is none here, and from nobody who may.
    let mut other = notify.clone();
    other[13] = b'x';
    let answer = over_udp(&other)?;
    ensure!(answer[3] == 9, "NOTAUTH: {answer:?}");
    site.configure(&[fake.address], "refresh-min-s = 3600\nnotify-from = []")?;
    ensure!(node.ctl(&["reload"])?.status.success());
    wait(|| over_udp(&notify), |answer| *answer == response(5))?;
    let status = String::from_utf8(node.ctl(&["status", "--json"])?.stdout)?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let copies = &status["copies"];
    ensure!(
        copies["notifies"].as_u64() >= Some(2) && copies["notifies-refused"].as_u64() >= Some(2),
        "{copies}"
    );
    Ok(())
}

/// What differences hold between their first and their last SOA record.
fn changes(serial: u32, records: &[Vec<u8>]) -> Answer {
    Answer::Messages(vec![ixfr(&[&[soa(serial)], records, &[soa(serial)]].concat())])
}

/// A primary that has the zone, and lies about what has changed in it.
fn lying(serial: u32, changes: Answer) -> Script {
    Script { changes: Some(changes), ..good(serial) }
}

#[test]
fn differences_that_lie_are_passed_over_for_the_whole_zone() -> Result<()> {
    let fake = Fake::start(good(1))?;
    let site = Site::new()?;
    let limits = "transfer-max-bytes = 1000000\ntransfer-timeout-ms = 2000";
    let node = site.start(&[fake.address], &format!("refresh-min-s = 3600\n{limits}"))?;
    node.wait_for(Seen::served(1))?;
    let other_soa = |serial: u32| {
        let mut other = soa(serial);
        let last = other.len() - 1;
        other[last] ^= 1;
        other
    };
    let many: Vec<Vec<u8>> = (0..1000).map(|index| a(&format!("h{index}.small.example."))).collect();
    type Lie = Box<dyn Fn(u32) -> Answer>;
    let lies: Vec<(Lie, &str)> = vec![
        (Box::new(|s| changes(s, &[soa(s - 2), soa(s)])), "ends with another SOA record"),
        (Box::new(|s| changes(s, &[soa(s - 1), soa(s - 1)])), "go back from serial"),
        (Box::new(|s| changes(s, &[soa(s - 1), soa(s + 1)])), "go on with serial"),
        (
            Box::new(|s| changes(s + 4, &[soa(s - 1), soa(s + 1), soa(s + 2), soa(s + 4)])),
            "go on with serial",
        ),
        (Box::new(move |s| changes(s, &[other_soa(s - 1), soa(s)])), "that is not there"),
        (Box::new(|s| changes(s, &[soa(s - 1), a("gone.small.example."), soa(s)])), "that is not there"),
        (Box::new(|s| changes(s, &[soa(s - 1), ns(), ns(), soa(s), ns()])), "that is not there"),
        (Box::new(|s| changes(s, &[soa(s - 1), soa(s), ns()])), "that is there already"),
        (
            Box::new(|s| changes(s, &[soa(s - 1), soa(s), a("x.small.example."), a("X.small.example.")])),
            "that is there already",
        ),
        (Box::new(|s| changes(s, &[soa(s - 1), soa(s), a("www.example.org.")])), "which is not in the zone"),
        (
            Box::new(|s| changes(s, &[soa(s - 1), soa(s), record(ZONE, TYPE_A, &[1, 2, 3])])),
            "the data of small.example. A is wrong",
        ),
        (
            Box::new(|s| {
                let records = [soa(s), soa(s - 1), soa(s), soa(s), a("late.small.example.")];
                Answer::Messages(vec![ixfr(&records)])
            }),
            "1 more records follow",
        ),
        (Box::new(|s| Answer::Messages(vec![ixfr(&[ns(), soa(s)])])), "does not begin with the SOA record"),
        (Box::new(|s| Answer::Messages(vec![ixfr(&[soa(s), soa(s - 1)])])), "in the middle of the transfer"),
        (Box::new(|s| Answer::Messages(vec![ixfr(&[soa(s)])])), "in the middle of the transfer"),
        (Box::new(|_| Answer::Messages(Vec::new())), "in the middle of the transfer"),
        (Box::new(|s| Answer::Messages(vec![axfr(&[soa(s), soa(s - 1), soa(s), soa(s)])])), "no response"),
        (
            Box::new(|s| {
                let mut truncated = ixfr(&[soa(s)]);
                truncated[2] |= 2;
                Answer::Messages(vec![truncated])
            }),
            "truncated message",
        ),
        (
            Box::new(move |s| Answer::Endless(ixfr(&[soa(s), soa(s - 1), soa(s)]), ixfr(&many))),
            "more than 1000000 octets",
        ),
        (Box::new(|_| ixfr_error(REFUSED)), "it answered REFUSED"),
        (Box::new(|_| Answer::Reset), "Connection reset"),
        // It doesn't delegate or alias what it should, once it is put together.
        (Box::new(|s| changes(s, &[soa(s - 1), soa(s), record(ZONE, TYPE_CNAME, &wire("x."))])), "not good"),
    ];
    for ((lie, why), serial) in lies.into_iter().zip(2..) {
        let before = node.process.log().matches(why).count();
        fake.play(lying(serial, lie(serial)));
        let output = node.ctl(&["refresh", ZONE])?;
        ensure!(output.status.success(), "{why}: {output:?}");
        ensure!(node.seen()? == Seen::served(serial), "{why}: {:?}", node.seen()?);
        node.wait_for_more_log(why, before).with_context(|| why.to_owned())?;
    }
    let asked = (fake.asked(TYPE_IXFR), fake.asked(TYPE_AXFR));
    ensure!(asked == (22, 23), "each was asked for once: {asked:?}");
    let state = node.zone()?;
    ensure!(state["state"] == "ok" && state["served"]["records"] == 3, "{state}");
    // Silence is no answer, and no reason to ask for more.
    fake.play(lying(99, Answer::Silence));
    let output = node.ctl(&["refresh", ZONE])?;
    ensure!(!output.status.success(), "{output:?}");
    ensure!(fake.asked(TYPE_AXFR) == 23, "it was asked for the whole zone");
    Ok(())
}

#[test]
fn differences_are_taken_and_so_is_everything_else_that_may_come_instead() -> Result<()> {
    let fake = Fake::start(good(1))?;
    let site = Site::new()?;
    let node = site.start(&[fake.address], "refresh-min-s = 3600")?;
    node.wait_for(Seen::served(1))?;
    let www = || a("www.small.example.");
    let answers = [
        (2, changes(2, &[soa(1), soa(2), www()]), 4),
        // Two steps, of which the second undoes the first.
        (4, changes(4, &[soa(2), www(), soa(3), a("x.small.example."), soa(3), soa(4), www()]), 5),
        (5, Answer::Messages(vec![ixfr(&good_records(5))]), 3),
        (
            6,
            Answer::Messages([soa(6), soa(5), soa(6), www(), soa(6)].map(|record| ixfr(&[record])).into()),
            4,
        ),
    ];
    for (serial, answer, records) in answers {
        fake.play(lying(serial, answer));
        let output = node.ctl(&["refresh", ZONE])?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(node.seen()? == Seen::served(serial), "{serial}: {:?}", node.seen()?);
        ensure!(node.zone()?["served"]["records"] == records, "{serial}: {}", node.zone()?);
    }
    // It said something newer when it was asked, and has nothing newer now.
    fake.play(lying(9, Answer::Messages(vec![ixfr(&[soa(6)])])));
    let output = node.ctl(&["refresh", ZONE])?;
    ensure!(output.status.success() && node.seen()? == Seen::served(6), "{output:?}");
    ensure!(fake.asked(TYPE_AXFR) == 1, "the whole zone was asked for without need");
    // By hand it is the whole zone.
    fake.play(good(6));
    ensure!(node.ctl(&["retransfer", ZONE])?.status.success());
    ensure!(node.zone()?["served"]["records"] == 3 && fake.asked(TYPE_AXFR) == 2);
    Ok(())
}

#[test]
fn what_is_no_good_is_transferred_once() -> Result<()> {
    let fake = Fake::start(good(1))?;
    let site = Site::new()?;
    let node = site.start(&[fake.address], "refresh-min-s = 1\nretry-min-s = 1")?;
    node.wait_for(Seen::served(1))?;
    let bad = [soa(2), ns(), record(ZONE, TYPE_CNAME, &wire("x.")), soa(2)];
    fake.play(Script { zone: lie(&bad), ..good(2) });
    node.wait_for_log("serial 2 was no good")?;
    let asked = fake.asked(TYPE_SOA);
    wait(|| Ok(fake.asked(TYPE_SOA)), |now| *now > asked + 2)?;
    ensure!(fake.asked(TYPE_AXFR) == 2, "{} transfers", fake.asked(TYPE_AXFR));
    let failure = node.zone()?["copy"]["failure"].to_string();
    ensure!(failure.contains("serial 2 was no good: what it sent is not good"), "{failure}");
    // By command it is; and so is another serial.
    ensure!(!node.ctl(&["refresh", ZONE])?.status.success());
    ensure!(fake.asked(TYPE_AXFR) == 3, "{} transfers", fake.asked(TYPE_AXFR));
    fake.play(good(3));
    node.wait_for(Seen::served(3))
}

#[test]
fn a_flood_of_notifies_is_no_flood_of_questions() -> Result<()> {
    let fake = Fake::start(good(1))?;
    let site = Site::new()?;
    let node = site.start(&[fake.address], "refresh-min-s = 3600")?;
    node.wait_for(Seen::served(1))?;
    let notify = [&[0x12, 0x34, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &wire(ZONE), &[0, 6, 0, 1]].concat();
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(SEEN_WITHIN))?;
    let start = std::time::Instant::now();
    let mut sent = 0;
    while start.elapsed() < std::time::Duration::from_secs(3) {
        socket.send_to(&notify, node.address)?;
        socket.recv(&mut [0; 512])?;
        sent += 1;
    }
    let asked = fake.asked(TYPE_SOA);
    // One before the zone was had, three that brought nothing, and then one a second.
    let at_most = 4 + usize::try_from(start.elapsed().as_secs())?;
    ensure!(sent > 100 && (2..=at_most).contains(&asked), "{sent} NOTIFYs, {asked} questions");
    Ok(())
}

const SECRET: &str = "c3RhcmxpbmctdGVzdC1zZWNyZXQtMDEyMzQ1Njc4OQ==";

fn key() -> Result<Arc<Key>> {
    let name = NameBuf::from_text(b"transfer-key.", None)?;
    let secret = zone::rdata::base64(SECRET.as_bytes()).context("base64")?;
    Ok(Arc::new(Key::new(name.as_name(), Algorithm::Sha256, &secret).context("a key")?))
}

#[test]
fn with_a_key_nothing_is_believed_that_is_not_signed_with_it() -> Result<()> {
    let fake = Fake::with_keys(good(1), vec![key()?])?;
    let site = Site::new()?;
    let node =
        site.start_with_key(fake.address, &key_section("hmac-sha256", SECRET), "refresh-min-s = 3600")?;
    node.wait_for(Seen::served(1))?;
    // A message for each record.
    let with_at = |serial: u32, hosts: usize| -> Vec<Vec<u8>> {
        let mut records = good_records(serial);
        records.splice(3..3, (0..hosts).map(|index| a(&format!("h{index}.small.example."))));
        records.chunks(1).map(axfr).collect()
    };
    let with = |hosts: usize| with_at(2, hosts);
    let one = || vec![axfr(&good_records(2))];
    let lies: Vec<(Vec<Vec<u8>>, Signing, &str)> = vec![
        (one(), Signing::Nothing, "the message is not signed"),
        (with(0), Signing::FirstOnly, "the message is not signed"),
        (with(200), Signing::FirstOnly, "more than 99 messages in a row are not signed"),
        (with(0), Signing::Altered, "the signature is wrong"),
        (with(0), Signing::Twice, "the signature is wrong"),
        (one(), Signing::Replayed, "the signature is wrong"),
        (one(), Signing::Off(-400), "the clocks differ"),
        (one(), Signing::Off(400), "the clocks differ"),
    ];
    for (messages, signing, why) in lies {
        fake.play(Script { zone: Answer::Messages(messages), signing, ..good(2) });
        // Whether it is asked for what has changed, which it does not know, or for all of it.
        for command in ["refresh", "retransfer"] {
            let output = node.ctl(&[command, ZONE])?;
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            ensure!(!output.status.success() && said.contains(why), "{command} {signing:?}: {said}");
            ensure!(node.seen()? == Seen::served(1), "{signing:?}");
        }
    }
    // One that does not know IXFR may not sign that it doesn't.
    fake.play(Script { zone: Answer::Messages(with(200)), signing: Signing::OfTheZone, ..good(2) });
    ensure!(node.ctl(&["refresh", ZONE])?.status.success());
    ensure!(node.seen()? == Seen::served(2));
    for (serial, rcode) in [(3, REFUSED), (4, SERVFAIL)] {
        let changes = Some(ixfr_error(rcode));
        let zone = Answer::Messages(with_at(serial, 200));
        fake.play(Script { changes, zone, signing: Signing::OfTheZone, ..good(serial) });
        let output = node.ctl(&["refresh", ZONE])?;
        ensure!(output.status.success() && node.seen()? == Seen::served(serial), "{rcode}: {output:?}");
    }
    Ok(())
}

/// A second key beside that of the tests.
const OTHER_SECRET: &str = "b3RoZXItc2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU=";

fn named_key(name: &str, secret: &str) -> Result<Arc<Key>> {
    let name = NameBuf::from_text(name.as_bytes(), None)?;
    let secret = zone::rdata::base64(secret.as_bytes()).context("base64")?;
    Ok(Arc::new(Key::new(name.as_name(), Algorithm::Sha256, &secret).context("a key")?))
}

fn two_keys() -> String {
    let other = key_section("hmac-sha256", OTHER_SECRET).replace(KEY_NAME, "other-key");
    format!("{}{other}", key_section("hmac-sha256", SECRET))
}

#[test]
fn each_primary_has_its_own_key() -> Result<()> {
    let old = Fake::with_keys(good(4), vec![key()?])?;
    let fresh = Fake::with_keys(good(5), vec![named_key("other-key.", OTHER_SECRET)?])?;
    let site = Site::new()?;
    let primaries = format!("\"{} key {KEY_NAME}\", \"{} key other-key\"", old.address, fresh.address);
    site.write(&two_keys(), &primaries, "refresh-min-s = 3600")?;
    let node = site.restart()?;
    node.wait_for(Seen::served(5))?;
    ensure!(old.asked(TYPE_AXFR) == 0 && fresh.asked(TYPE_AXFR) == 1, "the freshest is asked alone");
    // The other way round neither is believed.
    let swapped = format!("\"{} key other-key\", \"{} key {KEY_NAME}\"", old.address, fresh.address);
    old.play(good(6));
    site.write(&two_keys(), &swapped, "refresh-min-s = 3600")?;
    ensure!(node.ctl(&["reload"])?.status.success());
    ensure!(!node.ctl(&["refresh", ZONE])?.status.success());
    ensure!(node.seen()? == Seen::served(5));
    Ok(())
}

/// What is on its way was asked for, and checked, with a key that is trusted no longer.
#[test]
fn a_transfer_that_a_reload_overtakes_is_not_taken() -> Result<()> {
    let fake = Fake::with_keys(good(1), vec![key()?, named_key("other-key.", OTHER_SECRET)?])?;
    let site = Site::new()?;
    let with_key = |name: &str| site.write(&two_keys(), &format!("\"{} key {name}\"", fake.address), "");
    with_key(KEY_NAME)?;
    let node = site.restart()?;
    node.wait_for(Seen::served(1))?;
    let gate = Arc::<Gate>::default();
    let records = good_records(2);
    let zone = Answer::Held(axfr(&records[..1]), Arc::clone(&gate), vec![axfr(&records[1..])]);
    fake.play(Script { zone, ..good(2) });
    let retransfer = node.ctl_command(&["retransfer", ZONE])?;
    let _its_zone_is_another_then = Process::spawn("ctl", &retransfer, &site.path("retransfer"))?;
    wait(|| Ok(gate.is_reached()), |is_reached| *is_reached)?;
    // From now on there is nothing new.
    fake.play(good(1));
    with_key("other-key")?;
    ensure!(node.ctl(&["reload"])?.status.success());
    gate.open();
    let is_known = || Ok((node.seen()?, node.process.log().contains("is configured otherwise by now")));
    wait(is_known, |(seen, is_told)| *is_told || *seen != Seen::served(1))?;
    ensure!(node.seen()? == Seen::served(1), "it was taken with the key of before");
    Ok(())
}

#[test]
fn a_truncated_soa_record_is_asked_for_over_tcp() -> Result<()> {
    let (fake, site) = (Fake::start(good(1))?, Site::new()?);
    let node = site.start(&[fake.address], "refresh-min-s = 3600")?;
    node.wait_for(Seen::served(1))?;
    let asked = fake.asked(TYPE_SOA);
    fake.play(Script { soa: SoaReply::TruncatedOverUdp, ..good(2) });
    let output = node.ctl(&["refresh", ZONE])?;
    ensure!(output.status.success() && node.seen()? == Seen::served(2), "{output:?}");
    ensure!(fake.asked(TYPE_SOA) == asked + 2, "over UDP, and over TCP");
    Ok(())
}

#[test]
fn what_has_changed_is_asked_for_unless_that_is_turned_off_and_transfers_are_counted() -> Result<()> {
    for (lines, expected, asked) in [("", [1, 1, 1], 2), ("ixfr = false", [0, 3, 0], 0)] {
        let (fake, site) = (Fake::start(good(1))?, Site::new()?);
        let node = site.start(&[fake.address], lines)?;
        node.wait_for(Seen::served(1))?;
        let changes = [
            ixfr(&[soa(2), soa(1), soa(2), a("new.small.example."), soa(2)]),
            // The whole zone, as a primary may (RFC 1995 §4).
            ixfr(&good_records(3)),
        ];
        for (serial, changes) in (2..).zip(changes) {
            fake.play(Script { changes: Some(Answer::Messages(vec![changes])), ..good(serial) });
            let output = node.ctl(&["refresh", ZONE])?;
            ensure!(output.status.success() && node.seen()? == Seen::served(serial), "{output:?}");
        }
        let status: serde_json::Value = serde_json::from_slice(&node.ctl(&["status", "--json"])?.stdout)?;
        let counted = ["incremental", "whole", "whole-instead"].map(|kind| status["copies"][kind].as_u64());
        ensure!(counted == expected.map(Some), "`{lines}`: {counted:?}");
        ensure!(fake.asked(TYPE_IXFR) == asked, "`{lines}`: {}", fake.asked(TYPE_IXFR));
    }
    Ok(())
}
