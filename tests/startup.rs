//! Everything that keeps the daemon from starting: it says what is wrong, where, and what to do.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Cluster, Finished, Running, eventually};

/// One mistake: the configuration, what the message must name, and what it must say to do.
struct Mistake {
    config: &'static str,
    names: &'static str,
    cure: &'static str,
}

const fn mistake(config: &'static str, names: &'static str, cure: &'static str) -> Mistake {
    Mistake { config, names, cure }
}

/// In the texts `$D` stands for a directory of the test's.
const MISTAKES: &[Mistake] = &[
    // What is no configuration file.
    mistake("[DEFAULT]\nnonsense\n", "$D/a.conf:2: ", "write `name = value`"),
    mistake("[DEFAULT\n", "$D/a.conf:1: ", "write `[name]`"),
    mistake("bind_port = 1\n", "$D/a.conf:1: `bind_port`", "write `[DEFAULT]` above it"),
    mistake("[DEFAULT]\n\n  1\n", "$D/a.conf:3: ", "remove the white space"),
    mistake("[DEFAULT]\n= 1\n", "$D/a.conf:2: ", "write `name = value`"),
    mistake(
        "[DEFAULT]\nbind_host = $nobody\n",
        "$D/a.conf:2: bind_host refers to $nobody",
        "set it",
    ),
    mistake("[DEFAULT]\na = $b\nb = $a\nbind_host = $a\n", "back to itself", "write the value out"),
    // Values that cannot be.
    mistake(
        "[DEFAULT]\nbind_port = ninety\n",
        "$D/a.conf:2: [DEFAULT] bind_port",
        "from 0 to 65535",
    ),
    mistake("[DEFAULT]\ndebug = perhaps\n", "[DEFAULT] debug", "write true or false"),
    mistake("[DEFAULT]\nimage_size_cap = 0\n", "image_size_cap", "of at least 1"),
    mistake("[DEFAULT]\nhashing_algorithm = md5\n", "hashing_algorithm", "write sha512"),
    mistake("[DEFAULT]\nuser_storage_quota = 1 GB\n", "user_storage_quota", "500GB"),
    mistake("[DEFAULT]\nnode_staging_uri = /srv\n", "node_staging_uri", "write file:///"),
    mistake("[DEFAULT]\ncert_file = /x\n", "[DEFAULT] key_file", "name all files, or none"),
    mistake(
        "[DEFAULT]\ncert_file = $D/no\nkey_file = $D/no\n",
        "cert_file $D/no",
        "name a file of PEM",
    ),
    mistake("[DEFAULT]\nsyslog_log_facility = LOG_ME\n", "syslog_log_facility", "write LOG_USER"),
    mistake("[glancefs]\nlog_format = xml\n", "[glancefs] log_format", "write text or json"),
    mistake("[glancefs]\nmetrics_listen = 9293\n", "metrics_listen", "as 127.0.0.1:9293"),
    mistake("[glancefs]\nblock_cache_size = 1\n", "block_cache_size", "of at least"),
    mistake(
        "[glancefs]\nweb_download_networks = home\n",
        "web_download_networks",
        "write networks",
    ),
    mistake("[import_filtering_opts]\nallowed_ports = [http]\n", "allowed_ports", "write ports"),
    mistake(
        "[image_import_opts]\nimage_import_plugins = [x]\n",
        "image_import_plugins",
        "there are ",
    ),
    mistake(
        "[image_conversion]\noutput_format = vdi\n",
        "output_format",
        "write raw, qcow2 or vmdk",
    ),
    // Stores.
    mistake("[glance_store]\ndefault_store = swift\n", "default_store", "write file or rbd"),
    mistake("[glance_store]\nfilesystem_store_file_perm = 888\n", "file_perm", "such as 640"),
    mistake(
        "[glance_store]\ndefault_store = rbd\nrbd_store_chunk_size = 3\n",
        "chunk_size",
        "write 1, 2",
    ),
    mistake("[DEFAULT]\nenabled_backends = a:swift\n", "enabled_backends", "write for example"),
    mistake("[DEFAULT]\nenabled_backends = a:file, a:file\n", "names a twice", "a name of its own"),
    mistake(
        "[DEFAULT]\nenabled_backends = a:file\n[glance_store]\ndefault_backend = b\n",
        "[glance_store] default_backend",
        "must be one of",
    ),
    mistake(
        "[DEFAULT]\nenabled_backends = a:file, b:file\n[a]\nfilesystem_store_datadir = /x\n\
         [b]\nfilesystem_store_datadir = /x\n",
        "stores a and b",
        "a directory or pool of its own",
    ),
    // What is not there, or not usable.
    mistake("[glance_store]\nfilesystem_store_datadir = $D/file/x\n", "$D/file/x", "make it"),
    mistake("[DEFAULT]\nnode_staging_uri = file://$D/file/x\n", "$D/file/x", "node_staging_uri"),
    mistake("[DEFAULT]\nlog_file = $D/no/log\n", "$D/no/log", "change log_file"),
    mistake("[database]\nconnection = sqlite:///$D/no/db\n", "$D/no/db", "make its directory"),
    mistake("[database]\nconnection = sqlite:///$D/file\n", "$D/file", "name another file"),
    mistake("[database]\nconnection = sqlite:///$D/other.db\n", "$D/other.db", "name another file"),
    mistake("[database]\nconnection = sqlite:///$D/newer.db\n", "2099_01", "use a newer glancefs"),
    mistake("[database]\nconnection = oracle://u:s3cret@h/d\n", "connection", "write sqlite:"),
    mistake("[glancefs]\nmetrics_listen = $PORT\n", "metrics_listen", "choose another"),
    mistake("[glancefs]\nstate_dir = $D/file\n", "$D/file", "--state-dir"),
];

struct Place {
    directory: tempfile::TempDir,
    /// Somebody else's.
    port: std::net::TcpListener,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Self { directory, port };
        fs::create_dir(place.path("mount")).unwrap();
        fs::write(place.path("file"), "no database\n".repeat(100)).unwrap();
        let database = |name: &str, sql: &str| {
            rusqlite::Connection::open(place.path(name)).unwrap().execute_batch(sql).unwrap();
        };
        database("other.db", "CREATE TABLE notes (text)");
        database(
            "newer.db",
            "CREATE TABLE images (id); CREATE TABLE alembic_version (version_num);
             INSERT INTO alembic_version VALUES ('2099_01')",
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn fill(&self, text: &str) -> String {
        let port = self.port.local_addr().unwrap().to_string();
        text.replace("$D", &self.directory.path().display().to_string()).replace("$PORT", &port)
    }

    fn configure(&self, text: &str) {
        fs::write(self.path("a.conf"), self.fill(text)).unwrap();
    }

    /// The command that starts the daemon, with `a.conf`.
    fn daemon(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glancefs"));
        command.arg(verb).arg("--config-file").arg(self.path("a.conf"));
        // Where $HOME is not this directory, a mistake must not make anything elsewhere.
        command.env("XDG_STATE_HOME", self.path("xdg")).env_remove("RUST_LOG");
        command
    }

    /// Tries to mount.
    fn mount(&self, arguments: &[&str]) -> Finished {
        let mut command = self.daemon("mount");
        command.arg("--no-api").args(arguments).arg("--state-dir").arg(self.path("state"));
        Running::start(command.arg(self.path("mount"))).wait()
    }
}

#[track_caller]
fn complains(done: &Finished, names: &str, cure: &str) {
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert_eq!(done.stdout, "");
    let last = done.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("glancefs: ") && last.contains(names), "{names}: {done:?}");
    assert!(last.contains(cure), "{cure}: {done:?}");
    assert!(!done.stderr.contains("s3cret") && !done.stderr.contains("panicked"), "{done:?}");
}

#[test]
fn a_wrong_configuration_is_refused_with_what_to_do() {
    let place = Place::new();
    for Mistake { config, names, cure } in MISTAKES {
        place.configure(config);
        let mut command = place.daemon("serve");
        command.args(["--listen", "127.0.0.1:0"]);
        if !config.contains("state_dir") {
            command.arg("--state-dir").arg(place.path("state"));
        }
        let done = Running::start(&mut command).wait();
        complains(&done, &place.fill(names), &place.fill(cure));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::new();
    complains(&place.mount(&[]), "a.conf", "No such file");
    fs::write(place.path("a.conf"), b"[DEFAULT]\n# caf\xe9\n").unwrap();
    complains(&place.mount(&[]), "a.conf", "iconv");
    place.configure("");
    complains(&place.mount(&["--config-dir", "/no/dir"]), "/no/dir", "name a directory");
}

#[test]
fn a_wrong_command_line_is_refused_with_what_to_do() {
    let place = Place::new();
    place.configure("");
    for (options, names, cure) in [
        ("sloppy", "-o sloppy is unknown", "there are: ro"),
        ("uid=me", "uid=me", "write for example uid=1000"),
        ("umask=9", "umask=9", "write for example umask=027"),
    ] {
        complains(&place.mount(&["-o", options]), names, cure);
    }
}

#[test]
fn a_port_or_an_address_that_cannot_be_had_is_named() {
    let place = Place::new();
    for (address, cure) in
        [("$PORT", "choose another"), ("192.0.2.1:9292", "address of this machine")]
    {
        place.configure("");
        let mut command = place.daemon("serve");
        command
            .arg("--state-dir")
            .arg(place.path("state"))
            .args(["--listen", &place.fill(address)]);
        complains(&Running::start(&mut command).wait(), "", cure);
    }
}

#[test]
fn a_mountpoint_that_cannot_be_used_is_named() {
    let place = Place::new();
    place.configure("");
    fs::remove_dir(place.path("mount")).unwrap();
    complains(&place.mount(&[]), &place.fill("$D/mount does not exist"), "mkdir -p");
    fs::write(place.path("mount"), "").unwrap();
    complains(&place.mount(&[]), &place.fill("$D/mount"), "is not a directory");
}

/// In a namespace of its own; needs to be root there.
fn in_a_world_of_its_own(place: &Place, script: &str) -> Finished {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc"]);
    command.arg(script).env("D", place.directory.path());
    Running::start(command.env("G", env!("CARGO_BIN_EXE_glancefs"))).wait()
}

#[test]
fn a_machine_without_fuse_is_told_how_to_have_it() {
    let place = Place::new();
    let done = in_a_world_of_its_own(
        &place,
        "mount -t tmpfs none /dev; exec $G mount --no-api --state-dir $D/state $D/mount",
    );
    complains(&done, "cannot mount at", "modprobe fuse");
}

/// Somebody mounted there, and died.
#[test]
fn a_dead_mount_of_another_program_is_left_alone() {
    let place = Place::new();
    let script = "
import ctypes, os
device = os.open('/dev/fuse', os.O_RDWR)
options = f'fd={device},rootmode=40000,user_id=0,group_id=0'
mountpoint = os.environ['D'] + '/mount'
if ctypes.CDLL(None).mount(b'other', mountpoint.encode(), b'fuse.other', 0, options.encode()):
    raise SystemExit('cannot mount')
os.close(device)
";
    fs::write(place.path("dies.py"), script).unwrap();
    let done = in_a_world_of_its_own(
        &place,
        "python3 $D/dies.py; exec $G mount --no-api --state-dir $D/state $D/mount",
    );
    complains(&done, "not ours", "umount -l");
}

#[test]
fn a_system_without_a_log_is_named() {
    let place = Place::new();
    if Path::new("/dev/log").exists() {
        return;
    }
    place.configure("[DEFAULT]\nuse_syslog = true\n");
    complains(&place.mount(&[]), "/dev/log", "unset use_syslog");
}

/// A daemon with a pool starts in any case: the cluster may come later.  Its log says what is wrong.
#[test]
#[ignore = "needs Ceph's packages"]
fn a_pool_that_cannot_be_used_is_named_in_the_log() {
    let cluster = Cluster::shared();
    for (more, names, cure) in [
        ("rbd_store_pool = pictures", "pictures", "ceph osd pool create pictures"),
        ("rbd_store_user = nobody", "client.nobody", "keyring"),
    ] {
        let place = Place::new();
        let conf = cluster.conf();
        let text = format!(
            "[glance_store]\ndefault_store = rbd\nrbd_store_ceph_conf = {}\nrbd_store_user = admin\n\
             {more}\nrados_connect_timeout = 5\n[DEFAULT]\nlog_file = $D/log\n",
            conf.display()
        );
        place.configure(&text);
        let mut command = place.daemon("serve");
        command.arg("--state-dir").arg(place.path("state")).args(["--listen", "127.0.0.1:0"]);
        let daemon = Running::start(&mut command);
        let log = || fs::read_to_string(place.path("log")).unwrap_or_default();
        eventually("the store is known to be unusable", || log().contains("does not answer"));
        let log = log();
        assert!(log.contains(names) && log.contains(cure), "{log}");
        daemon.signal(rustix::process::Signal::TERM);
        assert!(daemon.wait().ok());
    }
    let place = Place::new();
    place.configure("[glance_store]\ndefault_store = rbd\nrbd_store_ceph_conf = $D/no.conf\n");
    complains(&place.mount(&[]), "no.conf", "ceph.conf there");
}
