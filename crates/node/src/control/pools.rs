//! What is asked and told about pools.

use super::Response;
use super::server::Ready;
use crate::pools::{NotAsked, Told, Wish};
use crate::status::{PoolStatus, RefusedPool};
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
    complete(&mut pools, subject);
    for RefusedPool { name, zone, problems } in refused {
        let of_records = |it: &&mut PoolStatus| it.name == name && it.zone.as_ref() == Some(&zone);
        match pools.iter_mut().find(of_records) {
            Some(pool) => {
                pool.problems.extend(problems.iter().map(|problem| format!("its records: {problem}")))
            }
            None => pools.push(PoolStatus { problems, ..PoolStatus::refused(name, zone) }),
        }
    }
    Response::Pools(pools)
}

/// Adds what others know of pools.
pub(super) fn complete(pools: &mut [PoolStatus], subject: &Ready) {
    for pool in pools {
        let problem = |name: &String| Some(format!("{name}: {}", subject.board.unsteered(name)?));
        pool.problems = pool.names.iter().filter_map(problem).collect();
        subject.pools.exchange().add_to(pool);
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
