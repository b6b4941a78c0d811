#!/usr/bin/env python3
"""How much memory the image path takes. `cargo lab bench memory` starts it.

First real images of the agent's worst kind, every cluster allocated and compressed, from 1 to 64 GiB, onto a fake disk that
keeps nothing and knows what it must hold. Then an image 20 times larger than the memory that the agent may have, onto a loop
device.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

from machine import Loop, Nginx, run

LIMIT = 256 << 20
VIRTUAL = 20 * LIMIT
CGROUPS = "/sys/fs/cgroup"
# Version 2, and version 1 with its memory controller.
LAYOUTS = [(CGROUPS, "memory.max", "memory.peak"), (f"{CGROUPS}/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes")]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", required=True)
    parser.add_argument("--base", help="not used")
    parser.add_argument("--images", required=True)
    parser.add_argument("--example", required=True, help="the built example image_memory")
    parser.add_argument("--largest", type=int, default=64, help="GiB; smaller is quicker")
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


# (GiB, cluster bits): 1 Mi pieces, 4 Mi pieces, and what people have.
WORST = [(1, 16), (16, 16), (64, 16), (1, 12), (16, 12), (1, 9), (16, 21)]
RSS_LIMIT_MIB = 96


def worst_images(options, work):
    nginx = Nginx(work, work)
    path = os.path.join(work, "image")
    bad = False
    print(f"{'image':7} {'clusters':>9} {'pieces':>9} {'file MiB':>9} {'way':10} {'requests':>8} {'peak RSS MiB':>13} {'s':>6}")
    try:
        for gib, bits in WORST:
            if gib > options.largest:
                continue
            run(options.example, "make", path, str(gib), str(bits))
            digest = run("openssl", "dgst", "-sha256", "-r", path).split()[0]
            for way, url in (("ranges", nginx.url), ("no ranges", nginx.no_range)):
                before = nginx.requests()
                words = [options.example, "write", f"{url}/image", digest, str(gib), str(bits)]
                done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                found = json.loads(done.stdout) if done.returncode == 0 else {"peak_kib": 0, "seconds": 0}
                peak = found["peak_kib"] / 1024
                over = done.returncode != 0 or peak > RSS_LIMIT_MIB
                bad |= over
                note = done.stderr.strip()[-300:] if done.returncode else "MORE THAN " + str(RSS_LIMIT_MIB) if over else ""
                print(f"{gib:3} GiB {1 << bits:9} {gib << 30 >> bits:9} {os.path.getsize(path) >> 20:9} {way:10}"
                      f" {nginx.requests() - before:8} {peak:13.1f} {found['seconds']:6.1f} {note}", flush=True)
    finally:
        nginx.close()
        if os.path.exists(path):
            os.remove(path)
    return bad


class Group:
    """A control group of LIMIT bytes; where this machine does not let us, RLIMIT_DATA."""

    def __init__(self):
        self.path = None
        for top, limit, peak in LAYOUTS:
            path = os.path.join(top, f"ironwright-bench-{os.getpid()}")
            try:
                os.mkdir(path)
            except OSError:
                continue
            if os.path.exists(os.path.join(path, limit)):
                self.path, self.peak = path, peak
                self.write(limit, LIMIT)
                print(f"limit: control group, {limit} = {LIMIT}")
                return
            os.rmdir(path)
        print("limit: RLIMIT_DATA, because no control group can be made here")

    def most(self):
        """Bytes charged to the group at most, page cache included."""
        name = self.path and os.path.join(self.path, self.peak)
        if not name or not os.path.exists(name):
            return ""
        with open(name) as file:
            return f", most in the group {int(file.read()) >> 20} MiB"

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(str(value))

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
    with tempfile.TemporaryDirectory(dir=os.path.dirname(options.images)) as work:
        failed = worst_images(options, work)
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
                    print(f"{name:10}: exit {process.returncode}, proven {proven}, peak RSS {peak / 1024:.1f} MiB{group.most()}", flush=True)
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
