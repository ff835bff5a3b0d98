"""Case `bytes`: one large image in the file store, in and out by every way."""

from daemons import Daemon
from measuring import fio, forget, hashes, run, settle, upload, write_noise
from results import Case


class LocalFiles(Case):
    """Everything that moves the bytes of one large image."""

    def measure(self):
        """Takes all measures."""
        source = self.work / "source.raw"
        write_noise(source, self.size)
        with Daemon(self.program, self.work / "state", self.work / "mount") as daemon:
            run("cp", source, daemon.mountpoint / "image.raw")
            (stored,) = (daemon.state / "images").iterdir()
            self.reads(daemon.mountpoint / "image.raw", stored)
            self.copies_in(daemon, source)
            self.transfers(daemon, source, stored)

    def reads(self, shown, stored):
        """Reads through the mount against reads of the stored file."""
        seconds = 1 if self.quick else 2
        for pattern, words in (("read", "sequential read"), ("randread", "4k random read")):
            fio(stored, "read", None)
            fio(shown, "read", None)
            rates = self.interleave(
                file=lambda: fio(stored, pattern, seconds),
                mount=lambda: fio(shown, pattern, seconds),
            )
            self.add_rates(f"{words}, warm", "the file", rates["mount"], rates["file"], 0.95)

            def cold(path):
                settle(self.work)
                forget(shown, stored)
                return fio(path, pattern, None if pattern == "read" else seconds)

            rates = self.interleave(file=lambda: cold(stored), mount=lambda: cold(shown))
            self.add_rates(f"{words}, cold", "the file", rates["mount"], rates["file"], 0.95)

    def against_hashes(self, case, times):
        """Compares with the slower hash of the same round, and with both at once: what can be had
        where not every thread finds a processor free."""
        slower = [max(pair) for pair in zip(times["md5"], times["sha512"])]
        ours, slower, both = [
            [self.size / value for value in values]
            for values in (times["ours"], slower, times["both"])
        ]
        self.add_rates(case, "the slower of openssl md5, sha512", ours, slower, 0.75)
        self.add_rates(case, "openssl md5 and sha512 at once", ours, both)

    def copies_in(self, daemon, source):
        """`cp` into the mount against the hashes alone, and against `cp` with fsync."""
        target, plain = daemon.mountpoint / "copy.raw", self.work / "copy.raw"

        def into_mount():
            settle(self.work)
            seconds = run("cp", source, target)
            target.unlink()
            return seconds

        def to_disk():
            settle(self.work)
            seconds = run("cp", source, plain) + run("sync", plain)
            plain.unlink()
            return seconds

        times = self.interleave(**hashes(source), disk=to_disk, ours=into_mount)
        self.against_hashes("cp into the mount", times)
        rates = [[self.size / value for value in times[name]] for name in ("ours", "disk")]
        self.add_rates("cp into the mount", "cp and fsync to the same disk", *rates)

    def transfers(self, daemon, source, stored):
        """Uploads and a download through the API."""

        def ours(chunked):
            settle(self.work)
            return upload(daemon.api, source, chunked)[0]

        for chunked, words in ((False, "sized"), (True, "chunked")):
            times = self.interleave(**hashes(source), ours=lambda: ours(chunked))
            self.against_hashes(f"API upload, {words}", times)

        url = f"{daemon.api}/v2/images/{stored.name}/file"
        times = self.interleave(
            file=lambda: run("curl", "-sSf", "-o", "/dev/null", f"file://{stored}"),
            ours=lambda: run("curl", "-sSf", "-o", "/dev/null", url),
        )
        rates = [[self.size / value for value in times[name]] for name in ("ours", "file")]
        self.add_rates("API download", "curl of the file", *rates)
        self.add_absolute("API download, page cache warm, client included",
                          [rate / 1e9 for rate in rates[0]], "GB/s", least=2.5)
