"""Cases `listing`, `starts` and `requests`: many images, whose data hardly matters."""

import contextlib
import datetime
import functools
import os
import re
import sqlite3
import subprocess
import time
import uuid
from pathlib import Path

from daemons import Daemon, Glance, Keystone, lacking
from measuring import MIB, memory, post, run, upload_to
from results import Case


class Listing(Case):
    """`ls -l` of many images."""

    def measure(self):
        """`ls -l` of many images against `ls -l` of as many plain files."""
        count = 1_000 if self.quick else 10_000
        state, plain = self.work / "listed", self.work / "plain"
        fill(self.program, state, count, with_files=True)
        plain.mkdir()
        for number in range(count):
            (plain / f"image-{number:06}").touch()
        with Daemon(self.program, state, self.work / "mount") as daemon:
            first = run("ls", "-l", daemon.mountpoint)
            times = self.interleave(
                plain=lambda: run("ls", "-l", plain),
                ours=lambda: run("ls", "-l", daemon.mountpoint),
            )
        self.add_absolute(f"ls -l of {count:,} images, first", [first * 1e3], "ms")
        self.add_absolute(
            f"ls -l of {count:,} images", [value * 1e3 for value in times["ours"]], "ms", 300)
        rates = [[count / value for value in times[name]] for name in ("ours", "plain")]
        self.add_rates(
            f"ls -l of {count:,} images", "as many plain files", *rates, None, "files/ms", 1e3)


class Starts(Case):
    """Starting with many images, and the memory they take."""

    def measure(self):
        """From the command to the line that says that it is mounted, and memory then."""
        count = 10_000 if self.quick else 100_000
        state, empty = self.work / "many", self.work / "none"
        fill(self.program, state, count, with_files=False)
        fill(self.program, empty, 0, with_files=False)
        resident = {"empty": [], "many": []}

        def start(state, kind):
            with Daemon(self.program, state, self.work / "mount") as daemon:
                time.sleep(0.5)
                resident[kind].append(memory(daemon.pid, "VmRSS") / 1e6)
                return daemon.start_seconds * 1e3

        times = self.interleave(
            empty=lambda: start(empty, "empty"), many=lambda: start(state, "many"))
        self.add_absolute("start to mounted, no images", times["empty"], "ms")
        self.add_absolute(f"start to mounted, {count:,} images", times["many"], "ms", 100)
        self.add_absolute("resident memory, idle, no images", resident["empty"], "MB", 50)
        self.add_absolute(f"resident memory, idle, {count:,} images", resident["many"], "MB", 50)
        with Daemon(self.program, state, self.work / "mount") as daemon:
            run("ls", "-l", daemon.mountpoint)
            listed = memory(daemon.pid, "VmRSS") / 1e6
        self.add_absolute(f"resident memory, {count:,} images listed", [listed], "MB")


class Requests(Case):
    """Small requests by many connections at once."""

    CONNECTIONS = 16
    RECORDS = 100

    def measure(self):
        """Listing, showing, and downloading little; also by the real Glance, and with tokens."""
        if self.left_out("requests", lacking("wrk")):
            return
        small = self.work / "small.bin"
        small.write_bytes(os.urandom(64 << 10))
        with contextlib.ExitStack() as stack:
            daemon = Daemon(self.program, self.work / "asked", self.work / "mount")
            urls = {"ours": self.stock(stack.enter_context(daemon).api, small)}
            token = None
            environment = os.environ.get("GLANCEFS_TEST_OPENSTACK")
            missing = [] if environment else ["GLANCEFS_TEST_OPENSTACK"]
            if not self.left_out("Glance and Keystone", missing):
                work = self.work / "asked-glance"
                glance = Glance(environment, work, file_store(work / "images"))
                urls["glance"] = self.stock(stack.enter_context(glance).api, small)
                keystone = stack.enter_context(Keystone(environment, self.work / "keystone"))
                token = keystone.token()
                urls["known"] = self.authenticated(stack, keystone, token, small)
            for what in urls["ours"]:
                rates = self.interleave(**{
                    name: functools.partial(self.load, of[what], token if name == "known" else None)
                    for name, of in urls.items()})
                case = f"API, {what}, {self.CONNECTIONS} connections"
                if "glance" in rates:
                    self.add_rates(case, "Glance", rates["ours"], rates["glance"], None, "/s", 1)
                else:
                    self.add_absolute(case, rates["ours"], "/s")
                if "known" in rates:
                    self.add_rates(f"{case}, with a token", "without", rates["known"],
                                   rates["ours"], 0.8, "/s", 1)

    def authenticated(self, stack, keystone, token, small):
        """The same of a daemon that asks Keystone, stocked before it does."""
        state, mountpoint = self.work / "known", self.work / "known-mount"
        with Daemon(self.program, state, mountpoint) as daemon:
            before, urls = daemon.api, self.stock(daemon.api, small)
        config = self.work / "keystone.conf"
        config.write_text(keystone.config())
        daemon = Daemon(self.program, state, mountpoint, "--config-file", config)
        after = stack.enter_context(daemon).api
        # Keystone is slow with its first answers.
        run("curl", "-sSf", "-H", f"X-Auth-Token: {token}", f"{after}/v2/images")
        return {what: url.replace(before, after) for what, url in urls.items()}

    def stock(self, api, small):
        """Makes records, one with data; returns the URLs to ask."""
        for number in range(self.RECORDS):
            data = post(api, f"image-{number}")
        upload_to(data, small)
        return {"list of 25 images": f"{api}/v2/images", "one record": data.removesuffix("/file"),
                "download of 64 KiB": data}

    def load(self, url, token):
        """Requests a second that are answered."""
        return wrk(url, 1 if self.quick else 3, token)


def wrk(url, seconds, token=None):
    """Requests a second that are answered to many connections."""
    header = ["-H", f"X-Auth-Token: {token}"] if token else []
    result = subprocess.run(
        ["wrk", "-t1", f"-c{Requests.CONNECTIONS}", f"-d{seconds}s", *header, url],
        check=True, capture_output=True, text=True)
    if "Non-2xx" in result.stdout:
        raise RuntimeError(f"bench: {url} fails: {result.stdout}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", result.stdout)[1])


def file_store(directory):
    """A directory as the only store, in Glance's words."""
    return ("[DEFAULT]\nenabled_backends = file:file\n[glance_store]\ndefault_backend = file\n"
            f"[file]\nfilesystem_store_datadir = {directory}\n")


def fill(program, state, count, with_files):
    """Makes a catalog with `count` active images, as another program on the database would."""
    run(program, "db", "sync", "--state-dir", state)
    datadir = Path(state) / "images"
    datadir.mkdir(exist_ok=True)
    ids = [str(uuid.uuid4()) for _ in range(count)]
    begun = datetime.datetime(2026, 1, 1)
    stamps = [f"{begun + datetime.timedelta(seconds=n):%Y-%m-%d %H:%M:%S.%f}" for n in range(count)]
    with contextlib.closing(sqlite3.connect(Path(state) / "glance.sqlite")) as database, database:
        database.executemany(
            "INSERT INTO images (id, name, size, virtual_size, status, visibility, created_at,"
            " updated_at, deleted, disk_format, container_format, checksum, os_hash_algo,"
            " os_hash_value, min_disk, min_ram, protected, os_hidden) VALUES (?, ?, ?, ?,"
            " 'active', 'shared', ?, ?, 0, 'raw', 'bare', ?, 'sha512', ?, 0, 0, 0, 0)",
            ((image, f"image-{n:06}", MIB, MIB, stamp, stamp, "0" * 32, "0" * 128)
             for n, (image, stamp) in enumerate(zip(ids, stamps))),
        )
        database.executemany(
            "INSERT INTO image_locations (image_id, value, meta_data, status, created_at,"
            " updated_at, deleted) VALUES (?, ?, '{\"store\": \"file\"}', 'active', ?, ?, 0)",
            ((image, f"file://{datadir}/{image}", stamp, stamp)
             for image, stamp in zip(ids, stamps)),
        )
    for image in ids if with_files else ():
        with open(datadir / image, "wb") as file:
            file.truncate(MIB)
