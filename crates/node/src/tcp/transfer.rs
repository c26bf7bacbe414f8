//! A transfer on the connection that asked for it.

use super::connection::Connection;
use super::stream::{Channel, Stream};
use crate::config::Asker;
use crate::transfers::{End, Permit, Refusal, now};
use bytes::BufMut;
use nameserver::Transport;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use transfer::outgoing::{self, Kind, Outgoing, Request, StreamError};
use transfer::tsig::{self, Key, Rejected, Signer};
use wire::{NameBuf, Rcode};

/// The longest that a transfer takes. A client that takes each message just in time would otherwise keep a table that was
/// replaced long ago, and a place that others wait for, for days; 100 MB in an hour are 28 KB a second.
const TRANSFER_WITHIN: Duration = Duration::from_secs(3600);

/// How the answer to a request begins.
enum Begun {
    /// With the first of the zone's records; signed where the request was.
    Transfer(Box<Outgoing>, Permit, Option<Signer>),
    /// It is one message.
    Refused(Rcode, Vec<u8>),
}

impl Connection<'_> {
    /// Answers a request for a transfer; an error means that the connection is no good any more.
    pub(super) async fn transfer<S: Stream>(&mut self, stream: &mut S, request: &[u8]) -> io::Result<()> {
        match self.begin(request) {
            Begun::Transfer(outgoing, permit, signer) => {
                self.count(Rcode::NOERROR);
                let zone = outgoing.request().zone.to_string();
                let what = if outgoing.is_incremental() { "what has changed" } else { "the zone" };
                let (client, start) = (self.client, Instant::now());
                let table = Arc::clone(outgoing.table());
                let sent = self.send(stream, *outgoing, permit, signer, &zone).await;
                // To give back the memory of a large table that was replaced meanwhile takes long: not on this thread.
                drop(tokio::task::spawn_blocking(move || drop(table)));
                match &sent {
                    Ok(()) => {
                        tracing::debug!(
                            "zone {zone}: {what} sent to {client} in {} ms",
                            start.elapsed().as_millis()
                        )
                    }
                    Err(error) => {
                        tracing::info!("zone {zone}: the transfer to {client} was cut off: {error}")
                    }
                }
                sent
            }
            Begun::Refused(rcode, response) => {
                self.count(rcode);
                self.put(&response);
                self.flush(stream).await
            }
        }
    }

    fn count(&self, rcode: Rcode) {
        let responder = &mut self.shared.answering.borrow_mut().responder;
        responder.expect_family(self.family);
        responder.count(Transport::Tcp, rcode);
        responder.publish_counts();
    }

    /// Checks the signature, if there is one, and the rest; what is refused is signed where the request was.
    fn begin(&self, request: &[u8]) -> Begun {
        let refuse = |rcode: Rcode| Begun::Refused(rcode, outgoing::error_response(request, rcode));
        let authenticated = match tsig::verify_request(request, &self.shared.transfers.keys(), now()) {
            Ok(authenticated) => authenticated,
            Err(Rejected::Malformed) => return refuse(Rcode::FORMERR),
            Err(Rejected::Refused(code, response)) => {
                let key = tsig::key_name(request).unwrap_or(NameBuf::root());
                tracing::info!(
                    "{}: a request for a transfer has a bad signature, {code:?}, key {key}",
                    self.client
                );
                return Begun::Refused(Rcode::NOTAUTH, response);
            }
        };
        let (request, key) = match &authenticated {
            Some(authenticated) => (authenticated.request.as_slice(), Some(&authenticated.key)),
            None => (request, None),
        };
        let mut signer = authenticated.as_ref().map(tsig::Authenticated::signer);
        match self.admit(request, key) {
            Ok((outgoing, permit)) => Begun::Transfer(Box::new(outgoing), permit, signer),
            Err(rcode) => {
                let mut response = outgoing::error_response(request, rcode);
                if let Some(signer) = &mut signer {
                    signer.sign(&mut response, now());
                }
                Begun::Refused(rcode, response)
            }
        }
    }

    fn admit(&self, request: &[u8], key: Option<&Arc<Key>>) -> Result<(Outgoing, Permit), Rcode> {
        let request = Request::read(request).map_err(|_| Rcode::FORMERR)?;
        let zone = request.zone.clone();
        let table = {
            let responder = &mut self.shared.answering.borrow_mut().responder;
            responder.refresh();
            responder.zone(zone.as_name())
        };
        // RFC 5936 §2.2.1: NOTAUTH where there is no such zone; one without a table has nothing to send.
        let table = table.ok_or(Rcode::NOTAUTH)?;
        if self.channel == Channel::Tls {
            tracing::info!(
                "zone {zone}: {} has not agreed to speak DNS over TLS (ALPN \"dot\")",
                self.client
            );
            return Err(Rcode::REFUSED);
        }
        let asker = Asker { address: self.client, key, by_tls: self.channel == Channel::DnsOverTls };
        let permit = self.shared.transfers.admit(zone.as_name(), asker);
        let permit = permit.map_err(|refusal| refused(refusal, self.client))?;
        // Most clients of a zone that changes are one version behind: looked for only then.
        let differences = match request.kind {
            Kind::Ixfr { serial } if serial != table.serial() => {
                self.shared.transfers.index.differences(serial, &table)
            }
            _ => None,
        };
        let outgoing = match differences {
            Some(differences) => Outgoing::incremental(request, table, differences),
            None => Outgoing::new(request, table),
        };
        let outgoing = outgoing.map_err(|error| {
            tracing::error!("zone {zone}: can't be transferred: {error}");
            Rcode::SERVFAIL
        })?;
        Ok((outgoing, permit))
    }

    /// Sends message by message, each when the client has taken the one before.
    async fn send<S: Stream>(
        &mut self,
        stream: &mut S,
        mut outgoing: Outgoing,
        permit: Permit,
        mut signer: Option<Signer>,
        zone: &str,
    ) -> io::Result<()> {
        let deadline = Instant::now() + TRANSFER_WITHIN;
        let apex = outgoing.request().zone.clone();
        let end = match (outgoing.is_current(), outgoing.is_incremental()) {
            (true, _) => End::Current,
            (false, true) => End::Incremental,
            (false, false) => End::Completed,
        };
        let reserve = signer.as_ref().map_or(0, Signer::signature_len);
        loop {
            let message = outgoing.next_message(reserve).map_err(|error| {
                tracing::error!("zone {zone}: the transfer can't go on: {error}");
                if matches!(error, StreamError::Journal(_)) {
                    self.shared.transfers.index.spoilt(apex.as_name());
                }
                io::Error::other(error)
            });
            let Some(message) = cut(stream, message)? else { break };
            if let Some(signer) = &mut signer {
                signer.sign(message, now());
            }
            let len = message.len();
            self.put(message);
            self.flush(stream).await?;
            permit.sent(len);
            if Instant::now() >= deadline {
                let slow = io::Error::new(io::ErrorKind::TimedOut, "it took an hour and was not finished");
                return cut(stream, Err(slow));
            }
            // Others on this thread get their turn, however fast the client is.
            tokio::task::yield_now().await;
        }
        permit.end(end);
        Ok(())
    }

    fn put(&mut self, message: &[u8]) {
        self.output.put_u16(message.len() as u16); // messages of transfers have at most 65,535 octets
        self.output.put_slice(message);
    }
}

/// Has the client see a reset where something failed: what it has is not the zone.
fn cut<T>(stream: &impl Stream, result: io::Result<T>) -> io::Result<T> {
    if result.is_err() {
        let _closed_all_the_same = stream.socket().set_zero_linger();
    }
    result
}

fn refused(refusal: Refusal, client: IpAddr) -> Rcode {
    match refusal {
        Refusal::NotAllowed => Rcode::REFUSED,
        Refusal::Busy => {
            tracing::warn!(
                "a transfer to {client} was put off: as many as `outgoing-max` under [transfer] are running"
            );
            Rcode::SERVFAIL
        }
    }
}
