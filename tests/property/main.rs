//! Properties: what holds for every name, zone and image, tried on thousands of random ones.
//!
//! A case that fails is shrunk and printed, and its seed is kept beside this file.

mod answers;
mod denial;
mod images;
mod model;
mod names;
mod serving;
mod signing;
mod zones;
