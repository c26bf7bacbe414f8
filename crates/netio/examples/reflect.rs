//! A bare reflector: the floor under every benchmark of a server built on this crate.
//!
//! `reflect ADDRESS:PORT WORKERS` sends each datagram back with the bit set that tells load generators for
//! DNS that it is an answer. One pinned thread a worker; ends when killed.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;

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
        eprintln!("usage: reflect ADDRESS:PORT WORKERS");
        return ExitCode::from(2);
    };
    match reflect(address, workers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reflect: {error}");
            ExitCode::FAILURE
        }
    }
}

fn reflect(address: SocketAddr, workers: NonZeroUsize) -> Result<(), Failure> {
    let cpus = pin::allowed_cpus()?;
    let group = bind_group(address, workers, &SocketOptions::default())?;
    eprintln!("{} reflected by {workers} workers, {:?}", group.listeners[0].address(), group.steered);
    let threads: Vec<_> = group
        .listeners
        .into_iter()
        .enumerate()
        .map(|(index, listener)| {
            let worker = Worker::new(vec![listener])?;
            let cpu = pin::cpu_of_worker(&cpus, index);
            Ok(thread::spawn(move || -> Result<(), Failure> {
                if let Some(cpu) = cpu {
                    pin::pin_current_thread(cpu)?;
                }
                Ok(worker.serve(&mut Reflector)?)
            }))
        })
        .collect::<std::io::Result<_>>()?;
    for thread in threads {
        thread.join().map_err(|_| "a worker panicked")??;
    }
    Ok(())
}
