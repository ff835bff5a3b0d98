//! How much memory there is to use.

use std::fs;
use std::path::{Path, PathBuf};

use super::options::BLOCK_CACHE_SIZE;
use super::reader::Reader;
use crate::error::Result;

/// The kernel's page cache serves what is read again; this is for what is read ahead or shared.
const DEFAULT_CACHE: u64 = 256 << 20;

/// With less, reading ahead comes to nothing.
const LEAST_CACHE: u64 = 8 << 20;

/// `[glancefs] block_cache_size`, or what suits the memory that there is.
pub(super) fn block_cache_size(reader: &mut Reader) -> Result<u64> {
    if reader.text(&BLOCK_CACHE_SIZE)?.is_some_and(|found| found.place.is_some()) {
        let least = i64::try_from(LEAST_CACHE).unwrap_or(i64::MAX);
        return Ok(reader.integer(&BLOCK_CACHE_SIZE, least..=i64::MAX)?.unsigned_abs());
    }
    let limit = cgroup_limit(Path::new("/sys/fs/cgroup"), &own_cgroup());
    Ok(DEFAULT_CACHE.min(limit.map_or(u64::MAX, |limit| limit / 4)).max(LEAST_CACHE))
}

/// This process's control group (v2), below the root of all.
fn own_cgroup() -> PathBuf {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    PathBuf::from(own.unwrap_or_default())
}

/// The least limit of a control group and those above it, in bytes.
fn cgroup_limit(root: &Path, group: &Path) -> Option<u64> {
    let limit_of = |group: &Path| {
        let text = fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        text.trim().parse().ok() // "max" is none
    };
    group.ancestors().filter_map(limit_of).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_all_groups_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = Path::new("system.slice/glancefs.service");
        fs::create_dir_all(root.path().join(group)).unwrap();
        let limit = |group: &str, limit: &str| {
            fs::write(root.path().join(group).join("memory.max"), limit).unwrap();
        };
        assert_eq!(cgroup_limit(root.path(), group), None);
        limit("system.slice/glancefs.service", "max\n");
        assert_eq!(cgroup_limit(root.path(), group), None);
        limit("system.slice", "1073741824\n");
        assert_eq!(cgroup_limit(root.path(), group), Some(1 << 30));
        limit("system.slice/glancefs.service", "4096\n");
        assert_eq!(cgroup_limit(root.path(), group), Some(4096));
    }
}
