"""What the benchmarks do to the machine: loop devices, nginx, timed programs. Nothing outlives the process."""
import os
import re
import resource
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

from table import HUNG

LIMIT_S = 45


def run(*words, **options):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **options).stdout.strip()


class Loop:
    """A loop device over a new file of `size` bytes, filled with 0xA5 or sparse; gone when this process is, however it ends."""

    def __init__(self, path, size, direct_io, sparse=False):
        self.path, self.size = path, size
        self.sparse = sparse
        with open(path, "wb") as file:
            file.truncate(size)
        self.fill()
        self.device = run("losetup", "--find", "--show", f"--direct-io={'on' if direct_io else 'off'}", path)
        # Detached lazily: while this file is open, and not longer.
        self.hold = os.open(self.device, os.O_RDONLY)
        run("losetup", "--detach", self.device)

    def fill(self):
        """Every byte is 0xA5 again, and allocated: what one way left, holes above all, must not be another's luck."""
        with open(self.path, "r+b", buffering=0) as file:
            piece = b"\xa5" * (4 << 20)
            for at in range(0, 0 if self.sparse else self.size, len(piece)):
                file.write(piece[: min(len(piece), self.size - at)])
            os.fsync(file.fileno())
            # A disk has no pages of memory behind it: dropping those of the file would be paid by whoever writes next.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        # What the file system still has to note of the filling (where the blocks are) is not the next one's to wait for.
        os.sync()

    def close(self):
        os.close(self.hold)
        os.remove(self.path)


def drop_cache(device):
    file = os.open(device, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


class Nginx:
    """Serves `folder` on loopback: as it is on `port`, without ranges on `port + 1`."""

    def __init__(self, folder, work, port=8099):
        self.url, self.no_range = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
        server = "server {{ listen 127.0.0.1:{}; root {}; {} }}"
        conf, self.log = os.path.join(work, "nginx.conf"), os.path.join(work, "access.log")
        with open(conf, "w") as file:
            file.write(
                f"daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/error.log;\n"
                f"events {{}} http {{ log_format short '$request_method $status'; access_log {work}/access.log short; sendfile on; tcp_nopush on; keepalive_requests 100000;\n"
                f"client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f;"
                f" uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;\n"
                + server.format(port, folder, "") + "\n" + server.format(port + 1, folder, "max_ranges 0;") + "}\n"
            )
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(["nginx", "-p", work, "-c", conf, *user], stderr=subprocess.DEVNULL)
        for _ in range(100):
            if subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{self.url}/"], stderr=subprocess.DEVNULL).returncode in (0, 22):
                return
            time.sleep(0.05)
        raise SystemExit("nginx does not answer")

    def requests(self):
        """Requests answered so far."""
        with open(self.log) as file:
            return sum(1 for _ in file)

    def close(self):
        self.process.terminate()
        self.process.wait()


@dataclass
class Cost:
    """What one run of a program cost."""

    wall: float
    cpu: float
    all_cpu: float
    rss_mib: float
    stored: int
    code: int
    text: str
    requests: int = 0


def busy_s():
    """CPU seconds of the whole machine so far."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def tree_rss(pid):
    """Resident KiB of a process and its children now."""
    total = 0
    try:
        with open(f"/proc/{pid}/status") as file:
            total += int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            total += sum(tree_rss(int(child)) for child in file.read().split())
    except (OSError, AttributeError):
        pass
    return total


def timed(words, env=None):
    """Runs a program; a run that takes longer than LIMIT_S is killed with its children and counts as code HUNG."""
    before, busy, start = resource.getrusage(resource.RUSAGE_CHILDREN), busy_s(), time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, start_new_session=True)
    peak, ended = [0], threading.Event()

    def watch():
        while not ended.wait(0.02):
            peak[0] = max(peak[0], tree_rss(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        text, _ = process.communicate(timeout=LIMIT_S)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, code = process.communicate()[0] + "still running after the limit", HUNG
    wall = time.monotonic() - start
    ended.set()
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, busy_s() - busy, peak[0] / 1024, 0, code, text)
