//! `starling run`: the agent that holds the route for as long as the node answers well.
//!
//! One loop owns the state: the governor that decides, the checks, the history. Everything that takes time is a task or
//! a thread that sends what came of it: the server's supervisor ([`supervisor`]), the thread that holds the route
//! ([`route`]), the checks ([`checks`], [`probing`]), BIRD's verification, peers, the control socket.

mod checks;
mod explain;
mod history;
mod no_delay;
mod probing;
mod route;
mod serials;
mod server;
mod start;
mod supervisor;
mod turn;
mod upgrade;
mod verify;
mod view;
mod watch;

pub(crate) use no_delay::obstacle as no_delay_obstacle;
pub(crate) use start::run;
