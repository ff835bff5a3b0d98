//! `mount.glancefs`: what mount(8) runs for `mount -t glancefs`, and for such a line of fstab(5).
//!
//! It is this program under another name.  It starts `glancefs mount` in the background, and returns
//! when the mount answers, with an exit status of mount(8)'s.  The daemon itself says on standard
//! error what keeps it from that.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::config::mount_options::{MountOptions, is_known, join, split};
use crate::error::{Error, Result};

/// The name under which this program is a helper of mount(8).
const NAME: &str = "mount.glancefs";

/// The configuration, where no option names one and it is there.
const DEFAULT_CONFIG: &str = "/etc/glancefs/glancefs.conf";

/// How long the mount may take to answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// mount(8): incorrect invocation.
const USAGE: u8 = 1;
/// mount(8): system error.
const SYSTEM: u8 = 2;
/// mount(8): mount failure.
const FAILED: u8 = 32;

/// An option for the daemon that a mount starts; the others are the mount's own.
#[derive(Debug)]
pub struct DaemonOption {
    /// The word; with a `=` when a value must follow.
    pub name: &'static str,
    /// What `glancefs mount` calls it.
    argument: &'static str,
}

const fn option(name: &'static str, argument: &'static str) -> DaemonOption {
    DaemonOption { name, argument }
}

/// Every option of the daemon.
pub const DAEMON_OPTIONS: &[DaemonOption] = &[
    option("config=", "--config-file"),
    option("config_dir=", "--config-dir"),
    option("state_dir=", "--state-dir"),
    option("listen=", "--listen"),
    option("no_api", "--no-api"),
    option("project=", "--project"),
    option("log_format=", "--log-format"),
    option("verbose", "--verbose"),
];

/// What mount(8) asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    source: String,
    mountpoint: String,
    /// For `glancefs mount`, in their order.
    daemon: Vec<String>,
    /// For its `-o`.
    mount: Vec<String>,
    /// Only look whether all is in order.
    fake: bool,
}

/// Whether the program was started under the helper's name.
pub fn is_meant(program: Option<&OsStr>) -> bool {
    program.is_some_and(|program| Path::new(program).file_name() == Some(OsStr::new(NAME)))
}

/// Does what mount(8) asks for; what `main` returns.
pub fn run(arguments: &[String]) -> ExitCode {
    let asked = match Asked::parse(arguments) {
        Ok(asked) if asked.fake => return ExitCode::SUCCESS,
        Ok(asked) => asked,
        Err(error) => return fail(&error.to_string(), USAGE),
    };
    match start(&asked) {
        Ok(daemon) => wait_until_mounted(daemon, &asked.mountpoint),
        Err(error) => fail(&format!("cannot start glancefs: {error}"), SYSTEM),
    }
}

fn fail(message: &str, status: u8) -> ExitCode {
    eprintln!("{NAME}: {message}");
    ExitCode::from(status)
}

impl Asked {
    /// mount(8), EXTERNAL HELPERS: `spec dir [-sfnv] [-N namespace] [-o options] [-t type]`.
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut asked = Self::default();
        let (mut places, mut options, mut sloppy) = (Vec::new(), Vec::new(), false);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "-o" => options.extend(arguments.next().into_iter().flat_map(|text| split(text))),
                // mount(8) has entered the namespace already, and knows the type.
                "-N" | "-t" => drop(arguments.next()),
                flags if flags.starts_with('-') && flags.len() > 1 => {
                    for flag in flags.chars().skip(1) {
                        match flag {
                            's' => sloppy = true,
                            'f' => asked.fake = true,
                            'r' => options.push("ro".to_owned()),
                            'n' | 'v' | 'w' => {}
                            _ => return Err(usage(&format!("-{flag} is unknown"))),
                        }
                    }
                }
                place => places.push(place.to_owned()),
            }
        }
        let [source, mountpoint] = <[String; 2]>::try_from(places)
            .map_err(|_| usage("what to mount, and where, must be given"))?;
        (asked.source, asked.mountpoint) = (source, mountpoint);
        asked.sort(options, sloppy)?;
        Ok(asked)
    }

    fn sort(&mut self, options: Vec<String>, sloppy: bool) -> Result<()> {
        for option in options {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (format!("{name}="), Some(value)),
                None => (option.clone(), None),
            };
            if let Some(own) = DAEMON_OPTIONS.iter().find(|own| own.name == name) {
                self.daemon.push(own.argument.to_owned());
                self.daemon.extend(value.map(str::to_owned));
            } else if name == "remount" {
                return Err(Error::Config(
                    "a mount cannot be changed: unmount it, and mount it again".to_owned(),
                ));
            } else if !sloppy || is_known(&option) {
                self.mount.push(option);
            }
        }
        // A mistyped option is the commonest mistake, and to be told as such.
        let shown = join(&self.mount);
        MountOptions::parse(&[shown]).map(drop)?;
        if !self.daemon.iter().any(|argument| argument.starts_with("--config-"))
            && Path::new(DEFAULT_CONFIG).exists()
        {
            self.daemon.extend(["--config-file".to_owned(), DEFAULT_CONFIG.to_owned()]);
        }
        Ok(())
    }
}

fn usage(what: &str) -> Error {
    Error::Config(format!("{what}; usage: {NAME} SOURCE MOUNTPOINT [-sfnv] [-o OPT[,OPT...]]"))
}

fn start(asked: &Asked) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0("glancefs").arg("mount").args(&asked.daemon);
    if !asked.mount.is_empty() {
        command.arg("-o").arg(join(&asked.mount));
    }
    command.args(["--background", "--source", &asked.source, "--", &asked.mountpoint]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

/// The daemon prints a line when the mount answers.
fn wait_until_mounted(mut daemon: Child, mountpoint: &str) -> ExitCode {
    let Some(stdout) = daemon.stdout.take() else { return fail("no pipe", SYSTEM) };
    let (sender, answer) = sync_channel(1);
    let reader = thread::Builder::new().spawn(move || {
        let mut line = String::new();
        // Nothing at all, or nothing that can be read, means that the daemon has ended.
        let read = BufReader::new(stdout).read_line(&mut line);
        if read.is_ok_and(|length| length > 0) {
            let _ = sender.send(());
        }
    });
    if let Err(error) = reader {
        end(&mut daemon);
        return fail(&format!("cannot start a thread: {error}"), SYSTEM);
    }
    match answer.recv_timeout(PATIENCE) {
        Ok(()) => ExitCode::SUCCESS,
        Err(RecvTimeoutError::Disconnected) => {
            // It has said why.
            let _ = daemon.wait();
            ExitCode::from(FAILED)
        }
        Err(RecvTimeoutError::Timeout) => {
            end(&mut daemon);
            let seconds = PATIENCE.as_secs();
            fail(&format!("{mountpoint} does not answer after {seconds} seconds"), FAILED)
        }
    }
}

/// Gives the daemon a moment to clean up.
fn end(daemon: &mut Child) {
    if let Some(pid) = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    for _ in 0..100 {
        if !matches!(daemon.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let _ = daemon.kill();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Asked> {
        Asked::parse(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_mount_passes_on_is_understood() {
        let options =
            "rw,replace,allow_other,config=/etc/a.conf,state_dir=/s,_netdev,nofail,no_api";
        let asked = parse(&["none", "/srv/images", "-v", "-o", options]).unwrap();
        assert_eq!((asked.source.as_str(), asked.mountpoint.as_str()), ("none", "/srv/images"));
        assert_eq!(asked.daemon, ["--config-file", "/etc/a.conf", "--state-dir", "/s", "--no-api"]);
        assert_eq!(asked.mount, ["rw", "replace", "allow_other", "_netdev", "nofail"]);
        assert!(!asked.fake && parse(&["a", "/b", "-fn"]).unwrap().fake);
    }

    #[test]
    fn commas_can_be_in_values() {
        let options = r#"ro,config="/etc/a,b.conf",state_dir=/s\,t,project=a\\b"#;
        let asked = parse(&["none", "/m", "-o", options]).unwrap();
        let expected =
            ["--config-file", "/etc/a,b.conf", "--state-dir", "/s,t", "--project", r"a\b"];
        assert_eq!(asked.daemon, expected);
    }

    #[test]
    fn unknown_options_are_refused_unless_sloppy() {
        let refused = parse(&["none", "/m", "-o", "repalce"]).unwrap_err().to_string();
        assert!(refused.contains("-o repalce is unknown"), "{refused}");
        let asked = parse(&["none", "/m", "-s", "-o", "repalce,ro"]).unwrap();
        assert_eq!(asked.mount, ["ro"]);
        let remount = parse(&["none", "/m", "-o", "remount,ro"]).unwrap_err().to_string();
        assert!(remount.contains("unmount it"), "{remount}");
        for wrong in [&["none"][..], &[], &["a", "b", "c"], &["a", "/b", "-z"]] {
            assert!(parse(wrong).unwrap_err().to_string().contains("usage: "), "{wrong:?}");
        }
    }

    #[test]
    fn the_name_decides() {
        assert!(is_meant(Some(OsStr::new("/sbin/mount.glancefs"))));
        assert!(!is_meant(Some(OsStr::new("/usr/bin/glancefs"))) && !is_meant(None));
    }
}
