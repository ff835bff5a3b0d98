//! Who is writing: what `/proc` tells of the process behind a FUSE request.
//!
//! A `close` seals a file only when it closes the last descriptor, and a writer that was killed
//! leaves nothing behind.  FUSE says neither; `/proc` does.  Where it may not be read (another
//! user's process, another PID namespace), the answers are those of a process that holds nothing
//! and ended well.

use std::fs;

use super::inodes::Ino;

/// A process (not a thread), told apart from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// The thread group's id; 0 when it is not in our PID namespace.
    pub pid: u32,
    /// Clock ticks after boot at which it started.
    started: u64,
}

/// How many descendants are looked at, in processes that fork without end.
const DESCENDANTS_MAX: usize = 256;

impl Process {
    /// The process of the thread that a request names (FUSE: `pid` is a thread's id).
    pub fn of_thread(tid: u32) -> Self {
        let pid = thread_group(tid).unwrap_or(tid);
        Self { pid, started: Stat::read(pid).map_or(0, |stat| stat.started) }
    }

    /// Whether it has ended, a zombie counting as ended.
    pub fn has_ended(self) -> bool {
        match Stat::read(self.pid) {
            Some(stat) => matches!(stat.state, 'Z' | 'X') || stat.started != self.started,
            None => true,
        }
    }

    /// Whether it, or a process that it started, has the inode open for writing.
    pub fn holds_for_writing(self, ino: Ino) -> bool {
        if self.pid == 0 {
            return false;
        }
        let mut family = vec![self.pid];
        let mut next = 0;
        while let Some(&pid) = family.get(next) {
            if writes(pid, ino) {
                return true;
            }
            if family.len() < DESCENDANTS_MAX {
                family.extend(children(pid));
            }
            next += 1;
        }
        false
    }
}

/// Whether any process that may be looked at has the inode open for writing.  Looks at all of them:
/// for the rare close that neither the opener nor anybody related to it makes.
pub fn anybody_holds_for_writing(ino: Ino) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.into_iter().any(|pid| writes(pid, ino))
}

/// Whether the thread is on its way out because of a signal (Ctrl-C, kill -9, …).
pub fn was_killed(tid: u32) -> bool {
    /// Linux: `PF_EXITING` in a task's flags.
    const EXITING: u64 = 0x4;
    Stat::read(tid).is_some_and(|stat| stat.flags & EXITING != 0 && stat.exit_code & 0x7f != 0)
}

/// The fields of `/proc/PID/stat` that matter here (proc_pid_stat(5)).
struct Stat {
    state: char,
    flags: u64,
    started: u64,
    exit_code: u32,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The command's name is in parentheses and may hold anything, a `)` too.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
        // The first field here is the page's number 3.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            state: field(3)?.chars().next()?,
            flags: field(9)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
            exit_code: field(52)?.parse().ok()?,
        })
    }
}

/// The supplementary groups of the thread that a request names, if it still is who made the request.
///
/// The kernel's own list, and no user database: what the process really has (`newgrp`, containers,
/// a group left behind), without waiting for anybody.  Not kept: a process that gives up a group
/// gives up what came with it, at once.
pub fn groups(tid: u32, uid: u32, gid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    groups_in(&text, uid, gid)
}

fn groups_in(status: &str, uid: u32, gid: u32) -> Vec<u32> {
    let numbers = |key: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_ascii_whitespace().flat_map(str::parse).collect()
    };
    // The fourth number is the one that file systems are told (proc_pid_status(5)).  The thread's
    // number may have another owner by now, or act as somebody else for this one call.
    let is_caller = numbers("Uid:").get(3) == Some(&uid) && numbers("Gid:").get(3) == Some(&gid);
    if is_caller { numbers("Groups:") } else { Vec::new() }
}

fn thread_group(tid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// Whether one of the process's descriptors is of this inode and writable.  `fdinfo` says so
/// without a `stat`, which would come back to us as a request.
fn writes(pid: u32, ino: Ino) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return false };
    descriptors.flatten().any(|descriptor| {
        let text = fs::read_to_string(descriptor.path()).unwrap_or_default();
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let is_it = value("ino:").and_then(|text| text.parse().ok()) == Some(ino);
        let flags = value("flags:").and_then(|text| u32::from_str_radix(text, 8).ok());
        is_it && flags.is_some_and(|flags| flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32)
    })
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("children")));
    lists
        .flatten()
        .flat_map(|list| list.split_ascii_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    #[test]
    fn a_process_holds_what_it_or_its_children_have_open_for_writing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ino = file.as_file().metadata().unwrap().ino();
        let me = Process::of_thread(std::process::id());
        assert!(me.holds_for_writing(ino));
        let path = file.into_temp_path();
        assert!(!me.holds_for_writing(ino));
        let reading = fs::File::open(&path).unwrap();
        assert!(!me.holds_for_writing(ino));
        drop(reading);
        let writing = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut child = Command::new("sleep").arg("60").stdout(writing).spawn().unwrap();
        assert!(me.holds_for_writing(ino));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!me.holds_for_writing(ino));
    }

    #[test]
    fn a_process_that_ended_has_ended_even_as_a_zombie() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of_thread(child.id());
        assert!(!process.has_ended());
        child.kill().unwrap();
        while !process.has_ended() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(process.has_ended());
    }

    #[test]
    fn groups_are_those_of_the_caller_and_of_nobody_else() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t30 40 \nX:\t1\n";
        assert_eq!(groups_in(status, 4, 8), [30, 40]);
        assert_eq!(groups_in(status, 1, 8), [0; 0], "somebody else");
        assert_eq!(groups_in(status, 4, 5), [0; 0], "another group");
        assert_eq!(groups_in("", 0, 0), [0; 0], "gone");
    }

    #[test]
    fn a_command_may_be_called_anything() {
        let mut fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        fields[0] = "S".to_string();
        let stat = Stat::parse(&format!("7 (a) b (c) {}", fields.join(" "))).unwrap();
        assert_eq!((stat.state, stat.flags, stat.started, stat.exit_code), ('S', 9, 22, 52));
    }
}
