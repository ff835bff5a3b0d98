//! Partition tables at the beginning of a raw disk.
//!
//! Glance calls any such disk `gpt`, even with an old MBR; its default `disk_formats` has no such
//! word, so images are recorded as `raw` and only the check of the table itself matters.

use super::source::{field, le_u32};
use super::{PartitionTable, SECTOR, Unsafe};

const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xaa];
const ENTRIES: usize = 446;
const ENTRY: usize = 16;
/// The type of the one entry with which a GPT keeps older programs away.
const PROTECTIVE: u8 = 0xee;

/// A disk with a table, and what is wrong with it.
pub(super) struct Partitioned {
    pub(super) table: PartitionTable,
    pub(super) unsafe_because: Option<Unsafe>,
}

/// Looks for a boot signature that is not that of a FAT file system.
pub(super) fn detect(head: &[u8]) -> Option<Partitioned> {
    let sector = head.get(..SECTOR)?;
    if !sector.ends_with(&BOOT_SIGNATURE) || is_fat(sector) {
        return None;
    }
    let gpt = entries(sector).any(|entry| entry.kind == PROTECTIVE) || has_gpt_header(head);
    let table = if gpt { PartitionTable::Gpt } else { PartitionTable::Mbr };
    let unsafe_because = problem(sector).map(|reason| Unsafe::new("mbr", reason));
    Some(Partitioned { table, unsafe_because })
}

/// A FAT boot sector ends like an MBR; two copies of the table on a fixed disk give it away.
fn is_fat(sector: &[u8]) -> bool {
    field(sector, 0x10) == [2] && field(sector, 0x15) == [0xf8]
}

/// The GPT's own header is in the second block; blocks have 512 or 4096 bytes.
fn has_gpt_header(head: &[u8]) -> bool {
    [512, 4096].into_iter().any(|at| &field::<8>(head, at) == b"EFI PART")
}

struct Entry {
    boot: u8,
    first_chs: [u8; 3],
    kind: u8,
    first_block: u32,
}

fn entries(sector: &[u8]) -> impl Iterator<Item = Entry> {
    (0..4).map(move |index| {
        let entry: [u8; ENTRY] = field(sector, ENTRIES + index * ENTRY);
        let [boot, c, h, s, kind, ..] = entry;
        Entry { boot, first_chs: [c, h, s], kind, first_block: le_u32(&entry, 8) }
    })
}

/// Glance's check `mbr`, with its reasons.
fn problem(sector: &[u8]) -> Option<String> {
    let mut used = Vec::with_capacity(4);
    let mut protective = false;
    for (index, entry) in entries(sector).enumerate() {
        if !matches!(entry.boot, 0x00 | 0x80) {
            return Some(format!("MBR PTE {index} has invalid boot flag"));
        }
        if entry.kind != 0 {
            used.push(index);
        }
        if entry.kind == PROTECTIVE {
            protective = true;
            if entry.first_chs != [0, 2, 0] {
                return Some("GPT MBR has invalid start CHS".into());
            }
            if entry.first_block != 1 {
                return Some("GPT MBR has invalid start LBA".into());
            }
        }
    }
    if protective && used != [0] {
        return Some("GPT MBR defines invalid extra partitions".into());
    }
    used.is_empty().then(|| "GPT MBR has no partitions defined".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(entries: &[[u8; 16]]) -> Vec<u8> {
        let mut sector = vec![0; SECTOR];
        for (index, entry) in entries.iter().enumerate() {
            sector[ENTRIES + index * ENTRY..][..ENTRY].copy_from_slice(entry);
        }
        sector[510..].copy_from_slice(&BOOT_SIGNATURE);
        sector
    }

    const LINUX: [u8; 16] = [0x80, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0];
    const GPT: [u8; 16] = [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 1, 0];

    fn reason(entries: &[[u8; 16]]) -> Option<String> {
        detect(&sector(entries)).unwrap().unsafe_because.map(|problem| problem.reason)
    }

    #[test]
    fn sound_tables_are_told_apart() {
        let mbr = detect(&sector(&[LINUX])).unwrap();
        assert_eq!((mbr.table, mbr.unsafe_because), (PartitionTable::Mbr, None));
        let gpt = detect(&sector(&[GPT])).unwrap();
        assert_eq!((gpt.table, gpt.unsafe_because), (PartitionTable::Gpt, None));
        assert!(detect(&vec![0; SECTOR]).is_none());
        assert!(detect(&sector(&[LINUX])[..511]).is_none());
    }

    #[test]
    fn unsound_tables_are_refused_with_glances_reasons() {
        assert_eq!(reason(&[]).unwrap(), "GPT MBR has no partitions defined");
        assert_eq!(reason(&[GPT, LINUX]).unwrap(), "GPT MBR defines invalid extra partitions");
        let mut bad = LINUX;
        bad[0] = 0x33;
        assert_eq!(reason(&[LINUX, bad]).unwrap(), "MBR PTE 1 has invalid boot flag");
        bad = GPT;
        bad[1] = 1;
        assert_eq!(reason(&[bad]).unwrap(), "GPT MBR has invalid start CHS");
        bad = GPT;
        bad[8] = 2;
        assert_eq!(reason(&[bad]).unwrap(), "GPT MBR has invalid start LBA");
    }

    #[test]
    fn a_fat_boot_sector_is_no_partition_table() {
        let mut fat = sector(&[]);
        fat[0x10] = 2;
        fat[0x15] = 0xf8;
        assert!(detect(&fat).is_none());
    }
}
