# SPDX-License-Identifier: BSD-3-Clause
"""Our Linux driver against the kernel's own: what a load in the guest notices
of memory that comes and goes."""
import csv
import subprocess
import threading
import time

from common import DRIVERS, KERNEL, ROOT, Series, in_turn, progress
from lib.vmm import GIB, MIB, Elastic, Machine

ABOUT = """\
A guest with one processor, 512 MiB, and an elastic device that is asked for
1 GiB and for nothing in turn, every half second, reached or not, while a load
runs: copies of 64 KiB between random places of 96 MiB, each clocked; and
Debian's redis with its benchmark beside it (set and get of 1 KiB, 30000 keys,
10 clients on a unix socket). Lost: of the throughput while nothing moved,
in percent. Moved: what the device got back, MiB a second. Stock settings,
memory online as movable."""

SIZE = GIB
SECONDS = 10
SERVER = ("redis-server --port 0 --unixsocket /tmp/redis --save '' "
          "--appendonly no --daemonize yes")
BENCHMARK = ("redis-benchmark -s /tmp/redis -t set,get "
             "-r 30000 -d 1024 -c 10 --csv")


def prepare():
    """Make what the guest needs; outside of the lab, where files last."""
    subprocess.run([str(ROOT / "guest" / "linux" / "build"), KERNEL],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run([str(ROOT / "guest" / "image"), f"{KERNEL}.load"],
                   check=True)


class Mover:
    """Takes and gives memory for as long as it is entered."""

    def __init__(self, vmm):
        self.vmm = vmm
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.given_back = 0

    def _run(self):
        target, before = 0, self.vmm.status()["em0"]["plugged"]
        while not self.end.is_set():
            target = SIZE - target
            self.vmm.resize("em0", target)
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                plugged = self.vmm.status()["em0"]["plugged"]
                self.given_back += max(before - plugged, 0)
                before = plugged
                time.sleep(0.02)

    def __enter__(self):
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
        self.seconds = time.monotonic() - self.began

    def rate(self):
        return self.given_back / MIB / self.seconds


def copies(vmm):
    """{what: (throughput, p99 in ms)} of the copying loop."""
    row, = vmm.console.ask(f"pulse {SECONDS}", SECONDS + 60)
    words = dict(word.split("=") for word in row.split())
    return {"copies": (int(words["kib_per_s"]) / 1024,
                       int(words["p99_us"]) / 1000)}


def benchmark(vmm, requests):
    return list(csv.DictReader(
        vmm.console.ask(f"sh {BENCHMARK} -n {requests}", 300)))


def redis(vmm):
    """The same of redis, with as many requests as take about that long."""
    slowest = min(float(row["rps"]) for row in benchmark(vmm, 500))
    rows = benchmark(vmm, max(int(slowest * SECONDS / 2), 500))
    return {f"redis {row['test'].lower()}":
            (float(row["rps"]), float(row["p99_latency_ms"])) for row in rows}


def settle(vmm, size):
    vmm.resize("em0", size)
    vmm.wait_plugged("em0", size, 180)


def compare(vmm, series, label, load):
    """The load while nothing moves, and while memory comes and goes."""
    quiet = load(vmm)
    with Mover(vmm) as mover:
        busy = load(vmm)
    settle(vmm, SIZE)
    for what, (rate, p99) in busy.items():
        series.add(f"{what}: lost, %", label,
                   100 * (1 - rate / quiet[what][0]))
        series.add(f"{what}: p99, ms", label, p99)
        series.add(f"  undisturbed p99, ms, {what}", label, quiet[what][1])
    series.add(f"  moved beside {load.__name__}, MiB/s", label, mover.rate())


def run(runs, kind):
    series = Series(f"drivers on {kind.label}: a load while memory comes and "
                    "goes", tuple(DRIVERS))
    for number, label, driver in in_turn(runs, DRIVERS):
        progress(f"driver --foreground: {number + 1} of {runs}, {label}")
        machine = Machine(kernel=KERNEL, guest="load", memory=512 * MIB,
                          elastic=[Elastic(SIZE)], cmdline=driver)
        with kind(machine) as vmm:
            vmm.wait_init()
            vmm.wait_ready()
            settle(vmm, SIZE)
            compare(vmm, series, label, copies)
            vmm.console.ask(f"sh {SERVER}")
            time.sleep(1)
            compare(vmm, series, label, redis)
    return series
