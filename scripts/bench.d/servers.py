"""Case `mariadb`: the catalog in a MariaDB, against the same catalog in SQLite."""

import contextlib
import functools
import os
import socket
import subprocess
import time
from pathlib import Path

from catalogs import fill, wrk
from daemons import Daemon, end, lacking
from measuring import run
from results import Case


class MariaDb:
    """A server on this machine, with a database `glance`; gone when the `with` ends."""

    NEEDS = ("mariadbd", "mariadb-install-db", "mariadb")

    def __init__(self, directory):
        self.directory = Path(directory)
        self.socket = self.directory / "socket"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"mysql+pymysql://glance:glance@127.0.0.1:{self.port}/glance"

    def __enter__(self):
        self.directory.mkdir()
        data = [f"--datadir={self.directory / 'data'}"]
        data += ["--user=root"] if os.geteuid() == 0 else []
        run("mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
            "--skip-test-db", "--skip-name-resolve", *data)
        self.process = subprocess.Popen(
            ["mariadbd", "--no-defaults", "--skip-name-resolve", "--bind-address=127.0.0.1",
             f"--port={self.port}", f"--socket={self.socket}", "--innodb-buffer-pool-size=512M",
             f"--log-error={self.directory / 'log'}", f"--pid-file={self.directory / 'pid'}", *data])
        deadline = time.monotonic() + 60
        while self.client("SELECT 1").returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError("bench: mariadbd does not start")
            time.sleep(0.1)
        self.sql("CREATE USER glance@'127.0.0.1' IDENTIFIED BY 'glance';"
                 "GRANT ALL ON *.* TO glance@'127.0.0.1'; CREATE DATABASE glance")
        return self

    def __exit__(self, *_):
        end(self.process)

    def client(self, statements):
        """Runs statements as the administrator."""
        return subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root"],
            input=statements, text=True, capture_output=True, check=False)

    def sql(self, statements):
        """The same; they must succeed."""
        result = self.client(statements)
        if result.returncode != 0:
            raise RuntimeError(f"bench: {result.stderr}")

    def fill(self, count, datadir):
        """Makes `count` active images, as `catalogs.fill` does in SQLite."""
        self.sql(
            "USE glance; SET @made = '2026-01-01';"
            "INSERT INTO images (id, name, size, virtual_size, status, visibility, created_at,"
            " updated_at, deleted, disk_format, container_format, checksum, os_hash_algo,"
            " os_hash_value, min_disk, min_ram, protected, os_hidden) SELECT UUID(),"
            " CONCAT('image-', LPAD(seq, 6, '0')), 1048576, 1048576, 'active', 'shared',"
            " @made + INTERVAL seq SECOND, @made + INTERVAL seq SECOND, 0, 'raw', 'bare',"
            f" REPEAT('0', 32), 'sha512', REPEAT('0', 128), 0, 0, 0, 0 FROM seq_1_to_{count};"
            "INSERT INTO image_locations (image_id, value, meta_data, status, created_at,"
            f" updated_at, deleted) SELECT id, CONCAT('file://{datadir}/', id),"
            " '{\"store\": \"file\"}', 'active', created_at, created_at, 0 FROM images;"
            "ANALYZE TABLE images, image_locations")


class Servers(Case):
    """100,000 images on a server: mounting, listing, and pages of the API."""

    def measure(self):
        """From the command to the first listing, a listing again, and pages against SQLite's."""
        if self.left_out("mariadb", lacking(*MariaDb.NEEDS)):
            return
        count = 10_000 if self.quick else 100_000
        with MariaDb(self.work / "mariadb") as server:
            state = self.work / "on-server"
            state.mkdir()
            config = state / "glance-api.conf"
            config.write_text(f"[database]\nconnection = {server.url}\n")
            run(self.program, "db", "sync", "--config-file", config, "--state-dir", state)
            server.fill(count, state / "images")
            self.listings(functools.partial(
                Daemon, self.program, state, self.work / "mount", "--config-file", config), count)
            in_file = self.work / "in-file"
            fill(self.program, in_file, count, with_files=False)
            self.pages({
                "server": (state, ["--config-file", config]), "file": (in_file, [])}, count)

    def listings(self, daemon, count):
        """Mounting and listing."""
        first, again = [], []
        for _ in range(self.repeat):
            with daemon() as mounted:
                listed = run("ls", mounted.mountpoint)
                first.append((mounted.start_seconds + listed) * 1e3)
                again.append(run("ls", mounted.mountpoint) * 1e3)
        self.add_absolute(f"MariaDB, {count:,} images: mounted and listed", first, "ms", 2000)
        self.add_absolute(f"MariaDB, {count:,} images: ls of all, again", again, "ms", 2000)

    def pages(self, states, count):
        """The newest 25, asked for by many at once."""
        if self.left_out("pages of the API", lacking("wrk")):
            return
        with contextlib.ExitStack() as stack:
            urls = {}
            for name, (state, options) in states.items():
                daemon = Daemon(self.program, state, self.work / f"mount-{name}", *options)
                urls[name] = f"{stack.enter_context(daemon).api}/v2/images"
            rates = self.interleave(**{
                name: functools.partial(wrk, url, 1 if self.quick else 3)
                for name, url in urls.items()})
        self.add_rates(f"MariaDB, list of 25 of {count:,} images", "SQLite", rates["server"],
                       rates["file"], 1 / 1.5, "/s", 1)
