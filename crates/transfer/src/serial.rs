//! Serial number arithmetic (RFC 1982).

/// Whether `new` is ahead of `old` (RFC 1982 §3.2). Of two serials exactly 2^31 apart, for which the RFC defines no order,
/// neither is ahead: a zone that jumps so far is transferred only when an operator says so.
pub fn is_newer(new: u32, old: u32) -> bool {
    let ahead = new.wrapping_sub(old);
    ahead != 0 && ahead < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::is_newer;

    #[test]
    fn order_is_that_of_rfc_1982() {
        // §5.2 at 32 bits, and the edges.
        for (new, old) in
            [(1, 0), (44, 0), (100, 44), (0, u32::MAX), (5, u32::MAX - 5), (1 << 31, 1), ((1 << 31) - 1, 0)]
        {
            assert!(is_newer(new, old), "{new} {old}");
            assert!(!is_newer(old, new), "{old} {new}");
        }
        for (one, other) in [(7, 7), (0, 1 << 31), (1 << 31, 0)] {
            assert!(!is_newer(one, other), "{one} {other}");
        }
    }
}
