//! From a configured zone to a table that may be served: master file or stored image, checks, compiler.

pub(crate) mod catalog;
pub(crate) mod image;
pub(crate) mod load;
pub(crate) mod members;
pub(crate) mod origin;
pub(crate) mod parallel;
pub(crate) mod source;
pub(crate) mod state_dir;
pub(crate) mod transferred;
