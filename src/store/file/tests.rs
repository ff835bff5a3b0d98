//! The store as a whole, on a real file system.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::{ByteRange, ReadDone};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn new_store(options: FileStoreOptions) -> (TempDir, FileStore) {
    let parent = tempfile::tempdir().unwrap();
    let store = FileStore::open("fast", parent.path().join("my images"), options).unwrap();
    (parent, store)
}

fn store() -> (TempDir, FileStore) {
    new_store(FileStoreOptions::default())
}

fn url(store: &FileStore, name: &str) -> String {
    format!("file://{}/{name}", store.datadir().display())
}

fn put(store: &FileStore, data: &[u8]) -> (ImageId, String) {
    let id = ImageId::random();
    let mut writer = store.create(id, Some(data.len() as u64)).unwrap();
    writer.write_at(0, data).unwrap();
    (id, writer.finish().unwrap())
}

fn read_all(store: &FileStore, url: &str) -> Vec<u8> {
    let reader = store.open(url).unwrap();
    let mut data = vec![0; reader.size() as usize + 10];
    let count = reader.read_at(0, &mut data).unwrap();
    data.truncate(count);
    data
}

fn names(store: &FileStore) -> Vec<String> {
    let entries = fs::read_dir(store.datadir()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn is_not_found<T>(outcome: Result<T>) -> bool {
    matches!(outcome, Err(Error::NotFound(_)))
}

#[test]
fn a_finished_image_is_where_glance_would_put_it() {
    let (_parent, store) = store();
    let (id, location) = put(&store, b"some bytes");
    assert_eq!(location, url(&store, id.as_str()));
    assert!(location.contains("/my images/"), "no encoding: {location}");
    assert!(store.owns(&location));
    assert_eq!(read_all(&store, &location), b"some bytes");
    let file = fs::metadata(store.datadir().join(id.as_str())).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o640);
    assert_eq!(store.allocated(&location), Some(file.blocks() * 512));
    assert_eq!(store.name(), "fast");
}

#[test]
fn the_directory_is_made_private_and_must_be_usable() {
    let (parent, store) = store();
    let mode = fs::metadata(store.datadir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7027, 0, "{mode:o}");
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    for bad in [file.as_path(), Path::new("relative"), Path::new("/tmp/../etc"), Path::new("/")] {
        let outcome = FileStore::open("bad", bad, FileStoreOptions::default());
        assert!(matches!(outcome, Err(Error::Config(_))), "{bad:?}");
    }
}

#[test]
fn an_upload_is_invisible_until_it_is_finished() {
    let (_parent, store) = store();
    let id = ImageId::random();
    let mut writer = store.create(id, None).unwrap();
    writer.write_at(0, b"half").unwrap();
    assert_eq!(names(&store), [format!(".tmp-{id}")]);
    for name in [id.to_string(), format!(".tmp-{id}")] {
        assert!(is_not_found(store.open(&url(&store, &name))));
    }
    assert!(matches!(store.create(id, None), Err(Error::Conflict(_))), "one writer an id");
    drop(writer);
    assert!(names(&store).is_empty(), "dropped: removed");
}

#[test]
fn a_crash_leaves_only_what_discard_removes() {
    let (_parent, store) = store();
    let id = ImageId::random();
    let mut writer = store.create(id, None).unwrap();
    writer.write_at(0, b"half").unwrap();
    // As a crash would: no destructor runs.
    std::mem::forget(writer);
    assert_eq!(names(&store), [format!(".tmp-{id}")]);
    store.discard(id).unwrap();
    assert!(names(&store).is_empty());
    let (id, _) = put(&store, b"finished, never recorded");
    store.discard(id).unwrap();
    assert!(names(&store).is_empty());
    store.discard(id).unwrap();
}

#[test]
fn nothing_is_ever_replaced() {
    let (_parent, store) = store();
    let id = ImageId::random();
    let mut writer = store.create(id, None).unwrap();
    writer.write_at(0, b"ours").unwrap();
    let path = store.datadir().join(id.as_str());
    fs::write(&path, b"theirs").unwrap();
    assert!(matches!(writer.finish(), Err(Error::Conflict(_))));
    assert_eq!(fs::read(&path).unwrap(), b"theirs");
    assert_eq!(names(&store), [id.as_str()]);
    assert!(matches!(store.create(id, None), Err(Error::Conflict(_))));
}

#[test]
fn delete_removes_the_file_and_readers_go_on() {
    let (_parent, store) = store();
    let (_, location) = put(&store, b"data");
    let reader = store.open(&location).unwrap();
    store.delete(&location).unwrap();
    assert!(is_not_found(store.delete(&location)));
    assert!(is_not_found(store.open(&location)));
    assert_eq!(store.allocated(&location), None);
    let mut buffer = [0; 4];
    assert_eq!(reader.read_at(0, &mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"data");
}

#[test]
fn links_and_other_kinds_of_files_are_no_images() {
    let (parent, store) = store();
    let outside = parent.path().join("outside");
    fs::write(&outside, "secret").unwrap();
    symlink(&outside, store.datadir().join("link")).unwrap();
    fs::create_dir(store.datadir().join("directory")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(store.datadir().join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        store.datadir().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for name in ["link", "directory", "socket", "fifo"] {
        let location = url(&store, name);
        assert!(is_not_found(store.open(&location)), "{name}");
        assert!(is_not_found(store.delete(&location)), "{name}");
        assert_eq!(store.allocated(&location), None, "{name}");
        assert!(store.datadir().join(name).symlink_metadata().is_ok(), "{name} stays");
    }
    assert_eq!(fs::read(&outside).unwrap(), b"secret");
    drop(socket);
}

#[test]
fn only_single_names_in_this_directory_are_ours() {
    let (_parent, store) = store();
    let directory = store.datadir().to_str().unwrap().to_owned();
    for ours in [
        format!("file://{directory}/x"),
        format!("filesystem://{directory}/an old name.img"),
        format!("file:///{directory}//x"),
        format!("file://{directory}/./x"),
        format!("file://{directory}/.hidden"),
    ] {
        assert!(store.owns(&ours), "{ours}");
    }
    for foreign in [
        "file:///etc/passwd".to_owned(),
        format!("file://{directory}"),
        format!("file://{directory}/"),
        format!("file://{directory}/."),
        format!("file://{directory}/.."),
        format!("file://{directory}/../x"),
        format!("file://{directory}/../my images/x"),
        format!("file://{directory}/%2e%2e"),
        format!("file://{directory}/%2e./x"),
        format!("file://{directory}/a/b"),
        format!("file://{directory}/a\0b"),
        format!("file://{directory}/a?b"),
        format!("file://{directory}/a#b"),
        format!("file://{directory}/a\n"),
        format!("file://{directory}/ a"),
        format!("file://{directory}/.tmp-{}", ImageId::random()),
        format!("file://{directory}/{}", "n".repeat(256)),
        format!("file://{directory}x/a"),
        format!("file://host{directory}/x"),
        format!("file://localhost{directory}/x"),
        format!("file:{directory}/x"),
        format!("http://{directory}/x"),
        format!("FILE://{directory}/x"),
        format!("{directory}/x"),
        String::new(),
    ] {
        assert!(!store.owns(&foreign), "{foreign}");
        assert!(is_not_found(store.open(&foreign)), "{foreign}");
        assert!(is_not_found(store.delete(&foreign)), "{foreign}");
        assert_eq!(store.allocated(&foreign), None, "{foreign}");
    }
}

#[test]
fn writes_may_come_in_any_order_and_gaps_are_holes() {
    let (_parent, store) = store();
    let id = ImageId::random();
    let mut writer = store.create(id, None).unwrap();
    writer.write_at(8 * MIB, &[3; 64 << 10]).unwrap();
    writer.write_at(0, &[1; 4096]).unwrap();
    writer.write_at(4 * MIB, &[2; 8192]).unwrap();
    writer.set_len(16 * MIB).unwrap();
    assert_eq!(writer.len(), 16 * MIB);
    let expected = [0..4 * KIB, 4 * MIB..4 * MIB + 8 * KIB, 8 * MIB..8 * MIB + 64 * KIB];
    assert_eq!(writer.data_extents(0..u64::MAX).unwrap(), expected);
    let part = writer.data_extents(1000..4 * MIB + 4 * KIB).unwrap();
    assert_eq!(part, [1000..4 * KIB, 4 * MIB..4 * MIB + 4 * KIB]);
    let mut buffer = [9; 10];
    assert_eq!(writer.read_at(4 * MIB - 5, &mut buffer).unwrap(), 10);
    assert_eq!(buffer, [0, 0, 0, 0, 0, 2, 2, 2, 2, 2]);
    assert_eq!(writer.read_at(16 * MIB - 3, &mut buffer).unwrap(), 3);
    assert_eq!(writer.read_at(16 * MIB, &mut buffer).unwrap(), 0);
    writer.sync().unwrap();

    let location = writer.finish().unwrap();
    assert!(store.allocated(&location).unwrap() < MIB);
    let reader = store.open(&location).unwrap();
    assert_eq!(reader.size(), 16 * MIB);
    assert_eq!(reader.next_data(0).unwrap(), Some(0));
    assert_eq!(reader.next_hole(0).unwrap(), 4 * KIB);
    assert_eq!(reader.next_data(4 * KIB).unwrap(), Some(4 * MIB));
    assert_eq!(reader.next_data(9 * MIB).unwrap(), None);
    assert_eq!(reader.next_hole(9 * MIB).unwrap(), 9 * MIB);
    assert_eq!(reader.next_hole(u64::MAX).unwrap(), 16 * MIB);
    assert_eq!(reader.next_data(16 * MIB).unwrap(), None);
}

#[test]
fn punching_frees_room_and_keeps_the_length() {
    let (_parent, store) = store();
    let mut writer = store.create(ImageId::random(), None).unwrap();
    writer.write_at(0, &vec![7; 1 << 20]).unwrap();
    writer.punch(64 * KIB..u64::MAX).unwrap();
    assert_eq!(writer.len(), MIB);
    let extents = writer.data_extents(0..MIB).unwrap();
    assert_eq!(extents.first(), Some(&(0..64 * KIB)));
    assert_eq!(extents.len(), 1);
    writer.punch(u64::MAX - 1..u64::MAX).unwrap();
    // Cut and grown again, the old bytes are gone.
    writer.set_len(10).unwrap();
    writer.set_len(20).unwrap();
    let location = writer.finish().unwrap();
    assert_eq!(read_all(&store, &location), [[7; 10], [0; 10]].concat());
}

#[test]
fn zeros_become_holes_only_when_asked() {
    let data = [vec![0; 256 << 10], vec![5; 100], vec![0; (256 << 10) + 50]].concat();
    let (_thick, thick) = store();
    let (_thin, thin) =
        new_store(FileStoreOptions { thin_provisioning: true, ..FileStoreOptions::default() });
    let (_, in_thick) = put(&thick, &data);
    let (_, in_thin) = put(&thin, &data);
    assert!(thick.allocated(&in_thick).unwrap() >= 512 * KIB);
    assert!(thin.allocated(&in_thin).unwrap() <= 128 * KIB);
    assert_eq!(read_all(&thick, &in_thick), data);
    assert_eq!(read_all(&thin, &in_thin), data);
    // Zeros over data are data.
    let mut writer = thin.create(ImageId::random(), None).unwrap();
    writer.write_at(0, &vec![1; 128 << 10]).unwrap();
    writer.write_at(0, &vec![0; 128 << 10]).unwrap();
    let over = writer.finish().unwrap();
    assert_eq!(read_all(&thin, &over), vec![0; 128 << 10]);
}

fn copy_all(store: &FileStore, source: &dyn ImageReader) -> Vec<u8> {
    let mut writer = store.create(ImageId::random(), None).unwrap();
    // Old content that must not shine through the source's holes.
    writer.write_at(0, &vec![0xee; 3 << 20]).unwrap();
    let mut at = 0;
    loop {
        match writer.copy_from(source, at, at, u64::MAX).unwrap() {
            0 => break,
            count => at += count,
        }
    }
    assert_eq!(at, source.size());
    let location = writer.finish().unwrap();
    assert!(store.allocated(&location).unwrap() < 2 * MIB, "holes were filled");
    read_all(store, &location)
}

#[test]
fn a_copy_inside_the_store_keeps_content_and_holes() {
    let (_parent, store) = store();
    let mut writer = store.create(ImageId::random(), None).unwrap();
    writer.write_at(MIB, &[1; 100_000]).unwrap();
    writer.write_at(5 * MIB, &[2; 5000]).unwrap();
    writer.set_len(7 * MIB + 13).unwrap();
    let location = writer.finish().unwrap();
    let source = store.open(&location).unwrap();
    assert_eq!(copy_all(&store, source.as_ref()), read_all(&store, &location));
}

/// A reader of bytes that are in no file.
struct Elsewhere;

impl ImageReader for Elsewhere {
    fn start_read(self: Arc<Self>, _: ByteRange, done: ReadDone) {
        done(Ok(Bytes::new()));
    }

    fn known_data(&self, _: ByteRange) -> Option<Vec<ByteRange>> {
        None
    }

    fn size(&self) -> u64 {
        10
    }

    fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        Ok(Some(offset))
    }

    fn next_hole(&self, _offset: u64) -> Result<u64> {
        Ok(10)
    }

    fn local_file(&self) -> Option<&fs::File> {
        None
    }
}

#[test]
fn what_is_in_no_file_cannot_be_copied_here() {
    let (_parent, store) = store();
    let mut writer = store.create(ImageId::random(), None).unwrap();
    assert!(matches!(writer.copy_from(&Elsewhere, 0, 0, 10), Err(Error::Unsupported(_))));
}

#[test]
fn a_file_that_cannot_grow_so_far_is_a_full_store() {
    let (_parent, store) = store();
    let mut writer = store.create(ImageId::random(), None).unwrap();
    for offset in [i64::MAX as u64, u64::MAX] {
        assert!(matches!(writer.write_at(offset, b"xx"), Err(Error::StoreFull(_))));
    }
    assert!(matches!(writer.set_len(u64::MAX), Err(Error::StoreFull(_))));
    assert_eq!(writer.len(), 0);
}

#[test]
fn system_errors_become_full_or_unavailable_with_the_path() {
    use rustix::io::Errno;
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
        assert!(matches!(store_error("write", "/a", &errno.into()), Error::StoreFull(_)));
    }
    let Error::StoreUnavailable(words) = store_error("write", "/a/b", &Errno::IO.into()) else {
        panic!()
    };
    assert!(words.starts_with("write /a/b: "), "{words}");
}

#[test]
fn a_file_that_was_cut_behind_our_back_is_an_error_and_no_short_read() {
    let (_parent, store) = store();
    let (id, location) = put(&store, &[1; 1000]);
    let reader = store.open(&location).unwrap();
    let path = store.datadir().join(id.as_str());
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(10).unwrap();
    let outcome = reader.read_at(0, &mut [0; 100]);
    assert!(matches!(outcome, Err(Error::StoreUnavailable(_))), "{outcome:?}");
}

#[test]
fn capacity_is_that_of_the_file_system() {
    let (_parent, store) = store();
    let capacity = store.capacity().unwrap();
    assert!(capacity.total > 0 && capacity.available <= capacity.total);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize, u8),
    Punch(usize, usize),
    SetLen(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..400_000_usize, 1..200_000_usize, 0..2_u8).prop_map(|(a, b, c)| Step::Write(a, b, c)),
        1 => (0..400_000_usize, 0..200_000_usize).prop_map(|(a, b)| Step::Punch(a, b)),
        1 => (0..500_000_usize).prop_map(Step::SetLen),
    ];
    prop::collection::vec(step, 0..12)
}

/// What the file must hold after `steps`.
fn model(steps: &[Step]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for step in steps {
        match *step {
            Step::Write(at, length, value) => {
                bytes.resize(bytes.len().max(at + length), 0);
                bytes[at..at + length].fill(value);
            }
            Step::Punch(at, length) => {
                let end = bytes.len().min(at + length);
                if at < end {
                    bytes[at..end].fill(0);
                }
            }
            Step::SetLen(length) => bytes.resize(length, 0),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_order_of_steps_gives_the_same_bytes(steps in steps(), thin_provisioning: bool) {
        let (_parent, store) =
            new_store(FileStoreOptions { thin_provisioning, ..FileStoreOptions::default() });
        let mut writer = store.create(ImageId::random(), None).unwrap();
        for step in &steps {
            match *step {
                Step::Write(at, length, value) => {
                    writer.write_at(at as u64, &vec![value; length]).unwrap();
                }
                Step::Punch(at, length) => {
                    writer.punch(at as u64..(at + length) as u64).unwrap();
                }
                Step::SetLen(length) => writer.set_len(length as u64).unwrap(),
            }
        }
        let expected = model(&steps);
        prop_assert_eq!(writer.len(), expected.len() as u64);
        // Outside the extents all is zero.
        let mut outside = expected.clone();
        for extent in writer.data_extents(0..u64::MAX).unwrap() {
            outside[extent.start as usize..extent.end as usize].fill(0);
        }
        prop_assert!(outside.iter().all(|byte| *byte == 0));
        let location = writer.finish().unwrap();
        prop_assert_eq!(read_all(&store, &location), expected);
    }
}
