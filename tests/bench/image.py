#!/usr/bin/env python3
"""One image to one disk: ours beside the ways of others, interleaved, in one run. `cargo lab bench image` starts it."""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile

import images
from machine import Cost, Loop, Nginx, drop_cache, run, timed
from table import Row, ratio, show

HERE = os.path.dirname(os.path.abspath(__file__))
IRONIC = "Ironic agent's way"
QEMU = "qemu-img from URL, no hash"
OURS = "ours, readback none"
FULL = "ours, readback full"
# Wall time of the Ironic agent's way over ours, at least; what a throwaway prototype reached.
GOALS = {
    "tmpfs": {"plain": 1.8, "zlib": 2.4, "zstd": 2.0, "raw": 3.2},
    "disk": {"plain": 2.5, "zlib": 2.4, "zstd": 2.0, "raw": 3.2},
}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", required=True)
    parser.add_argument("--base", required=True, help="a real Debian image, qcow2")
    parser.add_argument("--images", required=True, help="where the images are kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--on", choices=["tmpfs", "disk", "both"], default="both")
    parser.add_argument("--forms", default="plain,zlib,zstd,raw")
    return parser.parse_args()


def ours(options, nginx, url, digest, device, readback):
    before = nginx.requests()
    cost = timed([options.agent, "write-image", "--url", url, "--checksum", f"sha256:{digest}", "--disk", device,
                  "--readback", readback])
    cost.requests = nginx.requests() - before
    # 3: written, not verified, because asked so.
    if cost.code == 3 and readback != "full":
        cost.code = 0
    return cost


def ironic(form, url, digest, device):
    folder = tempfile.mkdtemp(dir="/dev/shm")
    try:
        cost = timed([sys.executable, os.path.join(HERE, "ironic_way.py"), form, url, digest, device, folder])
        if form != "raw" and cost.code == 0:
            cost.stored = int(cost.text.split()[0])
        return cost
    finally:
        shutil.rmtree(folder)


def shell(script):
    return timed(["bash", "-ec", "set -o pipefail; " + script])


def ways(options, form, nginx, digest):
    """Every way to write this form, the Ironic agent's first: (name, function of the device)."""
    url, plain_url = f"{nginx.url}/{form}", f"{nginx.no_range}/{form}"
    rows = [(IRONIC, lambda device: ironic(form, url, digest, device))]
    for mode in ("none", "sampled", "full"):
        rows.append((f"ours, readback {mode}", lambda device, mode=mode: ours(options, nginx, url, digest, device, mode)))
    rows.append(("ours, none, no ranges", lambda device: ours(options, nginx, plain_url, digest, device, "none")))
    convert = f"qemu-img convert -n -O host_device -t none -f qcow2 -W {url}"
    if form == "raw":
        script = f"curl -s {url} | tee >(sha256sum >/dev/null) | dd of=DEVICE bs=1M iflag=fullblock oflag=direct status=none conv=fsync"
        rows.append(("curl | sha256sum | dd", lambda device: shell(script.replace("DEVICE", device))))
    else:
        rows.append((QEMU, lambda device: shell(f"{convert} {device}")))
        rows.append(("the same, and a hash", lambda device: shell(f"curl -s {url} | sha256sum >/dev/null & {convert} {device}; wait $!")))
    return rows


def limits(form, path, nginx, loop):
    """Seconds that no way can beat here, the best of three: one stream hashed, one stream over loopback, the disk written."""
    data = allocated(path)
    commands = [
        ["openssl", "dgst", "-sha256", path],
        ["curl", "-s", "-o", "/dev/null", f"{nginx.url}/{form}"],
        ["dd", "if=/dev/zero", f"of={loop.device}", "bs=1M", f"count={data >> 20}", "oflag=direct", "status=none"],
    ]
    hashed, http, disk = (min(timed(command).wall for _ in range(3)) for command in commands)
    return hashed, http, disk, data


def allocated(path):
    """Bytes of the disk that the image holds data for."""
    return sum(part["length"] for part in json.loads(run("qemu-img", "map", "--output=json", path)) if part["data"])


def measure(options, where, folder, made, nginx):
    size = images.VIRTUAL + (64 << 20)
    loop = Loop(os.path.join(folder, "target"), size, where == "disk")
    truth = made["raw"][1]
    rows, floors, hashes = [], {}, {}
    try:
        for form in options.forms.split(","):
            path, digest = made[form]
            hashed, http, disk, data = limits(form, path, nginx, loop)
            hashes[form] = hashed
            print(f"{where}: {form}: {os.path.getsize(path) >> 20} MiB, {data >> 20} MiB of data; sha256 {hashed:.2f} s, loopback HTTP"
                  f" {http:.2f} s, O_DIRECT write of the data {disk:.2f} s", flush=True)
            cores = os.cpu_count()
            group = [(Row(form, name), way) for name, way in ways(options, form, nginx, digest)]
            for round_number in range(options.rounds):
                for row, way in group:
                    # qemu-img's curl driver hangs now and then: one limit waited for tells it, unless the verdict needs the row.
                    if row.hung and row.name != QEMU:
                        continue
                    loop.fill()
                    drop_cache(loop.device)
                    cost = way(loop.device)
                    # The first round proves every way, the others prove ours: outside the timed part.
                    check = round_number == 0 or row.name in (OURS, FULL)
                    right = not check or cost.code != 0 or digest_of(loop) == truth
                    row.add(cost, right)
                    if cost.code != 0 or not right:
                        print(f"  {form} {row.name}: {'wrong bytes' if cost.code == 0 else cost.text.strip()[-200:]}", flush=True)
            for row, _ in group:
                rows.append(row)
                floors[(form, row.name)] = lambda row, h=hashed, d=disk: max(h, d, row.median("all_cpu") / cores)
    finally:
        loop.close()
    print(f"\nloop device on {where}, {options.rounds} rounds; wall and cpu: the Ironic agent's way divided by this row")
    show(rows, floors)
    return rows, floors, hashes


def digest_of(loop):
    return run("sh", "-c", f"dd if={loop.device} bs=4M count={images.VIRTUAL >> 22} iflag=direct status=none | openssl dgst -sha256 -r").split()[0]


def verdict(where, rows, floors, hashes):
    by = {(row.image, row.name): row for row in rows}
    for form in dict.fromkeys(row.image for row in rows):
        base, none, full = by[form, IRONIC], by[form, OURS], by[form, FULL]
        goal = GOALS[where][form]
        bad = none.bad + full.bad
        say(bad == 0, f"{where} {form}: {bad} of our runs failed or left wrong bytes, wanted 0")
        if not (base.costs and none.costs and full.costs):
            say(False, f"{where} {form}: a way that is compared never ended well")
            continue
        won = ratio(base, none, "wall")
        most = base.median("wall") / hashes[form]
        bound = f"; openssl's sha256 of the file alone would be {most:.2f}x" if most < goal else ""
        say(won >= goal, f"{where} {form}: {won:.2f}x the Ironic agent's way, wanted {goal}x{bound}")
        verified = ratio(base, full, "wall")
        say(verified >= 1, f"{where} {form}: {verified:.2f}x with full read-back, wanted 1x")
        if (form, QEMU) in by and not by[form, QEMU].costs:
            print(f"not measured {where} {form}: qemu-img from the URL hung in every round")
        elif (form, QEMU) in by:
            other = ratio(by[form, QEMU], none, "wall")
            say(other >= 1, f"{where} {form}: {other:.2f}x qemu-img from the URL without its hash, wanted 1x")
        of_floor = none.median("wall") / floors[form, OURS](none)
        say(of_floor <= 1.5, f"{where} {form}: {of_floor:.2f}x of max(hash, disk, CPU / cores), wanted 1.5x at most")
        rss = max(row.median("rss_mib") for row in (none, full))
        asked = max(cost.requests for cost in none.costs)
        say(asked <= 8, f"{where} {form}: {asked} requests, wanted 8 at most")
        say(rss <= 96, f"{where} {form}: {rss:.0f} MiB resident, wanted 96 MiB at most")


def say(reached, text):
    print(f"{'reached    ' if reached else 'NOT REACHED'}  {text}")


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    made = images.make(options.base, options.images)
    places = ["tmpfs", "disk"] if options.on == "both" else [options.on]
    with tempfile.TemporaryDirectory(dir=os.path.dirname(options.images)) as work:
        nginx = Nginx(options.images, work)
        try:
            for where in places:
                with tempfile.TemporaryDirectory(dir="/dev/shm" if where == "tmpfs" else work) as folder:
                    measured = measure(options, where, folder, made, nginx)
                verdict(where, *measured)
                print()
        finally:
            nginx.close()


main()
