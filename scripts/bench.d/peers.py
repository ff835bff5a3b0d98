"""Who else reads images in a pool: rbd-fuse, qemu-storage-daemon's FUSE export, `rbd bench`.

The mounts are context managers like those of `daemons`, with the same `pid` and `image(name)`.
"""

import os
import re
import subprocess
import sys
import time

from daemons import START_DEADLINE, end


class Served:
    """A program that serves images as files below or at `path` as long as the `with` lasts."""

    def __init__(self, cluster, path):
        self.cluster, self.path = cluster, path

    def start(self, *command):
        """Starts it; returns once it serves."""
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=os.environ | {"CEPH_ARGS": "--id glance"})
        deadline = time.monotonic() + START_DEADLINE
        while not self.serves():
            if self.process.poll() is not None or time.monotonic() > deadline:
                end(self.process)
                sys.exit(f"bench: {command[0]} does not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        end(self.process)
        subprocess.run(["umount", "-l", self.path], stderr=subprocess.DEVNULL, check=False)

    @property
    def pid(self):
        """Its process."""
        return self.process.pid


class RbdFuse(Served):
    """rbd-fuse: a directory with all images of the pool, by the names they have there."""

    def __enter__(self):
        self.path.mkdir(exist_ok=True)
        return self.start("rbd-fuse", "-f", "-c", self.cluster.conf, "-p", "images", self.path)

    def serves(self):
        """Whether it is mounted."""
        return os.path.ismount(self.path)

    def image(self, name):
        """An image's file.  It opens an image when that is first looked at, and not well for two
        at a time."""
        path = self.path / name
        path.stat()
        return path


class StorageDaemon(Served):
    """qemu-storage-daemon: one file, which is the snapshot of one image."""

    def __init__(self, cluster, path, image, size):
        super().__init__(cluster, path)
        self.exported, self.size = image, size

    def __enter__(self):
        self.path.touch()
        return self.start(
            "qemu-storage-daemon", "--blockdev",
            f"driver=rbd,node-name=image,pool=images,image={self.exported},snapshot=snap,"
            f"conf={self.cluster.conf},user=glance,read-only=on",
            "--export", f"type=fuse,id=export,node-name=image,mountpoint={self.path}")

    def serves(self):
        """Whether the file is the image, and not the empty one below it."""
        return self.path.stat().st_size == self.size

    def image(self, _):
        """The file."""
        return self.path


def rbd_bench(cluster, image, block, threads, pattern, total):
    """Bytes a second that `rbd bench` reads, `threads` requests at a time."""
    result = subprocess.run(
        ["rbd", "--conf", cluster.conf, "--id", "glance", "bench", "--io-type", "read",
         "--io-size", str(block), "--io-threads", str(threads), "--io-pattern", pattern,
         "--io-total", str(total), f"images/{image}"],
        check=True, capture_output=True, text=True,
    )
    rate = re.search(r"^elapsed:.*ops/sec:\s*([\d.e+]+)", result.stdout, re.MULTILINE)
    return float(rate[1]) * block
