#!/usr/bin/env python3
"""What an overwrite with zeros and its full read-back cost, beside the disk's own speed (dd, O_DIRECT, the same pieces) in the same
run; and the metadata erase of disks of several sizes. On a loop device in memory and one on disk."""
import argparse
import json
import os
import subprocess
import tempfile
from statistics import median

from machine import Loop, timed

SIZE = 2 << 30


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", required=True)
    parser.add_argument("--base", help="not used")
    parser.add_argument("--images", required=True, help="its folder's disk is measured")
    parser.add_argument("--example", required=True, help="the built example erase_phases")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def dd(*words):
    cost = timed(["dd", "bs=1M", "status=none", *words])
    if cost.code != 0:
        raise SystemExit(f"dd: {cost.text}")
    return cost.wall


def overwrite(options, where, folder):
    loop = Loop(os.path.join(folder, "disk"), SIZE, where == "disk")
    try:
        rows = []
        for _ in range(options.rounds):
            write = dd("if=/dev/zero", f"of={loop.device}", f"count={SIZE >> 20}", "oflag=direct", "conv=fsync")
            read = dd(f"if={loop.device}", "of=/dev/null", "iflag=direct")
            ours = json.loads(subprocess.run([options.example, loop.device], check=True, capture_output=True, text=True).stdout)
            rows.append((write, ours["erase_s"], read, ours["verify_s"]))
        write, erase, read, verify = (median(column) for column in zip(*rows))
        rate = lambda seconds: (SIZE >> 20) / seconds
        print(f"{where:5}  write: dd {rate(write):6.0f} MiB/s, erase {rate(erase):6.0f} MiB/s, {write / erase:.2f}x;"
              f"  read: dd {rate(read):6.0f} MiB/s, full verification {rate(verify):6.0f} MiB/s, {read / verify:.2f}x", flush=True)
    finally:
        loop.close()


def metadata(options, folder):
    for size in (1 << 30, 64 << 30, 1 << 40):
        loop = Loop(os.path.join(folder, "sparse"), size, False, sparse=True)
        try:
            walls = []
            for _ in range(options.rounds):
                subprocess.run(["sgdisk", "-n", "1:0:+64M", "-n", "2:0:0", loop.device], check=True, capture_output=True)
                cost = timed([options.agent, "erase", "--metadata", "--disk", loop.device])
                if cost.code != 0:
                    raise SystemExit(f"erase --metadata: {cost.text}")
                walls.append(cost.wall)
            print(f"metadata of {size >> 30:5} GiB with two partitions: {median(walls) * 1000:.0f} ms, the program's start included", flush=True)
        finally:
            loop.close()


def main():
    options = arguments()
    os.makedirs(options.images, exist_ok=True)
    print(f"{SIZE >> 20} MiB, {options.rounds} rounds, medians")
    for where, parent in (("tmpfs", "/dev/shm"), ("disk", options.images)):
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            overwrite(options, where, folder)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        metadata(options, folder)


main()
