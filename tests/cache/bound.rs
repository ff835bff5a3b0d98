//! The cache never takes more room than it may.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Cluster, eventually};
use crate::{MIB, OVERHEAD, add, cache, cached, download, mount_with_cache, prefetch, taken};

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn many_images_and_never_more_than_the_bound() {
    let cluster = Cluster::start("memstore");
    let bound = OVERHEAD + 40 * MIB;
    let glancefs = mount_with_cache(&cluster, bound);
    let names = ["a.raw", "b.raw", "c.raw", "d.raw"];
    let ids = names.map(|name| add(&glancefs, name, 16 * MIB));
    let large = add(&glancefs, "large.raw", 50 * MIB);
    let (most, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(taken(&glancefs), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        // By hand, by use, and both at once.
        prefetch(&glancefs, &ids[0]);
        prefetch(&glancefs, &ids[1]);
        assert_eq!(cached(&glancefs), [ids[1].clone(), ids[0].clone()]);
        let refused = cache(&glancefs, &["prefetch", "large.raw"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(refused.stdout.contains("image_cache_max_size"), "{refused:?}");
        assert_eq!(cached(&glancefs).len(), 2, "nothing went for what does not fit");
        for _ in 0..2 {
            assert!(download(&glancefs, &ids[2]).ok() && download(&glancefs, &large).ok());
        }
        eventually("the one used longest ago made room", || {
            cached(&glancefs) == [ids[2].clone(), ids[1].clone()]
        });
        for name in ["d.raw", "a.raw", "b.raw", "c.raw"] {
            prefetch(&glancefs, name);
        }
        done.store(true, Ordering::Relaxed);
    });
    let most = most.into_inner();
    println!("{most} of {bound} bytes at most");
    assert!((32 * MIB..=bound).contains(&most), "{most} of {bound}");
    assert_eq!(cached(&glancefs), [ids[2].clone(), ids[1].clone()]);
}
