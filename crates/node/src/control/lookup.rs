//! What a query is answered now, and why.

use super::Response;
use super::pools;
use super::server::Ready;
use crate::keeper::{self, Showing};
use crate::oracle::{Oracle, Question, reasons};
use crate::status::{LookedUp, PoolStatus};
use std::net::IpAddr;
use tokio::sync::oneshot;
use wire::{Name, NameBuf, RecordType};

/// The query.
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) rtype: String,
    pub(super) dnssec: bool,
    pub(super) udp: Option<u16>,
    pub(super) client: Option<IpAddr>,
}

/// Answers it from what the zone stands as now.
pub(super) async fn look_up(asked: Asked, subject: &Ready) -> Response {
    let Asked { name, rtype, dnssec, udp: udp_size, client } = asked;
    let name = match NameBuf::from_text(name.as_bytes(), Some(Name::ROOT)) {
        Ok(name) => name,
        Err(error) => return Response::Error(format!("`{name}` is not a domain name: {error}")),
    };
    let Some(rtype) = RecordType::from_text(rtype.as_bytes()) else {
        return Response::Error(format!("`{rtype}` is no type of records"));
    };
    let (reply, shown) = oneshot::channel();
    let showing = Showing { name: name.clone(), reply };
    if subject.reloads.try_send(keeper::Request::Show(showing)).is_err() {
        return Response::Error("too many reloads are waiting; try again when they are done".to_owned());
    }
    let table = match shown.await {
        Ok(Ok(table)) => table,
        Ok(Err(error)) => return Response::Error(error),
        Err(_) => return Response::Error("the node is ending".to_owned()),
    };
    let mut oracle = Oracle::new(table);
    let question = Question { name: name.as_name(), rtype, dnssec, udp_size, client };
    let (response, explanation) = oracle.ask(question);
    let (response, why) = (response.to_vec(), reasons(&explanation));
    let mut pools: Vec<PoolStatus> = subject.pools.board().pools().to_vec();
    pools::complete(&mut pools, subject.board.refused_pools(), subject);
    Response::Answer(Box::new(LookedUp { response, why, pools }))
}
