//! What the daemon may do, and what it keeps to itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use serde_json::json;

use crate::harness::{Glancefs, Running, Start, Stored, User, eventually, skipped_on_rbd};

/// Capabilities by their numbers (linux/capability.h).
const FILES: u64 = 1 << 1; // DAC_OVERRIDE
const SANDBOX: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 7; // CHOWN, KILL, SETGID, SETUID
const MOUNT: u64 = 1 << 19 | 1 << 21; // SYS_PTRACE, SYS_ADMIN
const LOW_PORT: u64 = 1 << 10; // NET_BIND_SERVICE

/// `/proc/PID/status` of each thread of a process.
fn threads(pid: u32) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |path: std::path::PathBuf| fs::read_to_string(path.join("status")).ok();
    // One that has just ended has nothing to say.
    let texts = tasks.filter_map(|task| status(task.unwrap().path()));
    let fields = |text: String| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
    };
    texts.map(fields).collect()
}

/// Every thread may do this much at most, and so may what it starts.
#[track_caller]
fn assert_may(pid: u32, needed: u64) {
    let here = threads(std::process::id());
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let all = number(&here[0]["CapEff"]);
    let threads = threads(pid);
    assert!(threads.len() > 4, "{}", threads.len());
    for thread in threads {
        let shown = format!("{thread:#?}");
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(number(&thread[set]), needed & all, "{set} of {shown}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(number(&thread[set]), 0, "{set} of {shown}");
        }
        assert_eq!(number(&thread["CapBnd"]) & !needed, 0, "{shown}");
        assert_eq!(thread["NoNewPrivs"], "1", "{shown}");
    }
}

#[test]
#[ignore = "takes root, which has something to give up"]
fn root_keeps_what_the_mount_needs_and_no_more() {
    let mut fs = Start::default().with_api().mount();
    assert_may(fs.pid(), FILES | SANDBOX | MOUNT);
    fs.sh("echo a >$M/a; cat $M/a");
    fs.restart_configured("[glancefs]\nmetrics_listen = 127.0.0.1:923\n");
    assert_may(fs.pid(), FILES | SANDBOX | MOUNT | LOW_PORT);
    assert!(fs.terminate().success());
    assert!(!fs.is_mounted());
}

#[test]
#[ignore = "takes root, which has something to give up"]
fn root_that_serves_alone_keeps_nothing_of_a_mount() {
    let fs = Start::default().prepare();
    let mut command = Command::new(env!("CARGO_BIN_EXE_glancefs"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--state-dir"]).arg(fs.state_dir());
    let daemon = Running::start(&mut command);
    eventually("it answers", || daemon.printed().contains("answers at"));
    assert_may(daemon.pid(), FILES | SANDBOX);
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.wait().ok());
}

#[test]
#[ignore = "gives files to other users, which takes root"]
fn files_of_another_user_are_read_added_to_and_removed() {
    if skipped_on_rbd("it is about files") {
        return;
    }
    let mut fs = Glancefs::mount();
    let id = fs.glance_stores(&Stored { name: "theirs", ..Stored::default() });
    fs.terminate();
    let script = format!(
        "cd {0}; chown -R 64062:64062 images; chmod 750 images; chmod 640 images/{id}
         for file in glance.sqlite*; do
             if [ -e $file ]; then chown 64062:64062 $file; chmod 640 $file; fi
         done",
        fs.state_dir().display()
    );
    fs.sh(&script);
    fs.start_again();
    assert_eq!(
        fs.sh("cat $M/theirs; cp $M/theirs $M/ours; rm $M/theirs; cat $M/ours"),
        "storedstored"
    );
    assert!(!fs.datadir().join(id).exists());
    // Somebody else's process tells whether it still has a file open.
    let writer = Start::default().options("allow_other,uid=10001,umask=022");
    fs.restart_with(writer);
    let fs = fs.open_to_all();
    fs.sh_as(&User::new(10001), "exec 3>$M/pieces; printf a >&3; (printf b >&3); printf c >&3");
    assert_eq!(fs.sh_as(&User::new(10001), "cat $M/pieces"), "abc");
}

const CONVERTS: &str = "[image_import_opts]\nimage_import_plugins = [image_conversion]\n";

/// Imports a small qcow2 image; returns its id.
fn import(fs: &Glancefs) -> String {
    fs.sh("qemu-img create -q -f qcow2 disk 1M; qemu-io -f qcow2 -c 'write -P 7 0 64k' disk >/dev/null");
    let formats = json!({"name": "disk", "disk_format": "qcow2", "container_format": "bare"});
    let image = fs.ask("POST", "/v2/images", formats);
    let id = image["id"].as_str().unwrap().to_owned();
    let data = fs::read(fs.scratch().join("disk")).unwrap();
    fs.send("PUT", &format!("/v2/images/{id}/stage"), "application/octet-stream", &data);
    let method = json!({"method": {"name": "glance-direct"}});
    fs.ask("POST", &format!("/v2/images/{id}/import"), method);
    id
}

#[test]
#[ignore = "needs qemu-img, and root, which has something to give up"]
fn what_is_given_up_is_not_missed_where_images_are_converted() {
    let fs = Start::default().config(CONVERTS).with_api().mount();
    let id = import(&fs);
    eventually("converted", || fs.image("disk").status == "active");
    assert_eq!(fs.image("disk").disk_format.as_deref(), Some("raw"));
    fs.sh(&format!("qemu-img convert -O raw disk plain; cmp plain $M/.by-id/{id}"));
}

#[test]
#[ignore = "needs qemu-img, and root, which has something to give up"]
fn a_program_that_converts_images_is_nobody() {
    let fs = Start::default().config(CONVERTS).with_api().prepare().open_to_all();
    let program = fs.scratch().join("qemu-img");
    let says = "#!/bin/sh\necho $(id -u) $(id -G) $(grep -E 'CapPrm|CapBnd|NoNew' /proc/self/status) >&2\nexit 1\n";
    fs::write(&program, says).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", fs.scratch().display(), std::env::var("PATH").unwrap());
    let mut fs = fs.with_environment("PATH", &path);
    fs.start_again();
    // The program of the machine, not that one, makes the image.
    import(&fs);
    eventually("it has failed", || fs.log().contains("import failed"));
    let kept = FILES | SANDBOX | MOUNT;
    let all = u64::from_str_radix(&threads(std::process::id())[0]["CapBnd"], 16).unwrap();
    let expected =
        format!("65534 65534 CapPrm: 0000000000000000 CapBnd: {:016x} NoNewPrivs: 1", kept & all);
    assert!(fs.log().contains(&expected), "{expected}: {}", fs.log());
}

#[test]
#[ignore = "acts as another user, which takes root"]
fn somebody_elses_mount_goes_on_by_way_of_fusermount() {
    let fs = Start::default().prepare().open_to_all();
    fs::copy(env!("CARGO_BIN_EXE_glancefs"), fs.scratch().join("glancefs")).unwrap();
    fs.noise("seed", 3_000_000);
    // Not everywhere may everybody mount: here they may, whatever the rest of the machine is like.
    let script = "
mknod fuse c 10 229; chmod 666 fuse; mount --bind fuse /dev/fuse
mkdir own; chown 65534:65534 own $M
as='setpriv --reuid=65534 --regid=65534 --clear-groups'
$as ./glancefs mount --no-api --state-dir own/state $M >said 2>&1 & daemon=$!
until grep -q 'images are in' said; do kill -0 $daemon || { cat said >&2; exit 1; }; sleep 0.05; done
grep NoNewPrivs /proc/$daemon/status
$as sh -euc 'cp seed $M/a; cmp seed $M/a; exec 3>$M/b; printf a >&3; (printf b >&3); printf c >&3'
$as cat $M/b
# Nobody but root looks into it: not even who runs it.
if $as head -c 1 /proc/$daemon/environ; then exit 1; fi
kill -TERM $daemon; wait $daemon
! grep -q $M /proc/self/mounts";
    let done = Running::start(
        Command::new("unshare")
            .args(["-m", "sh", "-euc", script])
            .current_dir(fs.scratch())
            .env("M", fs.mountpoint()),
    )
    .wait();
    assert!(done.ok(), "{done:?}");
    assert_eq!(done.stdout, "NoNewPrivs:\t0\nabc");
}

#[test]
fn a_crash_leaves_no_core_file() {
    let mut fs = Glancefs::mount();
    let limits = fs::read_to_string(format!("/proc/{}/limits", fs.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    fs.signal(rustix::process::Signal::ABORT);
    let status = fs.wait();
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&status), "{status}");
}

#[test]
fn passwords_stay_in_the_configuration_and_that_is_warned_of_if_all_may_read_it() {
    let secrets = "[DEFAULT]\ndebug = true\ntransport_url = rabbit://stack:hunter2@127.0.0.1:1/
[keystone_authtoken]\npassword = hunter2\nmemcache_secret_key = hunter2
[oslo_limit]\npassword = hunter2\n[glancefs]\nmetrics_listen = 127.0.0.1:0\n";
    let mut fs = Start::default().config(secrets).with_api().mount();
    let path = fs.directory().join("glance-api.conf");
    let warned = |fs: &Glancefs| fs.log().contains(&format!("chmod o= {}", path.display()));
    assert!(warned(&fs), "{}", fs.log());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&fs.state_dir()), 0o700);
    assert_eq!(mode(&fs.state_dir().join("admin.sock")), 0o600);
    fs.sh("echo a >$M/a; ls $M; cat $M/a");
    let command_line = fs::read(format!("/proc/{}/cmdline", fs.pid())).unwrap();
    let said = fs.log() + &String::from_utf8_lossy(&command_line);
    assert!(!said.contains("hunter2"), "{said}");
    fs.terminate();
    // A configuration that is refused is not quoted either.
    let wrong = "[database]\nconnection = mysql+nonsense://glance:hunter2@127.0.0.1:1/x\n";
    fs.configure(&format!("{wrong}[DEFAULT]\nbind_port = hunter2\n"));
    let done = Running::start(&mut fs.command()).wait();
    assert!(!done.ok() && !done.stderr.contains("hunter2"), "{}", done.stderr);
    let fs = Start::default().config(secrets).prepare();
    let path = fs.directory().join("glance-api.conf");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(fs.state_dir()).unwrap();
    fs::set_permissions(fs.state_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut fs = fs;
    fs.start_again();
    assert!(!fs.log().contains("chmod o="), "{}", fs.log());
    assert!(fs.log().contains(&format!("chmod 700 {}", fs.state_dir().display())), "{}", fs.log());
}
