"""Case `rbd`: uploads to a pool, and deletions from it."""

import contextlib
import os

from daemons import Cluster, Daemon, Glance, lacking
from measuring import hashes, run, settle, upload, write_noise
from results import Case


class PoolWrites(Case):
    """Uploads to, and deletions from, a pool."""

    def measure(self):
        """Takes all measures."""
        if self.left_out("rbd", lacking(*Cluster.NEEDS)):
            return
        source, config = self.work / "source.rbd", self.work / "rbd.conf"
        write_noise(source, self.size)
        environment = os.environ.get("GLANCEFS_TEST_OPENSTACK")
        with contextlib.ExitStack() as stack:
            cluster = stack.enter_context(Cluster(self.work / "ceph"))
            config.write_text(cluster.config())
            daemon = stack.enter_context(Daemon(
                self.program, self.work / "rbd", self.work / "mount", "--config-file", config))
            measures = {
                "import": lambda: self.by_rbd(cluster, source),
                "cp": lambda: self.by_mount(daemon, source),
                "sized": lambda: upload(daemon.api, source),
                "chunked": lambda: upload(daemon.api, source, True),
            }
            if environment:
                glance = Glance(environment, self.work / "glance", cluster.config())
                glance = stack.enter_context(glance)
                measures["glance"] = lambda: upload(glance.api, source)
            for measure in measures.values():
                measure()
            both = hashes(source)["both"]
            self.add_rows(self.interleave(**measures, both=lambda: (both(),)))

    def add_rows(self, times):
        """The rows for pairs of seconds, of uploading and of deleting."""
        def rates(name, which, amount):
            return [amount / pair[which] for pair in times[name]]

        ways = {"cp": "cp into the mount", "sized": "API upload, sized",
                "chunked": "API upload, chunked"}
        for name, words in ways.items():
            ours = rates(name, 0, self.size)
            self.add_rates(f"{words}, RBD", "rbd import", ours, rates("import", 0, self.size))
            hashes = rates("both", 0, self.size)
            self.add_rates(f"{words}, RBD", "openssl md5 and sha512 at once", ours, hashes)
            if "glance" in times:
                theirs = rates("glance", 0, self.size)
                self.add_rates(f"{words}, RBD", "Glance, sized", ours, theirs, 2.5)
        against = {"import": "rbd snap unprotect, snap rm, rm", "glance": "DELETE by Glance"}
        for name in ("cp", "sized"):
            words = {"cp": "rm in the mount, RBD", "sized": "DELETE, RBD"}[name]
            for other in against.keys() & times.keys():
                self.add_rates(words, against[other], rates(name, 1, 60), rates(other, 1, 60), 0.67,
                               "/min", 1)

    def by_mount(self, daemon, source):
        """Seconds of `cp` into the mount and of `rm`."""
        settle(self.work)
        seconds = run("cp", source, daemon.mountpoint / "copy.raw")
        return seconds, run("rm", daemon.mountpoint / "copy.raw")

    def by_rbd(self, cluster, source):
        """Seconds of `rbd import`, and of what removes an image of Glance's."""
        settle(self.work)
        image, snapshot, quiet = "images/imported", "images/imported@snap", "--no-progress"
        seconds = cluster.rbd("import", quiet, "--object-size", "8M", source, image)
        cluster.rbd("snap", "create", quiet, snapshot)
        cluster.rbd("snap", "protect", snapshot)
        removal = cluster.rbd("snap", "unprotect", snapshot)
        removal += cluster.rbd("snap", "rm", quiet, snapshot)
        return seconds, removal + cluster.rbd("rm", quiet, image)
