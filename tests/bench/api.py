#!/usr/bin/env python3
"""The operator's API beside Ironic's: both on loopback, both with their own SQLite on the same disk, in one run.
`cargo lab bench api` starts it.

CPU is that of the server's whole process tree, from its own CPU clock, so that a busy machine changes little. Times and rates
do depend on what else runs.
"""
import argparse
import concurrent.futures
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from statistics import median

VERSION = "1.110"
START_LIMIT_S = 120

IRONIC_CONF = """[DEFAULT]
auth_strategy = noauth
rpc_transport = none
host = localhost
my_ip = 127.0.0.1
state_path = {run}
tempdir = {run}
enabled_hardware_types = fake-hardware
enabled_boot_interfaces = fake
enabled_deploy_interfaces = fake
enabled_inspect_interfaces = fake
enabled_management_interfaces = fake
enabled_power_interfaces = fake
enabled_network_interfaces = noop
default_network_interface = noop
enabled_raid_interfaces = fake
enabled_rescue_interfaces = fake
enabled_bios_interfaces = fake
enabled_firmware_interfaces = fake
enabled_console_interfaces = fake
enabled_storage_interfaces = noop
enabled_vendor_interfaces = fake
[api]
host_ip = 127.0.0.1
port = {port}
public_endpoint = http://127.0.0.1:{port}
[database]
connection = sqlite:///{run}/ironic.sqlite
[service_catalog]
auth_type = none
endpoint_override = http://127.0.0.1:{port}
[deploy]
http_root = {run}/httpboot
[dhcp]
dhcp_provider = none
[agent]
certificates_path = {run}/cert
[inventory]
data_backend = database
[oslo_concurrency]
lock_path = {run}
"""

OUR_CONF = """listen = "127.0.0.1:{port}"
database = "{run}/ironwright.db"
state_dir = "{run}/state"
enabled_hardware_types = ["fake-hardware"]
"""


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--coordinator", required=True, help="our program, optimised")
    parser.add_argument("--ironic", required=True, help="the virtual environment that Ironic is installed in")
    parser.add_argument("--work", required=True, help="a folder on a real disk")
    parser.add_argument("--nodes", type=int, default=1000, help="at most 1000: both answer with no more in one list")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


class Server:
    """One API server with its children, in a folder of its own."""

    def __init__(self, name, port, words, run):
        self.name, self.port, self.run, self.log = name, port, run, os.path.join(run, "log")
        started = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(words, cwd=run, stdout=log, stderr=log, start_new_session=True)
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - started > START_LIMIT_S:
                with open(self.log, errors="replace") as log:
                    words = log.read()[-2000:]
                self.close()
                raise SystemExit(f"{name} does not answer:\n{words}")
            time.sleep(0.005)
        self.start_s = time.monotonic() - started

    def answers(self):
        try:
            return self.call("GET", "/v1/nodes")[0] == 200
        except OSError:
            return False

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def call(self, method, path, body=None, connection=None):
        connection = connection or self.connect()
        headers = {"X-OpenStack-Ironic-API-Version": VERSION, "Content-Type": "application/json"}
        connection.request(method, path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def pids(self):
        found, left = [], [self.process.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    left += map(int, file.read().split())
        return found

    def cpu_s(self):
        # The CPU clock of another process: clock_getcpuclockid(3) in the kernel's own encoding (linux/posix-timers.h).
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids())

    def memory_mib(self):
        """Resident set, and its proportional part: pages that processes share count once."""
        rss = pss = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as file:
                text = file.read()
            rss += int(re.search(r"^Rss:\s+(\d+)", text, re.M).group(1))
            pss += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))
        return rss / 1024, pss / 1024

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def ironic(options, work):
    run = os.path.join(work, "ironic")
    for folder in ("httpboot", "cert"):
        os.makedirs(os.path.join(run, folder))
    conf = os.path.join(run, "ironic.conf")
    with open(conf, "w") as file:
        file.write(IRONIC_CONF.format(run=run, port=6385))
    program = os.path.join(options.ironic, "bin")
    made = subprocess.run([f"{program}/ironic-dbsync", "--config-file", conf, "create_schema"], capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(f"ironic-dbsync failed:\n{made.stderr[-2000:]}")
    return Server("ironic", 6385, [f"{program}/ironic", "--config-file", conf], run)


def ours(options, work):
    run = os.path.join(work, "ironwright")
    os.makedirs(os.path.join(run, "state"))
    conf = os.path.join(run, "coordinator.toml")
    with open(conf, "w") as file:
        file.write(OUR_CONF.format(run=run, port=6395))
    return Server("ironwright", 6395, [options.coordinator, "serve", "--config", conf], run)


def node(index):
    return {
        "name": f"node-{index:04}", "driver": "fake-hardware", "resource_class": "baremetal",
        "driver_info": {"deploy_kernel": "http://127.0.0.1/k", "deploy_ramdisk": "http://127.0.0.1/r"},
        "properties": {"cpus": 64, "memory_mb": 262144, "local_gb": 960, "cpu_arch": "x86_64", "capabilities": "boot_mode:uefi"},
        "extra": {"rack": f"r{index // 40}", "note": "spare"},
    }


def create(server, indexes, at_once):
    """Nodes a second, and CPU seconds a node."""

    def some(part):
        connection = server.connect()
        for index in part:
            status, text = server.call("POST", "/v1/nodes", node(index), connection)
            if status != 201:
                raise SystemExit(f"{server.name}: POST /v1/nodes answered {status}: {text[:500]}")

    parts = [indexes[at::at_once] for at in range(at_once)]
    cpu, start = server.cpu_s(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(some, parts))
    return len(indexes) / (time.monotonic() - start), (server.cpu_s() - cpu) / len(indexes)


def get(server, path, times, nodes):
    """CPU seconds and wall seconds a request; checks every answer."""
    connection = server.connect()
    answers, cpu, start = [], server.cpu_s(), time.monotonic()
    for _ in range(times):
        answers.append(server.call("GET", path, connection=connection))
    spent, wall = (server.cpu_s() - cpu) / times, (time.monotonic() - start) / times
    for status, text in answers:
        if status != 200 or len(json.loads(text)["nodes"]) != nodes:
            raise SystemExit(f"{server.name}: GET {path} answered {status}: {text[:500]}")
    return spent, wall, answers[0][1]


def show(what, unit, theirs, mine, better, goal=None):
    """One line; `better` is how many times better ours is."""
    verdict = "" if goal is None else f"goal >= {goal}x: " + ("reached" if better >= goal else "NOT REACHED")
    print(f"{what:36} | {theirs:10.3f} {mine:10.3f} {unit:7} | {better:8.1f}x | {verdict}", flush=True)


def compare_lists(servers, options):
    for path, goal in (("/v1/nodes", 100), ("/v1/nodes/detail", 100)):
        found = {server.name: [] for server in servers}
        answers = {}
        for _ in range(options.rounds):
            for server in servers:
                spent, wall, answers[server.name] = get(server, path, 4 if server.name == "ironic" else 60, options.nodes)
                found[server.name].append((spent * 1000, wall * 1000))
        theirs, mine = ([median(column) for column in zip(*found[server.name])] for server in servers)
        show(f"CPU per GET {path}", "ms", theirs[0], mine[0], theirs[0] / mine[0], goal)
        show(f"time per GET {path}", "ms", theirs[1], mine[1], theirs[1] / mine[1])
        theirs, mine = (json.loads(answers[server.name])["nodes"] for server in servers)
        lacks = sorted(set(theirs[0]) - set(mine[0]))
        more = sorted(set(mine[0]) - set(theirs[0]))
        sizes = " and ".join(f"{len(answers[server.name])} bytes" for server in servers)
        print(f"    {sizes}; fields of a node: {len(theirs[0])} and {len(mine[0])}, ours lacks {lacks}, has more {more}", flush=True)


def measure(options, work):
    servers = []
    try:
        servers.append(ironic(options, work))
        servers.append(ours(options, work))
        theirs, mine = servers
        print(f"{options.nodes} nodes, version {VERSION}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        print(f"{'':36} | {'ironic 39':>10} {'ironwright':>10} {'':7} | {'ratio':>9} |", flush=True)
        # Ironic's schema was made before it; ours makes its own in this time.
        show("start to first answer", "s", theirs.start_s, mine.start_s, theirs.start_s / mine.start_s)
        time.sleep(3)
        (rss, pss), (our_rss, our_pss) = theirs.memory_mib(), mine.memory_mib()
        show("idle RSS, summed over processes", "MiB", rss, our_rss, rss / our_rss)
        show("idle PSS (shared pages once)", "MiB", pss, our_pss, pss / our_pss, 10)
        half = options.nodes // 2
        for what, indexes, at_once in (("one client", list(range(half)), 1), ("8 clients", list(range(half, options.nodes)), 8)):
            (rate, cpu), (our_rate, our_cpu) = (create(server, indexes, at_once) for server in servers)
            show(f"POST /v1/nodes, {what}", "nodes/s", rate, our_rate, our_rate / rate, 20)
            show("    CPU per POST", "ms", cpu * 1000, our_cpu * 1000, cpu / our_cpu)
        compare_lists(servers, options)
        (rss, pss), (our_rss, our_pss) = theirs.memory_mib(), mine.memory_mib()
        show("RSS afterwards", "MiB", rss, our_rss, rss / our_rss)
        show("PSS afterwards", "MiB", pss, our_pss, pss / our_pss)
    finally:
        for server in servers:
            server.close()


def main():
    options = arguments()
    if not 2 <= options.nodes <= 1000:
        sys.exit("--nodes must be 2 to 1000")
    os.makedirs(options.work, exist_ok=True)
    work = tempfile.mkdtemp(dir=options.work)
    try:
        measure(options, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


main()
