//! What systemd does: it is told when the daemon is ready, alive and ending, and starts it again after
//! a crash.

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{DEADLINE, Glancefs, Running, Start, eventually};

/// A supervisor's socket.
struct Supervisor {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Supervisor {
    fn of(fs: &Glancefs) -> Self {
        let path = fs.directory().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, path }
    }

    /// The next message that has this in it, whatever else comes before.
    #[track_caller]
    fn hears(&self, wanted: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).expect(wanted);
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.lines().any(|line| line.starts_with(wanted)) {
                return message;
            }
        }
    }

    fn start(&self, command: &mut Command) -> Running {
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", "300000");
        Running::start(command)
    }
}

#[test]
fn the_supervisor_hears_of_a_life() {
    let fs = Start::default().prepare();
    let supervisor = Supervisor::of(&fs);
    let daemon = supervisor.start(&mut fs.command());
    let ready = supervisor.hears("READY=1");
    assert!(ready.contains("STATUS=images are in "), "{ready}");
    assert!(fs.is_mounted());
    supervisor.hears("WATCHDOG=1");
    daemon.signal(Signal::HUP);
    supervisor.hears("RELOADING=1");
    supervisor.hears("READY=1");
    supervisor.hears("WATCHDOG=1");
    daemon.signal(Signal::TERM);
    supervisor.hears("STOPPING=1");
    assert!(daemon.wait().ok());
}

#[test]
fn a_daemon_that_hangs_is_silent() {
    let fs = Start::default().with_api().prepare();
    let supervisor = Supervisor::of(&fs);
    let daemon = supervisor.start(&mut fs.command());
    supervisor.hears("WATCHDOG=1");
    daemon.signal(Signal::STOP);
    supervisor.socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    while supervisor.socket.recv(&mut buffer).is_ok() {}
    std::thread::sleep(Duration::from_millis(600));
    assert!(supervisor.socket.recv(&mut buffer).is_err(), "nothing proves it alive");
    daemon.signal(Signal::CONT);
    supervisor.socket.set_nonblocking(false).unwrap();
    supervisor.hears("WATCHDOG=1");
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().ok());
}

/// `kill -9` under readers and a writer, and then what `Restart=on-failure` does: nothing but start it
/// again.
#[test]
fn after_a_crash_the_mount_is_back_and_what_was_open_does_not_hang() {
    let mut fs = Start::default().with_api().mount();
    fs.noise("seed", 8_000_000);
    fs.sh("cp seed $M/a");
    let old = fs.spawn_python(
        "
a = os.open(M + '/a', os.O_RDONLY)
# An image in a directory is read by the kernel itself, which goes on; all else is an error.
def outcome(act):
    try:
        return act() and 'done'
    except OSError as error:
        return errno.errorcode[error.errno]
top = os.open(M, os.O_RDONLY)
new = os.open(M + '/b', os.O_WRONLY | os.O_CREAT)
os.write(new, b'half')
print('open', flush=True)
while not os.path.exists('killed'): time.sleep(0.01)
print('read', outcome(lambda: sum(len(os.pread(a, 4096, at)) for at in range(0, 8000000, 4096))))
print('list', outcome(lambda: os.listdir(top)))
print('write', outcome(lambda: os.write(new, b'more') and os.fsync(new) or True))
outcome(lambda: os.close(new))
",
    );
    eventually("open", || old.printed().contains("open"));
    fs.kill();
    fs.start_again();
    fs.sh("touch killed; cmp seed $M/a");
    let done = old.wait();
    let said: Vec<_> = done.stdout.lines().skip(1).collect();
    assert!(["read done", "read ENOTCONN"].contains(&said[0]), "{done:?}");
    assert_eq!(said[1..], ["list ENOTCONN", "write ENOTCONN"], "{done:?}");
    assert_eq!(fs.sh("ls $M"), "a\n");
    assert!(fs.terminate().success());
    assert!(!fs.is_mounted(), "no mount is left below");
}

#[test]
fn a_second_crash_while_starting_is_no_obstacle() {
    let mut fs = Start::default().mount();
    fs.sh("echo a >$M/a");
    for _ in 0..3 {
        fs.kill();
        // It may be killed anywhere on its way.
        let mut again = fs.command().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(15));
        again.kill().unwrap();
        again.wait().unwrap();
        fs.start_again();
    }
    assert_eq!(fs.sh("cat $M/a"), "a\n");
}

#[test]
fn a_hang_up_reopens_the_log_and_reads_how_much_to_log() {
    let fs = Start::default().prepare();
    let log = fs.directory().join("log");
    std::fs::create_dir(&log).unwrap();
    let configure = |more: &str| {
        let text = format!("[DEFAULT]\nlog_dir = {}\n{more}", log.display());
        std::fs::write(fs.directory().join("a.conf"), text).unwrap();
    };
    configure("");
    let mut command = fs.command();
    command.arg("--config-file").arg(fs.directory().join("a.conf"));
    let daemon = Running::start(&mut command);
    eventually("mounted", || daemon.printed().contains("images are in"));
    let current = log.join("glancefs.log");
    std::fs::rename(&current, log.join("glancefs.log.1")).unwrap();
    configure("debug = true\nbind_port = 1\n");
    daemon.signal(Signal::HUP);
    let read = || {
        let mut text = String::new();
        let file = std::fs::File::open(&current);
        file.and_then(|mut file| file.read_to_string(&mut text)).map(|_| text).unwrap_or_default()
    };
    eventually("the log goes on", || read().contains("the log goes on"));
    let old = std::fs::read_to_string(log.join("glancefs.log.1")).unwrap();
    assert!(old.contains("until a restart: [DEFAULT] bind_port"), "{old}");
    daemon.signal(Signal::TERM);
    let done = daemon.wait();
    assert!(done.ok() && done.stderr.is_empty(), "{done:?}");
    assert!(read().contains("unmounted"));
}
