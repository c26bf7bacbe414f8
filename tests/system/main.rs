//! The binary as its operator has it: started, reloaded, ended, and spoken to in every wrong way.

mod counts;
mod images;
mod lifecycle;
mod malformed;
mod node;
mod reload;
mod tcp;
