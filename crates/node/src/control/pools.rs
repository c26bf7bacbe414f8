//! What is asked and told about pools.

use super::Response;
use super::server::Ready;
use crate::pools::{NotAsked, Told, Wish};
use crate::status::{OF_RECORDS, PoolStatus, RefusedPool};
use pool::Admin;

/// How the pools are.
pub(super) fn status(pool: Option<&str>, subject: &Ready) -> Response {
    let all = subject.pools.board().pools();
    let wanted = all.iter().filter(|it| pool.is_none_or(|pool| it.name == pool)).cloned();
    let mut pools: Vec<PoolStatus> = wanted.collect();
    let mut refused = subject.board.refused_pools();
    refused.retain(|it| pool.is_none_or(|pool| it.name == pool));
    if let Some(pool) = pool.filter(|_| pools.is_empty() && refused.is_empty()) {
        return Response::Error(format!(
            "there is no pool {pool} here; `starling ctl pools` lists those there are"
        ));
    }
    complete(&mut pools, refused, subject);
    Response::Pools(pools)
}

/// Adds what others know of pools, and those that records of zones try to say.
pub(super) fn complete(pools: &mut Vec<PoolStatus>, refused: Vec<RefusedPool>, subject: &Ready) {
    for pool in pools.iter_mut() {
        let problem = |name: &String| Some(format!("{name}: {}", subject.board.unsteered(name)?));
        pool.problems = pool.names.iter().filter_map(problem).collect();
        subject.pools.exchange().add_to(pool);
    }
    for refused in refused {
        let of_records =
            |it: &&mut PoolStatus| it.name == refused.name && it.zone.as_ref() == Some(&refused.zone);
        match pools.iter_mut().find(of_records) {
            Some(pool) => {
                let problems = refused.problems.iter();
                pool.problems.extend(problems.map(|problem| format!("{OF_RECORDS}{problem}")));
            }
            None => pools.push(PoolStatus::refused(refused)),
        }
    }
}

/// What a peer is answered that asks what the checks of pools see.
pub(super) fn views(asked: &str, subject: &Ready) -> Response {
    match asked.parse() {
        Ok(asked) => Response::PoolViews(subject.pools.exchange().told(&asked)),
        Err(NotAsked) => Response::PoolViews(Told::Stranger),
    }
}

/// Has an endpoint count as something.
pub(super) async fn set(pool: String, endpoint: String, admin: &str, subject: &Ready) -> Response {
    match Admin::ALL.into_iter().find(|it| it.word() == admin) {
        Some(admin) => granted(Wish::Set { pool, endpoint, admin }, subject).await,
        None => {
            Response::Error(format!("an endpoint can be set to up, down, drain or auto, and not to {admin}"))
        }
    }
}

/// Has the best tier of a pool answer again.
pub(super) async fn fail_back(pool: String, subject: &Ready) -> Response {
    granted(Wish::FailBack { pool }, subject).await
}

async fn granted(wish: Wish, subject: &Ready) -> Response {
    match subject.pools.request(wish).await {
        Ok(done) => Response::Done(done),
        Err(error) => Response::Error(error),
    }
}
