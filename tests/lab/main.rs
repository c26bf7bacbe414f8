//! Anycast nodes in network namespaces, with real BIRD, and what breaks them.

mod breakages;
mod copies;
mod namespaces;
mod pools;

/// One lab at a time: each takes both processors.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
