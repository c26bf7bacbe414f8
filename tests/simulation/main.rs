//! State machines on a virtual clock, with seeded random events, against their invariants.
