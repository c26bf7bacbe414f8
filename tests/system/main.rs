//! The binary as its operator has it: started, reloaded, ended, and spoken to in every wrong way.

mod admission;
mod agent_link;
mod asking;
mod bench;
mod compare;
mod counts;
mod handover;
mod images;
mod lifecycle;
mod malformed;
mod management;
mod node;
mod overload;
mod packet_path;
mod privileges;
mod publish;
mod rate_limit;
mod reload;
mod renewed;
mod run;
mod sockets;
mod tcp;
