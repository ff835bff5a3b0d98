"""Running programs, timing them, and what the machine must have forgotten before."""

import json
import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

MIB = 1 << 20


def post(api, name):
    """Makes a record through an API; returns the URL of its data."""
    body = {"name": name, "disk_format": "raw", "container_format": "bare"}
    request = urllib.request.Request(
        f"{api}/v2/images", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return f"{api}/v2/images/{json.load(response)['id']}/file"


def upload(api, source, chunked=False):
    """Uploads a file; returns the seconds that took, and those of deleting it."""
    url = post(api, "upload.raw")
    seconds = upload_to(url, source, chunked)
    return seconds, run("curl", "-sSf", "-X", "DELETE", url.removesuffix("/file"))


def upload_to(url, source, chunked=False):
    """Uploads a file as the data of a record; returns the seconds that took."""
    kind = ["-H", "Content-Type: application/octet-stream", "-X", "PUT"]
    with open(source, "rb") as data:
        what = ["-T", "-"] if chunked else ["-T", str(source)]
        return run("curl", "-sSf", *kind, *what, url, stdin=data)


def run(*command, **options):
    """Runs a program that must succeed; returns the seconds it took."""
    options.setdefault("stdout", subprocess.DEVNULL)
    begun = time.monotonic()
    subprocess.run(command, check=True, **options)
    return time.monotonic() - begun


def settle(directory):
    """Has what was written before reach the disk, so that nobody pays for another's writing."""
    run("sync", "-f", directory)


def forget(*paths):
    """Has the kernel drop the pages of files."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def fio(path, pattern, seconds, block=None, jobs=1):
    """Bytes a second that fio reads; `seconds` of it, or the file once if that is None.  Jobs start
    one after the other, because rbd-fuse refuses opens at the same time."""
    block = block or ("4k" if pattern == "randread" else "1m")
    length = [] if seconds is None else ["--time_based", f"--runtime={seconds}"]
    named = []
    for number in range(jobs):
        named += [f"--name=read{number}", f"--startdelay={number * 100}ms"]
        named += [f"--filename={path}", "--readonly", f"--rw={pattern}", f"--bs={block}",
                  "--ioengine=psync", "--invalidate=0", "--fadvise_hint=0",
                  f"--randseed={number + 1}", *length]
    result = subprocess.run(
        ["fio", "--output-format=json", *named], check=True, capture_output=True, text=True)
    # fio may print notes before the JSON.
    found = json.loads(result.stdout[result.stdout.index("{"):])["jobs"]
    return sum(job["read"]["bw_bytes"] for job in found)



def write_noise(path, size):
    """A file of random bytes, in the page cache and on the disk."""
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    settle(path.parent)
    run("cat", path)


def drop_caches():
    """Has the kernel drop all clean pages of this machine; for root."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def read_through(*paths):
    """Reads whole files, all at once, by 1 MiB; returns the seconds that took."""
    return at_once(*(["dd", f"if={path}", "of=/dev/null", "bs=1M"] for path in paths))


def at_once(*commands):
    """Runs programs that must succeed, side by side; returns the seconds until the last ended."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    begun = time.monotonic()
    running = [subprocess.Popen(command, **quiet) for command in commands]
    failed = [process.args for process in running if process.wait()]
    seconds = time.monotonic() - begun
    if failed:
        raise RuntimeError(f"bench: failed: {failed}")
    return seconds


def processor_seconds(pid):
    """What a process has used of the processors, in itself and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid, field):
    """`VmRSS` (resident now) or `VmHWM` (at its peak) of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) << 10


def hashes(source):
    """What the hashes cost, alone and both at once, as measures for `interleave`."""
    md5, sha512 = ["openssl", "dgst", "-md5", source], ["openssl", "dgst", "-sha512", source]

    def both():
        with subprocess.Popen(md5, stdout=subprocess.DEVNULL) as other:
            seconds = run(*sha512)
            begun = time.monotonic()
            other.wait()
            return seconds + time.monotonic() - begun

    return {"md5": lambda: run(*md5), "sha512": lambda: run(*sha512), "both": both}
