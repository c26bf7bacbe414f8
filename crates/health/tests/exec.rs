//! Commands of the operator, as real processes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use health::Outcome;
use health::exec::Runner;
use rustix::process::{Pid, test_kill_process};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Longer than any command here takes, but for those that are to be killed.
const TIMEOUT: Duration = Duration::from_secs(20);

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

fn run(command: &[&str], timeout: Duration) -> Outcome {
    block_on(Runner::new(4).run(&owned(command), timeout))
}

fn owned(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

fn script(text: &str) -> Outcome {
    run(&["sh", "-c", text], TIMEOUT)
}

fn fail(saw: &str) -> Outcome {
    Outcome::Fail(saw.to_owned())
}

#[test]
fn the_exit_status_decides_and_the_first_line_says_why() {
    assert_eq!(script("echo all is well; exit 0"), Outcome::Pass);
    assert_eq!(script("exit 3"), fail("exit status: 3"));
    assert_eq!(script("echo; echo ' low: 3 %'; echo more; exit 1"), fail("exit status: 1: low: 3 %"));
    assert_eq!(script("echo out; echo err >&2; exit 1"), fail("exit status: 1: err"));
    assert_eq!(script("kill -KILL $$"), fail("signal: 9 (SIGKILL)"));
    assert_eq!(script(r"printf 'a\033[31mb'; exit 1"), fail("exit status: 1: a [31mb"));
    assert_eq!(run(&["printf", "%s", "a b  $HOME"], TIMEOUT), Outcome::Pass);
    // Without a shell, words are words.
    assert_eq!(run(&["test", "a  b;$x", "=", "a  b;$x"], TIMEOUT), Outcome::Pass);
}

#[test]
fn a_command_that_cannot_be_run_is_a_failure() {
    for command in [&["/nowhere/battery-ok"][..], &["no-such-program"], &["/etc/passwd"]] {
        let Outcome::Fail(saw) = run(command, TIMEOUT) else { panic!("{command:?} passed") };
        assert!(saw.starts_with(&format!("{} can't be run: ", command[0])), "{saw}");
    }
    assert_eq!(run(&[], TIMEOUT), fail("no command is given"));
}

#[test]
fn however_much_is_written_little_is_kept_and_nothing_waits() {
    let Outcome::Fail(saw) = script("head -c 3000000 /dev/zero | tr '\\0' x; exit 1") else { panic!() };
    assert_eq!(saw, format!("exit status: 1: {}", "x".repeat(200)));
}

#[test]
fn at_the_time_out_the_group_is_killed() {
    let start = Instant::now();
    let Outcome::Fail(saw) = run(&["sh", "-c", "sleep 600 & echo $! $$; wait"], Duration::from_millis(300))
    else {
        panic!("it takes ten minutes")
    };
    assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
    let pids =
        saw.strip_prefix("killed, having taken longer than 300ms: ").unwrap_or_else(|| panic!("{saw}"));
    assert_all_gone(pids);
}

#[test]
fn what_a_command_leaves_running_is_killed_and_not_waited_for() {
    let start = Instant::now();
    let Outcome::Fail(saw) = script("sleep 600 & echo $!; exit 1") else { panic!("it failed") };
    assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
    assert_all_gone(saw.strip_prefix("exit status: 1: ").unwrap_or_else(|| panic!("{saw}")));
}

/// Waits until none of these processes is left, but for zombies that wait for whoever adopted them.
fn assert_all_gone(pids: &str) {
    let start = Instant::now();
    for pid in pids.split(' ') {
        let number: i32 = pid.parse().unwrap();
        let is_gone = || {
            let status = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
            test_kill_process(Pid::from_raw(number).unwrap()).is_err() || status.contains(") Z ")
        };
        while !is_gone() {
            assert!(start.elapsed() < TIMEOUT, "process {pid} is still there");
            std::thread::yield_now();
        }
    }
}

#[test]
fn commands_have_no_capabilities_and_ours_stay() {
    let before = rustix::thread::capabilities(None).unwrap();
    // All five sets are empty; the bounding set, too, where it can be emptied, which takes CAP_SETPCAP.
    let sets = if before.effective.contains(rustix::thread::CapabilitySet::SETPCAP) {
        "Inh|Prm|Eff|Bnd|Amb"
    } else {
        "Inh|Prm|Eff|Amb"
    };
    let none = format!("! grep -E '^Cap({sets})' /proc/self/status | grep -v '0000000000000000$'");
    assert_eq!(script(&none), Outcome::Pass);
    assert_eq!(script("grep -q '^NoNewPrivs:.1$' /proc/self/status"), Outcome::Pass);
    assert_eq!(rustix::thread::capabilities(None).unwrap(), before);
    assert!(!rustix::thread::no_new_privs().unwrap());
}

#[test]
fn without_the_right_to_empty_the_bounding_set_commands_still_have_no_capabilities() {
    // A thread that has kept some, as an agent does that has given up the rest; its children inherit from it alone.
    let outcome = std::thread::spawn(|| {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
            set.remove(rustix::thread::CapabilitySet::SETPCAP);
        }
        rustix::thread::set_capabilities(None, sets).unwrap();
        script("! grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status | grep -v '0000000000000000$'")
    });
    assert_eq!(outcome.join().unwrap(), Outcome::Pass);
}

#[test]
fn commands_inherit_nothing() {
    // Whoever runs the tests may leave descriptors open, so look for ours.
    let file = std::fs::File::open("/etc/passwd").unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for fd in [file.as_raw_fd(), socket.as_raw_fd()] {
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let link = link.to_str().unwrap();
        assert_eq!(script(&format!("! ls -l /proc/self/fd | grep -F '{link}'")), Outcome::Pass);
    }
    assert_eq!(script("test $(readlink /proc/self/fd/0) = /dev/null"), Outcome::Pass);
    assert_eq!(script("! env | grep -vE '^(PATH|LC_ALL|PWD|OLDPWD|SHLVL|_)='"), Outcome::Pass);
    assert_eq!(script("test $PWD = /"), Outcome::Pass);
}

#[test]
fn so_many_at_once_and_no_more() {
    block_on(async {
        let runner = Runner::new(2);
        let slow = owned(&["sleep", "600"]);
        let short = Duration::from_millis(300);
        let (one, two, three) =
            tokio::join!(runner.run(&slow, short), runner.run(&slow, short), runner.run(&slow, short));
        assert_eq!([&one, &two], [&fail("killed, having taken longer than 300ms"); 2]);
        assert_eq!(three, fail("2 commands are running already, which is the most"));
        // The places come back once the commands are gone.
        let start = Instant::now();
        while runner.run(&owned(&["true"]), TIMEOUT).await != Outcome::Pass {
            assert!(start.elapsed() < TIMEOUT);
        }
    });
}
