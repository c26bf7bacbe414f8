//! What is asked and told about catalog zones.

use super::Response;
use super::server::Ready;
use crate::config;
use crate::keeper::{self, ApprovalRequest};
use tokio::sync::oneshot;

/// How the catalogs are that the node follows.
pub(super) fn status(zone: Option<&str>, subject: &Ready) -> Response {
    let catalogs = subject.board.catalogs();
    let Some(zone) = zone else { return Response::Catalogs(catalogs.to_vec()) };
    let name = match config::apex(zone) {
        Ok(name) => name.to_string(),
        Err(error) => return Response::Error(format!("that is not a zone's name: {error}")),
    };
    match catalogs.iter().find(|catalog| catalog.name == name) {
        Some(catalog) => Response::Catalogs(vec![catalog.clone()]),
        None => Response::Error(format!(
            "no catalog {name} is followed here; `starling ctl catalog status` lists those that are"
        )),
    }
}

/// Has what is held removed.
pub(super) async fn approve(zone: &str, removals: usize, subject: &Ready) -> Response {
    let zone = match config::apex(zone) {
        Ok(zone) => zone,
        Err(error) => return Response::Error(format!("that is not a zone's name: {error}")),
    };
    let (reply, done) = oneshot::channel();
    let request = keeper::Request::Approve(ApprovalRequest { zone, removals, reply });
    if subject.reloads.try_send(request).is_err() {
        return Response::Error("too many changes are waiting; try again when they are done".to_owned());
    }
    match done.await {
        Ok(Ok(done)) => Response::Done(done),
        Ok(Err(error)) => Response::Error(error),
        Err(_) => Response::Error("the node is ending".to_owned()),
    }
}
