#!/usr/bin/env python3
"""An image 20 times larger than the memory it is written in. `cargo lab bench memory` starts it."""
import argparse
import os
import re
import subprocess
import sys
import tempfile

from machine import Loop, Nginx, run

LIMIT = 256 << 20
VIRTUAL = 20 * LIMIT
CGROUPS = "/sys/fs/cgroup"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", required=True)
    parser.add_argument("--base", help="not used")
    parser.add_argument("--images", required=True)
    return parser.parse_args()


def image(path):
    """Data in every cluster, and none of it twice: nothing is easy."""
    noise = subprocess.Popen(["openssl", "enc", "-aes-128-ctr", "-nosalt", "-pass", "pass:bench", "-in", "/dev/zero"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with open(path + ".raw", "wb") as out:
        subprocess.run(["head", "-c", str(VIRTUAL)], stdin=noise.stdout, stdout=out, check=True)
    noise.kill()
    noise.wait()
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", path + ".raw", path)
    os.remove(path + ".raw")


class Group:
    """A control group of LIMIT bytes with swap off; none where this machine does not let us."""

    def __init__(self):
        self.path = os.path.join(CGROUPS, f"ironwright-bench-{os.getpid()}")
        try:
            os.mkdir(self.path)
            if not os.path.exists(os.path.join(self.path, "memory.max")):
                raise OSError("no memory controller")
            self.write("memory.max", LIMIT)
            if os.path.exists(os.path.join(self.path, "memory.swap.max")):
                self.write("memory.swap.max", 0)
        except OSError as error:
            print(f"no control group here ({error}): the limit is RLIMIT_DATA")
            if os.path.isdir(self.path):
                os.rmdir(self.path)
            self.path = None

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(str(value))

    def read(self, name):
        with open(os.path.join(self.path, name)) as file:
            return file.read()

    def enter(self):
        import resource
        if self.path:
            self.write("cgroup.procs", os.getpid())
        else:
            resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))

    def close(self):
        if self.path:
            os.rmdir(self.path)


def main():
    options = arguments()
    os.makedirs(options.images, exist_ok=True)
    path = os.path.join(os.path.dirname(options.images), "noise.qcow2")
    failed = False
    try:
        image(path)
        digest = run("openssl", "dgst", "-sha256", "-r", path).split()[0]
        print(f"image: {os.path.getsize(path) >> 20} MiB; limit: {LIMIT >> 20} MiB")
        with tempfile.TemporaryDirectory(dir=os.path.dirname(options.images)) as work:
            nginx, loop, group = Nginx(os.path.dirname(path), work), Loop(os.path.join(work, "target"), VIRTUAL, True), Group()
            try:
                for name, url in (("ranges", nginx.url), ("no ranges", nginx.no_range)):
                    words = [options.agent, "write-image", "--url", f"{url}/noise.qcow2", "--checksum", f"sha256:{digest}",
                             "--disk", loop.device, "--json"]
                    process = subprocess.Popen(words, stdout=subprocess.PIPE, preexec_fn=group.enter, text=True)
                    peak = 0
                    while process.poll() is None:
                        try:
                            with open(f"/proc/{process.pid}/status") as file:
                                found = re.search(r"VmHWM:\s+(\d+)", file.read())
                                peak = max(peak, int(found.group(1)) if found else 0)
                            process.wait(0.05)
                        except (subprocess.TimeoutExpired, OSError):
                            pass
                    answer = process.stdout.read()
                    proven = '"proven": true' in answer
                    failed |= process.returncode != 0 or not proven
                    top = f", most in the group {int(group.read('memory.peak')) >> 20} MiB" if group.path and os.path.exists(f"{group.path}/memory.peak") else ""
                    print(f"{name:10}: exit {process.returncode}, proven {proven}, peak RSS {peak / 1024:.1f} MiB{top}", flush=True)
            finally:
                nginx.close()
                loop.close()
                group.close()
    finally:
        for name in (path, path + ".raw"):
            if os.path.exists(name):
                os.remove(name)
    sys.exit(failed)


main()
