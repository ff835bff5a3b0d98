//! What the daemon may still do: what it needs, from its first moment on, and no more.
//!
//! Whoever finds a way to make this process run their code has got what root may do, less what is
//! given up here, for this process and all that it starts.  Must be called before there is a second
//! thread: capabilities are a thread's own, and new threads get those of the one that starts them.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use tracing::{debug, warn};

use crate::config::Config;

/// The first port that anybody may listen on (Linux: `ip_unprivileged_port_start`).
const FIRST_OPEN_PORT: u16 = 1024;

/// What a daemon is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// A mount, and perhaps the API.
    Mount,
    /// The API alone.
    Serve,
}

/// Gives up what is not needed.  What cannot be given up is said, and kept.
pub(super) fn give_up(config: &Config, duty: Duty) {
    keep_secrets();
    let root = geteuid().is_root();
    // Anybody but root mounts and unmounts by way of fusermount3, which is set-user-ID.
    if (root || duty == Duty::Serve)
        && let Err(error) = set_no_new_privs(true)
    {
        warn!(%error, "programs may gain privileges (no_new_privs)");
    }
    if root && let Err(error) = reduce(needed(config, duty)) {
        warn!(%error, "capabilities stay as they are");
    }
}

/// No core file has passwords, tokens or images in it, wherever the system puts core files, and no
/// other process of the same user looks into this one's memory.
fn keep_secrets() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = limited.and(hidden) {
        warn!(%error, "the memory of this process may end in a core file");
    }
}

/// What root needs for a duty.
fn needed(config: &Config, duty: Duty) -> CapabilitySet {
    // Image files and databases may belong to the user `glance`, and keyrings to `ceph`.
    let files = CapabilitySet::DAC_OVERRIDE;
    // A program that converts images becomes nobody, is given files, and is ended.
    let sandbox =
        CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::CHOWN | CapabilitySet::KILL;
    let mount = match duty {
        // Mounting, passthrough, unmounting; and who still has a file open that is being written.
        Duty::Mount => CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE,
        Duty::Serve => CapabilitySet::empty(),
    };
    let listens = [config.listen, config.metrics_listen];
    let low = listens.iter().flatten().any(|address| {
        let port = address.port();
        port != 0 && port < FIRST_OPEN_PORT
    });
    let ports = if low { CapabilitySet::NET_BIND_SERVICE } else { CapabilitySet::empty() };
    files | sandbox | mount | ports
}

/// Leaves this thread these capabilities at most, and so all that it starts.
fn reduce(needed: CapabilitySet) -> rustix::io::Result<()> {
    let held = capabilities(None)?;
    for capability in CapabilitySet::all().difference(needed).iter() {
        // A container may not let us; then what follows is all that is done.  What an older kernel
        // does not know needs no removing.
        if let Err(error) = remove_capability_from_bounding_set(capability) {
            debug!(%error, ?capability, "stays in the bounding set");
        }
    }
    let left = held.permitted.intersection(needed);
    set_capabilities(
        None,
        CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() },
    )
}
