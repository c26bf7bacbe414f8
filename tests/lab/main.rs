//! Anycast nodes in network namespaces, with real BIRD, and what breaks them.

mod breakages;
mod namespaces;
