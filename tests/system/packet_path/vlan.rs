//! Tagged frames. Not every kernel has VLAN interfaces, so the rings are made here, for VLANs that the kernel need not know, and
//! the frames by hand.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use netio::xdp::{Interface, Mode, Reply, Tag, Trial};
use netio::{BatchResponder, Datagram, Worker};
use starling_tests::netns;
use starling_tests::process::Process;

use super::frames;
use super::wire::{CLIENT_END, CLIENT_V4, CLIENT_V6, LIMIT, SERVER_END, Wire, hardware_address};

/// Sends each datagram back, and counts.
#[derive(Default)]
struct Echo(Arc<AtomicU32>);

impl BatchResponder for Echo {
    fn respond(&mut self, batch: &mut [Datagram<'_>]) {
        for datagram in batch {
            self.0.fetch_add(1, Ordering::Relaxed);
            datagram.reply.buffer()[..datagram.query.len()].copy_from_slice(datagram.query);
            datagram.reply.set_len(datagram.query.len());
        }
    }

    fn idle(&mut self) {}
}

/// Puts frames on the cable and prints what comes back, a line each: the tag in decimal or `-`, and the frame.
const TALK: &str = "import socket, struct, sys\n\
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n\
    s.bind((sys.argv[1], 0))\n\
    s.setsockopt(263, 8, 1)\n\
    for frame in sys.argv[2:]: s.send(bytes.fromhex(frame))\n\
    while True:\n\
    \x20   data, control, _, address = s.recvmsg(2048, 256)\n\
    \x20   if address[2] == socket.PACKET_OUTGOING: continue\n\
    \x20   status, _, _, _, _, tag, _ = struct.unpack('IIIHHHH', control[0][2])\n\
    \x20   print(tag if status & 16 else '-', data.hex(), flush=True)\n";

/// The replies to these frames, by their payloads' first octet; `None` for those that are not answered by the last.
fn replies(wire: &Wire, sent: &[Vec<u8>], last: u8) -> Result<Vec<(String, Vec<u8>)>> {
    let mut command = wire.client.command("python3")?;
    command.args(["-c", TALK, CLIENT_END]);
    command
        .args(sent.iter().map(|frame| frame.iter().map(|octet| format!("{octet:02x}")).collect::<String>()));
    let log = wire.path("talk.log");
    let mut talk = Process::spawn_with_input("talk", &command, &log, Stdio::null())?;
    let (deadline, mut found) = (Instant::now() + LIMIT, Vec::new());
    loop {
        let line = talk.line(deadline)?.with_context(|| format!("no reply {last}: {found:?}"))?;
        let (tag, hex) = line.split_once(' ').context("a tag and a frame")?;
        let octets = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        let frame = octets.collect::<Result<Vec<u8>, _>>()?;
        // What else the kernels talk about.
        let Some(payload) = payload(&frame) else { continue };
        let is_last = payload.first() == Some(&last);
        found.push((tag.to_owned(), frame));
        if is_last {
            return Ok(found);
        }
    }
}

/// The payload of a UDP datagram from port 53.
fn payload(frame: &[u8]) -> Option<&[u8]> {
    let udp = match frame.get(12..14)? {
        [8, 0] if frame.get(23) == Some(&17) => 34,
        [0x86, 0xdd] if frame.get(20) == Some(&17) => 54,
        _ => return None,
    };
    (frame.get(udp..udp + 2)? == [0, 53]).then(|| frame.get(udp + 8..))?
}

#[test]
fn tagged_queries_are_answered_with_their_tag() -> Result<()> {
    if !netns::usable() {
        return Ok(());
    }
    let wire = Wire::new("xdp-vlan", 1500)?;
    // Else the cable carries tags beside the frames.
    wire.client.run("ethtool", &["-K", CLIENT_END, "txvlan", "off"])?;
    wire.server.run("ethtool", &["-K", SERVER_END, "rxvlan", "off"])?;
    let ethernet = wire.ethernet()?;
    let own = hardware_address(&wire.server, SERVER_END)?;
    // The interface of a VLAN may have another address than the one below it.
    let other = [2, 0, 0, 0, 0, 8];
    let tags = [
        Tag { id: 7, hardware_address: own, interface: 1007 },
        Tag { id: 8, hardware_address: other, interface: 1008 },
    ];
    let counted = Arc::<AtomicU32>::default();
    let mut echo = Echo(Arc::clone(&counted));
    let (attachment, handle, serving) = wire.server.inside(|| -> Result<_> {
        let interface = Interface::find(SERVER_END).map_err(|error| anyhow::anyhow!("{error}"))?;
        let services = ["10.53.0.1:53".parse()?, "[fd00:53::1]:53".parse()?];
        let trial = Trial { query: &[0; 12], responder: &mut Echo::default() };
        let attached = interface
            .attach(&services, &tags, Reply::Reflect, None, &[Mode::Native], trial)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let worker = Worker::new(Vec::new())?;
        let handle = worker.handle();
        attached.rings.into_iter().for_each(|ring| handle.add_ring(ring));
        Ok((attached.attachment, handle, thread::spawn(move || worker.serve(&mut echo))))
    })??;

    let v4 = |mark: u8| frames::V4 {
        source: CLIENT_V4.parse().expect("an address"),
        destination: "10.53.0.1".parse().expect("an address"),
        ports: [4053, 53],
        payload: vec![mark; 20],
        options: Vec::new(),
        damage: [0, 0],
    };
    let v6 = frames::V6 {
        source: CLIENT_V6.parse()?,
        destination: "fd00:53::1".parse()?,
        ports: [4053, 53],
        payload: vec![4; 21],
        has_extension: false,
        damage: 0,
    };
    let to_other = frames::Ethernet { destination: other, ..ethernet };
    let sent = [
        ethernet.frame(&[7], 0x0800, &v4(1).bytes()),
        // With a priority, which the reply keeps.
        ethernet.frame(&[0xa007], 0x0800, &v4(2).bytes()),
        to_other.frame(&[8], 0x0800, &v4(3).bytes()),
        ethernet.frame(&[7], 0x86dd, &v6.bytes()),
        // Not known; not for the address of that VLAN's interface; two tags.
        ethernet.frame(&[9], 0x0800, &v4(5).bytes()),
        ethernet.frame(&[8], 0x0800, &v4(6).bytes()),
        to_other.frame(&[7], 0x0800, &v4(7).bytes()),
        ethernet.frame(&[7, 7], 0x0800, &v4(8).bytes()),
        ethernet.frame(&[], 0x0800, &v4(9).bytes()),
    ];
    let found = replies(&wire, &sent, 9)?;
    let seen: Vec<(&str, u8, &[u8])> = found
        .iter()
        .map(|(tag, frame)| (tag.as_str(), payload(frame).map_or(0, |payload| payload[0]), &frame[..12]))
        .collect();
    let from = |source: [u8; 6]| [ethernet.source, source].concat();
    let (own, other) = (from(own), from(other));
    let expected = [("7", 1, &own[..]), ("40967", 2, &own), ("8", 3, &other), ("7", 4, &own), ("-", 9, &own)];
    ensure!(seen == expected, "{seen:02x?}");
    ensure!(counted.load(Ordering::Relaxed) == 5, "{counted:?} came through the ring");
    drop(attachment);
    handle.stop();
    serving.join().map_err(|_| anyhow::anyhow!("the worker panicked"))??;
    Ok(())
}
