#!/usr/bin/env python3
"""The steps an Ironic agent takes to write an image, for comparison only.

qcow2: download to memory in pieces of 1 MiB, hashing them, then `qemu-img convert` with the agent's flags (directsync, no
sparse detection, out-of-order writes, two gigabytes of address space, three malloc arenas). raw: pieces of 1 MiB straight
to the device, hashing them.
"""
import hashlib
import os
import resource
import subprocess
import sys
import urllib.request

PIECE = 1 << 20
ADDRESS_SPACE = 2 << 30


def pieces(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        while True:
            piece = answer.read(PIECE)
            if not piece:
                return
            yield piece


def main():
    kind, url, expected, target, folder = sys.argv[1:6]
    digest = hashlib.sha256()
    path = target if kind == "raw" else os.path.join(folder, "image")
    with open(path, "r+b" if kind == "raw" else "wb", buffering=0) as out:
        for piece in pieces(url):
            digest.update(piece)
            out.write(piece)
        if kind == "raw":
            os.fsync(out.fileno())
    if digest.hexdigest() != expected:
        sys.exit(f"digest {digest.hexdigest()}, expected {expected}")
    if kind != "raw":
        print(os.path.getsize(path))
        command = ["qemu-img", "convert", "-O", "host_device", "-t", "directsync", "-S", "0", "-f", "qcow2", "-W"]
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        env = dict(os.environ, MALLOC_ARENA_MAX="3")
        subprocess.run(command + [path, target], check=True, preexec_fn=limit, env=env)
        os.remove(path)


main()
