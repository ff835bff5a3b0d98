"""What is started to be measured: glancefs, the real Glance, a Ceph cluster.

Each is a context manager and is gone, with all it made outside its directory, when the `with` ends.
"""

import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from measuring import run

TOP = Path(__file__).resolve().parent.parent.parent
START_DEADLINE = 60


def lacking(*programs):
    """Which of these programs this machine does not have."""
    return [name for name in programs if not shutil.which(name)]


def end(process):
    """Ends a process that was started here."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Daemon:
    """A `glancefs mount` with a state directory; unmounted when the `with` ends."""

    def __init__(self, program, state, mountpoint, *options):
        self.command = [program, "mount", "--state-dir", state, "--listen", "127.0.0.1:0"]
        self.command += [*options, mountpoint]
        self.state, self.mountpoint = Path(state), Path(mountpoint)

    def __enter__(self):
        self.mountpoint.mkdir(exist_ok=True)
        begun = time.monotonic()
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, text=True, env=os.environ | {"RUST_LOG": "warn"})
        if not select.select([self.process.stdout], [], [], START_DEADLINE)[0]:
            self.process.kill()
            sys.exit("bench: glancefs does not start")
        line = self.process.stdout.readline()
        self.start_seconds = time.monotonic() - begun
        address = re.search(r"http://[^\s,]+", line)
        if not address:
            sys.exit(f"bench: glancefs did not start: {line!r}")
        self.api = address[0]
        return self

    def __exit__(self, *_):
        end(self.process)
        subprocess.run(["umount", "-l", self.mountpoint], stderr=subprocess.DEVNULL, check=False)

    @property
    def pid(self):
        """Its process."""
        return self.process.pid

    def image(self, name):
        """An image's file."""
        return self.mountpoint / name


class Cluster:
    """A Ceph cluster on this machine; gone when the `with` ends."""

    NEEDS = ("ceph", "ceph-mon", "ceph-osd", "ceph-mgr", "rbd")

    def __init__(self, directory):
        self.directory = directory
        self.conf = directory / "ceph.conf"

    def __enter__(self):
        script = TOP / "scripts" / "dev-ceph"
        run(script, "up", self.directory, env=os.environ | {"CEPH_DEV_MGR": "0"})
        return self

    def __exit__(self, *_):
        run(TOP / "scripts" / "dev-ceph", "destroy", self.directory)

    def rbd(self, *arguments):
        """Runs `rbd` as the user of the store; returns the seconds it took."""
        return run("rbd", "--conf", self.conf, "--id", "glance", *arguments)

    def config(self):
        """What glancefs and Glance call the store."""
        return (
            "[DEFAULT]\nenabled_backends = ceph:rbd\n[glance_store]\ndefault_backend = ceph\n"
            f"[ceph]\nrbd_store_user = glance\nrbd_store_ceph_conf = {self.conf}\n")


class Keystone:
    """The real Keystone with users of its own; ended when the `with` ends."""

    USER = "project-a-admin"

    def __init__(self, environment, work):
        self.python, self.work = Path(environment) / "bin" / "python", work
        self.script = TOP / "tests" / "python" / "serve_keystone.py"

    def __enter__(self):
        run(self.python, self.script, self.work, "new", stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(
            [self.python, self.script, self.work, "0"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        addresses = (line for line in self.process.stdout if line.startswith("http://"))
        self.url = next(addresses, "").strip()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def config(self):
        """What glancefs and Glance call it."""
        return (
            "[paste_deploy]\nflavor = keystone\n[keystone_authtoken]\n"
            f"auth_url = {self.url}\nusername = glance\npassword = secret-of-glance\n"
            "project_name = service\n")

    def token(self):
        """A token of an administrator."""
        domain = {"id": "default"}
        user = {"name": self.USER, "domain": domain, "password": f"secret-of-{self.USER}"}
        project = {"name": self.USER.removesuffix("-admin"), "domain": domain}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": project}}
        request = urllib.request.Request(
            f"{self.url}/v3/auth/tokens", json.dumps({"auth": auth}).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            return response.headers["X-Subject-Token"]


class Glance:
    """The real glance-api with a catalog of its own; ended when the `with` ends."""

    def __init__(self, environment, work, store):
        self.python, self.work = Path(environment) / "bin" / "python", work
        work.mkdir()
        (work / "glance-api.conf").write_text(
            f"{store}[DEFAULT]\nenabled_import_methods = []\n"
            "worker_self_reference_url = http://127.0.0.1:1\n"
            f"[database]\nconnection = sqlite:///{work}/glance.sqlite\n"
            f"[os_glance_staging_store]\nfilesystem_store_datadir = {work}/staging\n"
            f"[os_glance_tasks_store]\nfilesystem_store_datadir = {work}/tasks\n"
            "[oslo_policy]\nenforce_new_defaults = false\nenforce_scope = false\n"
            f"[paste_deploy]\nconfig_file = {environment}/etc/glance/glance-api-paste.ini\n")

    def __enter__(self):
        log = open(self.work / "log", "wb")
        run(self.python, self.python.parent / "glance-manage", "--config-file",
            self.work / "glance-api.conf", "db", "sync", stderr=log)
        self.process = subprocess.Popen(
            [self.python, TOP / "tests" / "python" / "serve_glance.py"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True,
            env=os.environ | {"OS_GLANCE_CONFIG_DIR": str(self.work)})
        addresses = (line for line in self.process.stdout if line.startswith("http://"))
        self.api = next(addresses, "").strip()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
