//! Zones that come from other servers: real primaries and lying ones.

mod hostile;
mod secondary;
mod site;
