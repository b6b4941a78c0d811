"""The images that the benchmark writes: one disk of 4 GiB in four forms, made once and kept."""
import os
import random
import shutil

from machine import run

VIRTUAL = 4 << 30
MIB = 1 << 20
# Beside the operating system: files like those of a server's software, data that does not compress, and zeros written.
SOFTWARE, NOISE, ZEROS = 500 * MIB, 100 * MIB, 300 * MIB
FORMS = {
    "plain": ["-O", "qcow2"],
    "zlib": ["-O", "qcow2", "-c"],
    "zstd": ["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
}


def fill(path, base):
    """The disk: `base` (a real Debian image) at its start, the rest behind it, each at a place of its own."""
    run("qemu-img", "convert", "-O", "raw", base, path)
    os.truncate(path, VIRTUAL)
    with open(path, "r+b") as disk:
        disk.seek(1600 * MIB)
        software(disk, SOFTWARE)
        disk.seek(2500 * MIB)
        noise = random.Random(1)
        for _ in range(NOISE // MIB):
            disk.write(noise.randbytes(MIB))
        disk.seek(3000 * MIB)
        for _ in range(ZEROS // MIB):
            disk.write(bytes(MIB))
        # As a partition table at the disk's end would.
        disk.seek(VIRTUAL - 512)
        disk.write(b"EFI PART" + bytes(504))


def software(disk, wanted):
    """Programs, libraries and texts of this machine, in the order of their names."""
    left = wanted
    for top in ("/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/share", "/usr/lib"):
        for folder, below, names in os.walk(top):
            below.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                with open(path, "rb") as file:
                    piece = file.read(min(left, 64 * MIB))
                left -= len(piece)
                disk.write(piece + bytes(-len(piece) % 4096))
                if left <= 0:
                    return


def make(base, folder):
    """The images in `folder` by form, each `(path, sha256)`; and the digest of the disk."""
    done = os.path.join(folder, "done")
    if not os.path.exists(done) or open(done).read() != base:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        raw = os.path.join(folder, "raw")
        fill(raw, base)
        for form, flags in FORMS.items():
            run("qemu-img", "convert", "-f", "raw", *flags, raw, os.path.join(folder, form))
        with open(done, "w") as file:
            file.write(base)
    images = {}
    for form in [*FORMS, "raw"]:
        path = os.path.join(folder, form)
        images[form] = (path, run("openssl", "dgst", "-sha256", "-r", path).split()[0])
    return images
