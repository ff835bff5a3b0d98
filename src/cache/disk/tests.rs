//! Real files in a real directory.

use std::os::unix::fs::FileExt;
use std::sync::mpsc::channel;

use super::*;
use crate::store::file::open_file;

const MIB: u64 = 1 << 20;

/// A directory, and what is cached there.
struct Place {
    directory: tempfile::TempDir,
    capacity: u64,
}

impl Place {
    fn new(capacity: u64) -> (Self, Arc<DiskCache>) {
        let place = Self { directory: tempfile::tempdir().unwrap(), capacity };
        let cache = place.open();
        (place, cache)
    }

    fn open(&self) -> Arc<DiskCache> {
        let cache = DiskCache::open(self.directory.path(), self.capacity).unwrap();
        cache.tidy().unwrap();
        cache
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(FOLDER).join(name)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.directory.path().join(FOLDER)).unwrap();
        let mut names: Vec<_> =
            names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != LOCK && name != index::NAME);
        names.sort();
        names
    }

    /// Bytes that all of it takes on the disk.
    fn taken(&self) -> u64 {
        let files = fs::read_dir(self.directory.path().join(FOLDER)).unwrap();
        files.filter_map(|file| Some(allocated(&file.unwrap().metadata().ok()?))).sum()
    }
}

fn data(image: ImageId, length: u64) -> Vec<u8> {
    image.as_str().bytes().cycle().take(length as usize).collect()
}

fn contents(length: u64) -> Contents {
    Contents { size: length, hash: "md5:tested elsewhere".to_string() }
}

/// For that much data in one piece.
fn room(length: u64) -> u64 {
    Filling::room_for(std::slice::from_ref(&(0..length)))
}

fn begin(cache: &Arc<DiskCache>, image: ImageId, length: u64) -> Result<Filling> {
    cache.begin(image, contents(length), room(length))
}

fn fill(cache: &Arc<DiskCache>, image: ImageId, length: u64) {
    let mut filling = begin(cache, image, length).unwrap();
    filling.write(0, &data(image, length)).unwrap();
    filling.finish().unwrap();
}

fn filled(cache: &Arc<DiskCache>, length: u64) -> ImageId {
    let image = ImageId::random();
    fill(cache, image, length);
    // So that none was used at the same moment.
    thread::sleep(Duration::from_millis(2));
    image
}

fn read(reader: &Arc<dyn ImageReader>) -> Result<Vec<u8>> {
    let (sender, answer) = channel();
    let done = move |bytes| sender.send(bytes).unwrap();
    Arc::clone(reader).start_read(0..reader.size(), Box::new(done));
    answer.recv_timeout(Duration::from_secs(30)).unwrap().map(Vec::from)
}

#[test]
fn what_was_filled_is_read_also_after_a_restart() {
    let (place, cache) = Place::new(64 * MIB);
    assert!(cache.reader(ImageId::random(), &contents(1)).is_none());
    let image = filled(&cache, 3 * MIB + 5);
    assert!(cache.reader(image, &contents(3 * MIB + 5)).is_some());
    cache.save();
    drop(cache);
    let cache = place.open();
    let reader = cache.reader(image, &contents(3 * MIB + 5)).unwrap();
    assert_eq!(read(&reader).unwrap(), data(image, 3 * MIB + 5));
    assert!(reader.local_file().is_some(), "the kernel can read it by itself");
    let listed = cache.list();
    assert_eq!((listed.len(), listed[0].image, listed[0].hits), (1, image, 2));
    assert!(listed[0].open && !listed[0].used_at.to_wire().starts_with("1970"));
}

#[test]
fn a_file_that_is_not_complete_is_nothing_and_goes() {
    let (place, cache) = Place::new(64 * MIB);
    let image = ImageId::random();
    let mut filling = begin(&cache, image, 4 * MIB).unwrap();
    filling.write(0, &data(image, MIB)).unwrap();
    assert!(!cache.holds(image));
    assert_eq!(place.names(), [format!(".tmp-{image}")]);
    drop(filling);
    assert!(place.names().is_empty());
    assert_eq!(cache.figures().used, OVERHEAD);
    // Of a crash: also what got its name but was never noted.
    drop(cache);
    fs::write(place.path(&format!(".tmp-{image}")), "x").unwrap();
    fs::write(place.path(image.as_str()), "x").unwrap();
    fs::write(place.path("README"), "not ours").unwrap();
    let cache = place.open();
    assert_eq!(place.names(), ["README"]);
    assert!(!cache.holds(image));
}

#[test]
fn what_somebody_changed_is_not_used() {
    let (place, cache) = Place::new(64 * MIB);
    let images: Vec<_> = (0..5).map(|_| filled(&cache, MIB)).collect();
    let [flipped, cut, replaced, gone, whole] = images[..] else { panic!() };
    let change = || {
        let file = File::options().write(true).open(place.path(flipped.as_str())).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"!", 7777).unwrap();
        // It looks as old as before.
        file.set_modified(modified).unwrap();
        File::options().write(true).open(place.path(cut.as_str())).unwrap().set_len(9).unwrap();
        fs::write(place.path("other"), data(replaced, MIB)).unwrap();
        fs::rename(place.path("other"), place.path(replaced.as_str())).unwrap();
        fs::remove_file(place.path(gone.as_str())).unwrap();
    };
    change();
    for image in [flipped, cut, replaced, gone] {
        assert!(cache.reader(image, &contents(MIB)).is_none());
        assert!(!cache.holds(image));
    }
    cache.sweep();
    assert_eq!(place.names(), [whole.as_str()]);
    // The same between two runs.
    for image in [flipped, cut, replaced, gone] {
        fill(&cache, image, MIB);
    }
    drop(cache);
    change();
    let cache = place.open();
    assert_eq!(place.names(), [whole.as_str()]);
    assert_eq!(cache.images(), [whole]);
}

#[test]
fn a_file_of_other_contents_than_the_record_says_is_not_used() {
    let (_place, cache) = Place::new(64 * MIB);
    let image = filled(&cache, MIB);
    let other = Contents { hash: "md5:another".to_string(), ..contents(MIB) };
    assert!(cache.reader(image, &other).is_none());
    assert!(cache.reader(image, &contents(MIB)).is_none(), "it was evicted");
}

#[test]
fn what_was_used_longest_ago_goes_first_also_after_a_restart() {
    let (place, cache) = Place::new(OVERHEAD + 16 * MIB);
    let [one, two, three] = [(); 3].map(|()| filled(&cache, 4 * MIB));
    assert!(cache.reader(one, &contents(4 * MIB)).is_some());
    cache.save();
    drop(cache);
    let cache = place.open();
    let four = filled(&cache, 4 * MIB);
    assert!(!cache.holds(two), "neither opened nor filled lately");
    assert!([one, three, four].iter().all(|image| cache.holds(*image)));
    // Half the bound as of now.
    drop(cache);
    let cache = DiskCache::open(place.directory.path(), OVERHEAD + 9 * MIB).unwrap();
    cache.tidy().unwrap();
    let left: Vec<_> = cache.list().iter().map(|file| file.image).collect();
    assert_eq!(left, [four, one]);
    assert_eq!(place.names().len(), 2);
}

#[test]
fn what_is_open_stays_and_counts_until_it_is_closed() {
    let (place, cache) = Place::new(OVERHEAD + 10 * MIB);
    let open = filled(&cache, 4 * MIB);
    let closed = filled(&cache, 4 * MIB);
    let reader = cache.reader(open, &contents(4 * MIB)).unwrap();
    // Not even if nothing else can go.
    let refused = begin(&cache, ImageId::random(), 8 * MIB).err().unwrap();
    assert!(matches!(&refused, Error::StoreFull(m) if m.contains("image_cache_max_size")));
    assert!(cache.holds(closed), "nothing was removed in vain");
    let next = filled(&cache, 4 * MIB);
    assert!(cache.holds(open) && !cache.holds(closed));
    // Removed by somebody: it goes on, and takes its room.
    assert!(cache.evict(open) && cache.evict(next) && !cache.evict(next));
    cache.sweep();
    assert!(place.names().is_empty());
    assert_eq!(read(&reader).unwrap(), data(open, 4 * MIB));
    let used = cache.figures().used;
    assert!((4 * MIB..5 * MIB).contains(&(used - OVERHEAD)), "{used}");
    assert!(begin(&cache, ImageId::random(), 8 * MIB).is_err());
    drop(reader);
    assert_eq!(cache.figures().used, OVERHEAD);
    assert!(begin(&cache, ImageId::random(), 8 * MIB).is_ok());
}

#[test]
fn the_bound_holds_at_every_moment() {
    let (place, cache) = Place::new(OVERHEAD + 12 * MIB);
    for round in 0..12_u64 {
        let image = ImageId::random();
        let length = (round % 4 + 1) * 2 * MIB + round * 4321;
        let mut filling = begin(&cache, image, length).unwrap();
        for at in 0..length.div_ceil(MIB) {
            let piece = data(image, MIB.min(length - at * MIB));
            filling.write(at * MIB, &piece).unwrap();
            assert!(place.taken() <= place.capacity, "{}", place.taken());
            let used = cache.figures().used;
            assert!(used <= place.capacity && place.taken() <= used, "{used}");
        }
        if round % 5 != 4 {
            filling.finish().unwrap();
        }
        assert!(place.taken() <= cache.figures().used);
    }
    assert!(cache.figures().files > 0);
}

#[test]
fn more_than_was_foreseen_is_refused() {
    let (_place, cache) = Place::new(64 * MIB);
    let image = ImageId::random();
    let mut filling = cache.begin(image, contents(8 * MIB), room(MIB)).unwrap();
    let refused = filling.write(0, &data(image, 4 * MIB)).unwrap_err();
    assert!(matches!(refused, Error::StoreFull(_)), "{refused}");
}

#[test]
fn zeros_take_no_room() {
    let (_place, cache) = Place::new(64 * MIB);
    let image = ImageId::random();
    let size = 1 << 40;
    let mut filling = cache.begin(image, contents(size), room(4 * MIB)).unwrap();
    let mut part = vec![0; 4 * MIB as usize];
    part[2 * MIB as usize] = 1;
    filling.write(0, &part).unwrap();
    filling.finish().unwrap();
    let listed = cache.list();
    assert!(listed[0].allocated < MIB, "{listed:?}");
    let reader = cache.reader(image, &contents(size)).unwrap();
    assert_eq!(reader.size(), size);
    assert_eq!(reader.next_data(0).unwrap(), Some(2 * MIB));
}

#[test]
fn a_file_that_fails_goes_and_the_store_is_read() {
    let (place, cache) = Place::new(64 * MIB);
    let image = filled(&cache, 2 * MIB);
    let file = cache.reader(image, &contents(2 * MIB)).unwrap();
    let original = place.directory.path().join("original");
    fs::write(&original, data(image, 2 * MIB)).unwrap();
    let elsewhere: Elsewhere = Box::new(move || open_file(&original));
    let reader: Arc<dyn ImageReader> =
        Arc::new(FileOrElse::new(Arc::clone(&cache), image, file, elsewhere));
    assert_eq!(read(&reader).unwrap(), data(image, 2 * MIB));
    assert!(cache.holds(image));
    File::options().write(true).open(place.path(image.as_str())).unwrap().set_len(99).unwrap();
    assert_eq!(read(&reader).unwrap(), data(image, 2 * MIB));
    assert!(!cache.holds(image));
    let mut tail = [0; 100];
    assert_eq!(reader.read_at(2 * MIB - 10, &mut tail).unwrap(), 10);
}

#[test]
fn what_cannot_be_read_anywhere_is_an_error() {
    let (place, cache) = Place::new(64 * MIB);
    let image = filled(&cache, MIB);
    let file = cache.reader(image, &contents(MIB)).unwrap();
    let elsewhere: Elsewhere = Box::new(|| Err(Error::StoreUnavailable("away".to_string())));
    let reader: Arc<dyn ImageReader> =
        Arc::new(FileOrElse::new(Arc::clone(&cache), image, file, elsewhere));
    File::options().write(true).open(place.path(image.as_str())).unwrap().set_len(99).unwrap();
    assert!(matches!(read(&reader), Err(Error::StoreUnavailable(m)) if m == "away"));
}

#[test]
fn a_directory_is_for_one_daemon_and_must_be_usable() {
    let (place, _cache) = Place::new(64 * MIB);
    let second = DiskCache::open(place.directory.path(), 64 * MIB).err().unwrap();
    assert!(matches!(&second, Error::Config(m) if m.contains("another glancefs")), "{second}");
    let file = place.directory.path().join("file");
    fs::write(&file, "").unwrap();
    let unusable = DiskCache::open(&file, 64 * MIB).err().unwrap();
    assert!(matches!(&unusable, Error::Config(m) if m.contains("image_cache_dir")), "{unusable}");
    let mode = fs::metadata(place.directory.path().join(FOLDER)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
}
