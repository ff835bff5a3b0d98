"""Case `sizes`: the API on catalogs from small to large, at 8 connections."""

import contextlib
import json
import re
import subprocess
import urllib.request

from catalogs import fill
from daemons import Daemon, lacking
from measuring import memory
from results import Case

POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"name": "new", "disk_format": "raw", "container_format": "bare"}'
"""


class Sizes(Case):
    """Requests a second, and how long the slowest of a hundred takes."""

    CONNECTIONS = 8
    SIZES = (10, 1_000, 10_000, 100_000)
    # Requests a second.
    AIMS = {"one record": 5_000, "page of 25 images": 1_500}

    def measure(self):
        """The sizes in turns, so that their ratio is of one time."""
        if self.left_out("sizes", lacking("wrk")):
            return
        (self.work / "post.lua").write_text(POST)
        sizes = self.SIZES[:2] if self.quick else self.SIZES
        with contextlib.ExitStack() as stack:
            daemons = {size: stack.enter_context(self.daemon(size)) for size in sizes}
            for what in ("page of 25 images", "one record", "POST"):
                self.compare(what, daemons)
            for size, daemon in daemons.items():
                resident = memory(daemon.pid, "VmRSS") / 1e6
                self.add_absolute(f"resident memory then, {size:,} images", [resident], "MB")

    def daemon(self, size):
        """One with a catalog of so many images."""
        state = self.work / f"catalog-{size}"
        fill(self.program, state, size, with_files=False)
        return Daemon(self.program, state, self.work / f"mount-{size}")

    def compare(self, what, daemons):
        """One kind of request on all catalogs."""
        loads = self.interleave(**{
            str(size): (lambda api=daemon.api: self.load(what, api))
            for size, daemon in daemons.items()})
        for size, results in loads.items():
            case = f"API, {what}, of {int(size):,}, {self.CONNECTIONS} connections"
            rates, middles, slowest = zip(*results)
            self.add_absolute(case, rates, "/s", least=self.AIMS.get(what))
            self.add_absolute(f"{case}, half of them within", middles, "ms")
            self.add_absolute(f"{case}, 99 of 100 within", slowest, "ms")
        if "1000" in loads and len(loads) > 2:
            small, large = loads["1000"], loads[max(loads, key=int)]
            case = f"API, {what}, of {max(map(int, loads)):,}"
            self.add_rates(case, "of 1,000", [rate for rate, *_ in large],
                           [rate for rate, *_ in small], None, "/s", 1)

    def load(self, what, api):
        """Requests a second that are answered, and the 50th and 99th percentile in milliseconds."""
        url, script = f"{api}/v2/images", []
        if what == "one record":
            url += f"/{first_image(api)}"
        if what == "POST":
            script = ["-s", self.work / "post.lua"]
        seconds = 1 if self.quick else 3
        result = subprocess.run(
            ["wrk", "-t1", f"-c{self.CONNECTIONS}", f"-d{seconds}s", "--latency", *script, url],
            check=True, capture_output=True, text=True).stdout
        if "Non-2xx" in result:
            raise RuntimeError(f"bench: {url} fails: {result}")
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", result)[1])
        return rate, *(percentile(result, percent) for percent in (50, 99))


def first_image(api):
    """The id of an image."""
    with urllib.request.urlopen(f"{api}/v2/images?limit=1") as response:
        return json.load(response)["images"][0]["id"]


def percentile(result, percent):
    """A latency that wrk printed, in milliseconds."""
    value, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\b", result).groups()
    return float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
