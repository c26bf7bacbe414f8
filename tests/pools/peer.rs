//! A peer that is none: it sits where one should be, and does what a test wants with the questions.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use starling_tests::server::own_address;

/// How long it waits for anything.
const PATIENCE: Duration = Duration::from_secs(2);

/// What it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Trick {
    /// It passes questions on to this node, and answers back.
    Relays(SocketAddr),
    /// The same, and one text in the answer is replaced by another of the same length.
    Forges(SocketAddr, &'static str, &'static str),
    /// It gives the last answer that it has passed on.
    Replays,
    /// It says this, once.
    Says(&'static str),
    /// It says the one, and then the other as often as anybody takes it.
    Floods(&'static str, &'static str),
    /// It says this, a chunk of it at a time, and slowly.
    Trickles(&'static str),
    /// It says nothing.
    Hangs,
}

/// The false peer. Its thread ends with the process.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    trick: Arc<Mutex<Trick>>,
    asked: Arc<AtomicUsize>,
}

impl Peer {
    pub(crate) fn start(trick: Trick) -> Result<Self> {
        let listener = TcpListener::bind((own_address(), 0))?;
        let peer = Self {
            address: listener.local_addr()?,
            trick: Arc::new(Mutex::new(trick)),
            asked: Arc::default(),
        };
        let (trick, asked) = (Arc::clone(&peer.trick), Arc::clone(&peer.asked));
        let recorded = Arc::<Mutex<Vec<u8>>>::default();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let trick = trick.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let (recorded, asked) = (Arc::clone(&recorded), Arc::clone(&asked));
                std::thread::spawn(move || {
                    // Who asked goes away when it has had enough.
                    drop(serve(stream, &trick, &recorded));
                    asked.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Ok(peer)
    }

    /// From now on it does this.
    pub(crate) fn set(&self, trick: Trick) {
        *self.trick.lock().unwrap_or_else(PoisonError::into_inner) = trick;
    }

    /// How many questions are over.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, trick: &Trick, recorded: &Mutex<Vec<u8>>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = Vec::new();
    let mut some = [0; 1024];
    while !question.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut some)? {
            0 => return Ok(()),
            len => question.extend_from_slice(&some[..len]),
        }
    }
    match trick {
        Trick::Relays(to) => {
            let answer = passed_on(*to, &question)?;
            stream.write_all(&answer)?;
            *recorded.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        }
        Trick::Forges(to, what, instead) => {
            let answer = String::from_utf8(passed_on(*to, &question)?)?;
            stream.write_all(answer.replace(what, instead).as_bytes())?;
        }
        Trick::Replays => {
            let answer = recorded.lock().unwrap_or_else(PoisonError::into_inner).clone();
            stream.write_all(&answer)?;
        }
        Trick::Says(text) => stream.write_all(text.as_bytes())?,
        Trick::Floods(first, more) => {
            stream.write_all(first.as_bytes())?;
            let more = more.repeat(1 + 65_536 / more.len().max(1));
            loop {
                stream.write_all(more.as_bytes())?;
            }
        }
        Trick::Trickles(text) => {
            for octet in text.bytes().cycle() {
                stream.write_all(&[octet])?;
                // An octet, and then as long as the other side says nothing, which it does until it goes.
                stream.set_read_timeout(Some(Duration::from_millis(20)))?;
                if matches!(stream.read(&mut some), Ok(0)) {
                    break;
                }
            }
        }
        Trick::Hangs => drop(stream.read(&mut some)),
    }
    Ok(())
}

fn passed_on(to: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let mut node = TcpStream::connect(to)?;
    node.set_read_timeout(Some(PATIENCE))?;
    node.write_all(question)?;
    let mut answer = Vec::new();
    node.read_to_end(&mut answer)?;
    Ok(answer)
}
