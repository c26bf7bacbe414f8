//! Descriptors that a process has from whoever started it.

use std::io;

use crate::sys;

/// The first descriptor after standard input, output and error.
const FIRST_BEYOND_STDIO: u32 = 3;

/// Keeps all descriptors but standard input, output and error from programs that this process will start.
///
/// What Rust opens is kept from them anyway; this is for what the process was given itself, by a shell or a supervisor
/// that leaves descriptors open. Call it once, early, before any descriptor is meant to be handed down.
///
/// # Errors
///
/// ENOSYS or EINVAL before Linux 5.11.
pub fn keep_from_children() -> io::Result<()> {
    sys::close_on_exec_from(FIRST_BEYOND_STDIO)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn nothing_that_is_open_goes_to_a_child() {
        let open = std::fs::File::open("/dev/null").unwrap();
        let number = sys::inheritable_copy(open.as_fd());
        let children_have = || {
            let listed = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
            String::from_utf8(listed.stdout).unwrap().lines().any(|line| line == number.to_string())
        };
        assert!(children_have());
        keep_from_children().unwrap();
        assert!(!children_have());
        let stdio = std::process::Command::new("readlink").arg("/proc/self/fd/2").output().unwrap();
        assert!(stdio.status.success(), "standard error stays");
    }
}
