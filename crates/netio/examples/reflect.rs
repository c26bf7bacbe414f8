//! A bare reflector: the floor under every benchmark of a server built on this crate.
//!
//! `reflect ADDRESS:PORT WORKERS [INTERFACE [zero-copy|native|generic]]` sends each datagram back with the bit set that tells
//! load generators for DNS that it is an answer; with an interface, past the kernel's stack. One pinned thread a worker; ends
//! when killed.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;

use netio::xdp::{Interface, Mode, Reply, Trial};
use netio::{BatchResponder, Datagram, SocketOptions, Worker, bind_group, pin};

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Reflector;

impl BatchResponder for Reflector {
    fn respond(&mut self, batch: &mut [Datagram<'_>]) {
        for datagram in batch {
            let query = datagram.query;
            let reply = datagram.reply.buffer();
            reply[..query.len()].copy_from_slice(query);
            reply[2] |= 0x80;
            datagram.reply.set_len(query.len());
        }
    }

    fn idle(&mut self) {}
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().and_then(|text| text.parse::<SocketAddr>().ok());
    let workers = arguments.next().and_then(|text| text.parse::<NonZeroUsize>().ok());
    let (Some(address), Some(workers)) = (address, workers) else {
        eprintln!("usage: reflect ADDRESS:PORT WORKERS [INTERFACE [zero-copy|native|generic]]");
        return ExitCode::from(2);
    };
    let interface = arguments.next();
    let mode = arguments.next();
    let modes: Vec<Mode> = Mode::ALL
        .into_iter()
        .filter(|known| mode.as_ref().is_none_or(|mode| *mode == known.to_string()))
        .collect();
    match reflect(address, workers, interface.as_deref(), &modes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reflect: {error}");
            ExitCode::FAILURE
        }
    }
}

fn reflect(
    address: SocketAddr,
    workers: NonZeroUsize,
    interface: Option<&str>,
    modes: &[Mode],
) -> Result<(), Failure> {
    let cpus = pin::allowed_cpus()?;
    let group = bind_group(address, workers, &SocketOptions::default())?;
    eprintln!("{} reflected by {workers} workers, {:?}", group.listeners[0].address(), group.steered);
    let mut handles = Vec::new();
    let threads: Vec<_> = group
        .listeners
        .into_iter()
        .enumerate()
        .map(|(index, listener)| {
            let worker = Worker::new(vec![listener])?;
            handles.push(worker.handle());
            let cpu = pin::cpu_of_worker(&cpus, index);
            Ok(thread::spawn(move || -> Result<(), Failure> {
                if let Some(cpu) = cpu {
                    pin::pin_current_thread(cpu)?;
                }
                Ok(worker.serve(&mut Reflector)?)
            }))
        })
        .collect::<std::io::Result<_>>()?;
    let mut attachment = None;
    if let Some(interface) = interface {
        let interface = Interface::find(interface)?;
        let trial = Trial { query: &[0; 12], responder: &mut Reflector };
        let attached = interface.attach(&[address], &[], Reply::Reflect, None, modes, trial)?;
        eprintln!("{}: {}, not {:?}", interface.name(), attached.mode, attached.refused);
        for (ring, handle) in attached.rings.into_iter().zip(handles.iter().cycle()) {
            handle.add_ring(ring);
        }
        attachment = Some(attached.attachment);
    }
    for thread in threads {
        thread.join().map_err(|_| "a worker panicked")??;
    }
    drop(attachment);
    Ok(())
}
