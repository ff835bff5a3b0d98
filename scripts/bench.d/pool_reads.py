"""Case `reading`: images in a pool, read by us and by whoever else can.

Cold means: the program that serves was just started, and the kernel has dropped its pages; the OSD
reads its disk past them and has a cache of its own, which is the same for all, and small.
"""

import contextlib
import functools
import os
import subprocess
import time

from daemons import Cluster, Daemon, Glance, lacking
from measuring import (
    MIB, at_once, drop_caches, fio, memory, post, processor_seconds, read_through, run, settle,
    upload_to, write_noise)
from peers import RbdFuse, StorageDaemon, rbd_bench
from results import Case

READERS = 64
OSD_CACHE = 64
BLOCK_CACHE = 256
NAMES = {"rbd-fuse": "rbd-fuse", "qsd": "qemu-storage-daemon's FUSE export"}
DEPTHS = (1, 4, 16)

# rbd-fuse refuses an open, now and then, while it looks at another.
ATTEMPTS = 8


class PoolReads(Case):
    """One large image and many small ones in a pool, read by every way."""

    def measure(self):
        """Takes all measures."""
        if self.left_out("reading", lacking(*Cluster.NEEDS)):
            return
        if os.geteuid():
            self.left_out("reading", ["being root, for drop_caches"])
            return
        with contextlib.ExitStack() as stack:
            self.prepare(stack)
            self.streams()
            self.two_streams()
            self.scattered()
            self.convert_out()
            self.first_bytes()
            self.listings()
            self.downloads(stack)
            self.many_readers()
            self.cached_on_disk()

    def prepare(self, stack):
        """A cluster with the images, the same bytes in a file, and who serves them."""
        self.source = self.work / "source.pool"
        write_noise(self.source, self.size)
        self.cluster = stack.enter_context(Cluster(self.work / "pool"))
        config = self.work / "pool.conf"
        config.write_text(
            f"{self.cluster.config()}[glancefs]\nblock_cache_size = {BLOCK_CACHE * MIB}\n")
        self.ours = functools.partial(
            Daemon, self.program, self.work / "pool-state", self.work / "mount",
            "--config-file", config)
        small = self.work / "small.raw"
        write_noise(small, (4 if self.quick else 16) * MIB)
        with self.ours() as daemon:
            run("cp", self.source, daemon.image("image.raw"))
            self.id = os.getxattr(daemon.image("image.raw"), "user.glance.id").decode()
            for number in range(READERS):
                run("cp", small, daemon.image(f"reader-{number:02}.raw"))
        self.served = {"ours": self.ours, **self.peers()}

    def peers(self):
        """Who else serves images as files, as far as they are installed."""
        peers = {}
        if not self.left_out("rbd-fuse", lacking("rbd-fuse")):
            peers["rbd-fuse"] = lambda: RbdFuse(self.cluster, self.work / "rbd-fuse")
        if not self.left_out("qemu-storage-daemon", lacking("qemu-storage-daemon")):
            peers["qsd"] = lambda: StorageDaemon(
                self.cluster, self.work / "export.raw", self.id, self.size)
        return peers

    def image(self, server):
        """The file that is the large image."""
        return server.image("image.raw" if isinstance(server, Daemon) else self.id)

    @contextlib.contextmanager
    def cold(self, who):
        """Who serves, just started, and nothing of the images in the kernel's memory."""
        with self.served[who]() as server:
            drop_caches()
            yield server

    def by_all(self, measure, **others):
        """Takes a measure of each who serves, cold, and others, in turns."""
        def of(who, attempts=ATTEMPTS):
            try:
                with self.cold(who) as server:
                    return measure(server)
            except (subprocess.CalledProcessError, RuntimeError):
                if who == "ours" or attempts == 1:
                    raise
                return of(who, attempts - 1)

        def of_other(other):
            drop_caches()
            return other()

        servers = {who: functools.partial(of, who) for who in self.served}
        others = {name: functools.partial(of_other, other) for name, other in others.items()}
        return self.interleave(**servers, **others)

    def add_to_peers(self, case, rates, **aims):
        """A row for each who serves, of rates."""
        for who, name in NAMES.items():
            if who in rates:
                self.add_rates(case, name, rates["ours"], rates[who], aims.get(who))

    # --- the measures ------------------------------------------------------------------------

    def streams(self):
        """The whole image from its beginning to its end, twice, and what that takes."""
        def stream(server):
            path = self.image(server)
            begun = processor_seconds(server.pid)
            first = self.size / read_through(path)
            used = (processor_seconds(server.pid) - begun) / self.size * 1e9
            again = self.size / read_through(path)
            return first, used, memory(server.pid, "VmHWM"), again

        def export():
            return self.size / self.cluster.rbd(
                "export", "--no-progress", f"images/{self.id}@snap", "-")

        def bench():
            rates = []
            for depth in DEPTHS:
                drop_caches()
                rates.append(rbd_bench(self.cluster, self.id, 4 * MIB, depth, "seq", self.size))
            return max(rates)

        found = self.by_all(stream, export=export, bench=bench, file=self.read_file)
        first, used, peak, again = (
            {who: [values[at] for values in found[who]] for who in self.served} for at in range(4))
        case = f"RBD, sequential 1 MiB, cold (OSD cache {OSD_CACHE} MiB)"
        self.add_to_peers(case, first, **{"rbd-fuse": 3, "qsd": 3.5})
        self.add_rates(case, "rbd export @snap -", first["ours"], found["export"], 1.0)
        self.add_rates(case, "the best rbd bench of depths 1, 4, 16", first["ours"],
                       found["bench"], 0.8)
        self.add_rates(case, "the local file, cold", first["ours"], found["file"])
        self.add_to_peers("RBD, second read", again, **{"rbd-fuse": 10, "qsd": 10})
        for who in self.served.keys() & NAMES.keys():
            self.add_times("RBD, processor time of the daemon for 1 GB", NAMES[who], used["ours"],
                           used[who], None, "s", 1)
            self.add_times("RBD, peak memory of a stream", NAMES[who], peak["ours"], peak[who],
                           None, "MB", 1e6)
        self.warm()

    def read_file(self):
        """Bytes a second of the same bytes in a file."""
        return self.size / read_through(self.source)

    def warm(self):
        """What was read before against a file that was read before."""
        with self.ours() as daemon:
            shown = self.image(daemon)
            read_through(shown)
            self.read_file()
            rates = self.interleave(
                4, file=self.read_file, mount=lambda: self.size / read_through(shown))
        self.add_rates("RBD, sequential 1 MiB, warm", "the local file, warm", rates["mount"],
                       rates["file"], 0.95)

    def two_streams(self):
        """Both halves of the image at once."""
        half = self.size // MIB // 2

        def both(server):
            reads = (["dd", f"if={self.image(server)}", "of=/dev/null", "bs=1M", f"count={half}",
                      f"skip={skip}"] for skip in (0, half))
            return self.size / at_once(*reads)

        self.add_to_peers("RBD, two sequential streams at once, cold", self.by_all(both))

    def scattered(self):
        """Reads of little, anywhere."""
        seconds = 1 if self.quick else 3
        for block, size, count in (("4k", 4096, 8000), ("128k", 128 << 10, 2000)):
            count = count // 8 if self.quick else count

            def random(server):
                return fio(self.image(server), "randread", seconds, block)

            def bench():
                return rbd_bench(self.cluster, self.id, size, 1, "rand", size * count)

            rates = self.by_all(random, bench=bench)
            case = f"RBD, {block} random, one at a time, cold"
            self.add_rates(case, "rbd bench, depth 1", rates["ours"], rates["bench"],
                           0.9 if block == "4k" else None)
            self.add_to_peers(case, rates)
        rates = self.by_all(
            lambda server: fio(self.image(server), "randread", seconds, "4k", jobs=4))
        self.add_to_peers("RBD, 4k random, 4 jobs, cold", rates, **{"rbd-fuse": 1.5})

    def convert_out(self):
        """`qemu-img convert` to a file."""
        if self.left_out("qemu-img convert", lacking("qemu-img")):
            return
        target = self.work / "converted.raw"

        def convert(source):
            seconds = run("qemu-img", "convert", "-f", "raw", "-O", "raw", source, target)
            target.unlink()
            settle(self.work)
            return self.size / seconds

        direct = f"rbd:images/{self.id}@snap:id=glance:conf={self.cluster.conf}"
        rates = self.by_all(
            lambda server: convert(self.image(server)), direct=lambda: convert(direct))
        case = "RBD, qemu-img convert -O raw, cold"
        self.add_to_peers(case, rates)
        self.add_rates(case, "qemu-img's own rbd driver", rates["ours"], rates["direct"])

    def first_bytes(self):
        """Opening the image and reading 4 KiB, by who is connected to the cluster."""
        def first(server):
            if isinstance(server, Daemon):
                read_through(server.image("reader-00.raw"))
            begun = time.monotonic()
            descriptor = os.open(self.image(server), os.O_RDONLY)
            os.pread(descriptor, 4096, self.size // 2)
            seconds = time.monotonic() - begun
            os.close(descriptor)
            return seconds

        times = self.by_all(first)
        for who in self.served.keys() & NAMES.keys():
            self.add_times("RBD, open and first 4 KiB, cold", NAMES[who], times["ours"], times[who])

    def listings(self):
        """`ls -l` of all images."""
        def of_mount(server):
            directory = server.mountpoint if isinstance(server, Daemon) else server.path
            return run("ls", "-l", directory)

        times = self.by_all(of_mount, rbd=lambda: self.cluster.rbd("ls", "-l", "images"))
        case = f"RBD, ls -l of {READERS + 1} images, cold"
        self.add_times(case, "rbd ls -l", times["ours"], times["rbd"])
        if "rbd-fuse" in times:
            self.add_times(case, "rbd-fuse", times["ours"], times["rbd-fuse"])

    def downloads(self, stack):
        """The image through the API."""
        def download(url):
            return self.size / run("curl", "-sSf", "-o", "/dev/null", url)

        def by_api():
            with self.cold("ours") as daemon:
                return download(f"{daemon.api}/v2/images/{self.id}/file")

        def by_mount():
            with self.cold("ours") as daemon:
                return self.size / read_through(self.image(daemon))

        measures = {"api": by_api, "mount": by_mount}
        environment = os.environ.get("GLANCEFS_TEST_OPENSTACK")
        if not self.left_out("Glance", [] if environment else ["GLANCEFS_TEST_OPENSTACK"]):
            glance = stack.enter_context(
                Glance(environment, self.work / "reading-glance", self.cluster.config()))
            url = post(glance.api, "image.raw")
            upload_to(url, self.source)

            def by_glance():
                drop_caches()
                return download(url)

            measures["glance"] = by_glance
        rates = self.interleave(**measures)
        case = "RBD, API download, cold"
        self.add_rates(case, "reading in the mount", rates["api"], rates["mount"], 0.7)
        if environment:
            self.add_rates(case, "download from Glance", rates["api"], rates["glance"], 2.5)

    def many_readers(self):
        """Memory when as many images are read at once."""
        limit = (BLOCK_CACHE * MIB + 64 * MIB) / 1e6

        def grown():
            with self.cold("ours") as daemon:
                idle = memory(daemon.pid, "VmRSS")
                read_through(*(daemon.image(f"reader-{n:02}.raw") for n in range(READERS)))
                return (memory(daemon.pid, "VmHWM") - idle) / 1e6

        self.add_absolute(
            f"RBD, memory above idle, {READERS} readers of {READERS} images, "
            f"block_cache_size {BLOCK_CACHE} MiB", self.interleave(grown=grown)["grown"], "MB",
            round(limit))

    def cached_on_disk(self):
        """An image that was fetched to the disk cache against the file."""
        asked = subprocess.run([self.program, "cache", "--help"], capture_output=True, check=False)
        if self.left_out("the disk cache", ["`glancefs cache`"] if asked.returncode else []):
            return
        config = self.work / "cached.conf"
        config.write_text(
            f"{self.cluster.config()}[DEFAULT]\nimage_cache_dir = {self.work / 'cached'}\n"
            f"image_cache_max_size = {4 * self.size}\n")
        state, seconds = self.work / "pool-state", 1 if self.quick else 2
        with Daemon(self.program, state, self.work / "mount", "--config-file", config) as daemon:
            run(self.program, "cache", "prefetch", "--state-dir", state, "image.raw")
            shown = self.image(daemon)

            def cold(path):
                drop_caches()
                return fio(path, "read", None)

            for words, read in (("cold", cold), ("warm", lambda path: fio(path, "read", seconds))):
                read_through(shown)
                read_through(self.source)
                rates = self.interleave(
                    file=lambda: read(self.source), mount=lambda: read(shown))
                self.add_rates(f"RBD, cached on disk, sequential, {words}", "the local file",
                               rates["mount"], rates["file"], 0.95)
