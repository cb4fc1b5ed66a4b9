# SPDX-License-Identifier: BSD-3-Clause
"""What the benches share: two VMMs in turn, medians, and tables."""
import contextlib
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from lib.bellows import BellowsVmm
from lib.qemu import QemuVmm
from lib.vmm import GIB, MIB

KERNEL = "6.1-cloud"
KINDS = {"bellows": BellowsVmm, "qemu": QemuVmm}

SPARE_MIB = 24          # of what is free in a guest that has just booted

# The guest's drivers, by what its kernel command line says.
DRIVERS = {"ours": "agent.driver=bellows", "upstream": ""}

# How guests grow and shrink where that is measured.
STEP = 2 * GIB
TOP = 4 * STEP
CLIMBS = 3
VARIANTS = {"": "", "init_on_alloc=0": ", not cleared"}


def in_turn(runs, what=KINDS):
    """Yield (run, label, value), the two VMMs (or whatever else) one after the
    other; who goes first changes, so that neither has the warmer host."""
    order = list(what.items())
    for run in range(runs):
        for label, kind in order if run % 2 == 0 else reversed(order):
            yield run, label, kind


class Series:
    """Measured values by row and label (of a VMM, say), and what the ratio of
    the first label to the second should be. Of runs that measured the two in
    turn, that is the mean of the runs' ratios."""

    def __init__(self, title, labels=("bellows", "qemu")):
        self.title = title
        self.labels = labels
        self.rows = {}
        self.bounds = {}
        self.ratios = {}

    def add_run(self, row, values):
        """What a run showed, {label: [value]}, measured in turn."""
        for label in values:
            self.add(row, label, statistics.median(values[label]))
        if len(values) < 2:
            return
        ratios = [a / b for a, b in zip(*(values[x] for x in self.labels)) if b]
        if ratios:
            self.ratios.setdefault(row, []).append(statistics.median(ratios))

    def add(self, row, label, value):
        self.rows.setdefault(row, {}).setdefault(label, []).append(value)

    def bound(self, row, ratio=None, value=None):
        """What the row must show: the first over the second, or the first
        alone."""
        self.bounds[row] = {"ratio": ratio, "value": value}

    def summary(self):
        result = []
        for row, values in self.rows.items():
            line = {"name": row}
            for label, samples in values.items():
                line[label] = {"median": statistics.median(samples),
                               "min": min(samples), "max": max(samples),
                               "samples": samples}
            ours, theirs = (line.get(label) for label in self.labels)
            if ours and theirs:
                line["ratio"] = (ours["median"] / theirs["median"]
                                 if theirs["median"] else None)
            ratios = self.ratios.get(row, [])
            if len(ratios) > 1:
                line["ratios"] = ratios
                line["ratio"] = statistics.mean(ratios)
                line["error"] = statistics.stdev(ratios) / len(ratios) ** 0.5
            line["met"] = self.met(row, line)
            result.append(line)
        return result

    def met(self, row, line):
        """True, False, or None if nothing was asked of the row."""
        bound = self.bounds.get(row)
        if not bound:
            return None
        good = True
        if bound["ratio"] is not None:
            good = line.get("ratio") is not None and \
                line["ratio"] <= bound["ratio"]
        if bound["value"] is not None:
            good = good and \
                line[self.labels[0]]["median"] <= bound["value"]
        return good

    def wanted(self, row):
        bound = self.bounds.get(row)
        if not bound:
            return ""
        words = []
        if bound["value"] is not None:
            words.append(f"≤ {bound['value']:g}")
        if bound["ratio"] is not None:
            words.append(f"ratio ≤ {bound['ratio']:g}")
        return ", ".join(words)

    def show(self):
        def cell(numbers):
            if not numbers:
                return ""
            return (f"{numbers['median']:.2f} ({numbers['min']:.2f} to "
                    f"{numbers['max']:.2f})")

        print(f"\n{self.title}")
        first, second = self.labels
        wide = 13 if self.ratios else 6
        print(f"  {'':<34} {first:>24} {second:>24} {'ratio':>{wide}}  asked")
        for line in self.summary():
            ratio = line.get("ratio")
            ratio = "" if ratio is None else f"{ratio:.2f}"
            if "error" in line:
                ratio = f"{line['ratio']:.3f} ± {line['error']:.3f}"
            mark = {None: "", True: " ✓", False: " ✗"}[line["met"]]
            print(f"  {line['name']:<34} {cell(line.get(first)):>24} "
                  f"{cell(line.get(second)):>24} "
                  f"{ratio:>{wide}}  "
                  f"{self.wanted(line['name'])}{mark}")
        sys.stdout.flush()

    def as_dict(self):
        return {"title": self.title, "rows": self.summary()}


def progress(text):
    """One line that says what runs now; on stderr, out of the tables."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def pages_done(vmm):
    """How many pages the guest's load has been over, and whether it has been
    over all of them."""
    row, = vmm.console.ask("load")
    words = dict(word.split("=") for word in row.split())
    assert words["errors"] == "0", row
    return int(words["pages"]), words["filled"] == "1"


def start_load(vmm, mib):
    """In the guest, once all that memory has been written."""
    vmm.console.ask(f"load {mib} random")
    while not pages_done(vmm)[1]:
        time.sleep(0.2)


@contextlib.contextmanager
def side_by_side(number, guests):
    """Run guests, {label: Vmm}, all at once, but started one after the other;
    who is first changes. Each has used its boot memory and been asked once:
    what QEMU's firmware, a kernel that unpacks itself, and the first question
    take for the first time would else be part of one's first resize only."""
    order = list(guests.items())
    with contextlib.ExitStack() as stack:
        for _, vmm in order if number % 2 == 0 else reversed(order):
            stack.enter_context(vmm)
            vmm.wait_init()
            vmm.wait_ready()
            use_boot_memory(vmm)
            vmm.resize("em0", 0)
            vmm.wait_plugged("em0", 0)
        time.sleep(0.5)
        yield


def climb(number, guests, measure):
    """Take guests from nothing to TOP and back by STEP, one step each in turn,
    CLIMBS times. The first time up they see that memory for the first time.
    measure(label, verb, size, first) resizes one and returns {row: value}.
    Returns {row: {label: [value]}}."""
    up = [(size - STEP, size) for size in range(STEP, TOP + 1, STEP)]
    down = [(high, low) for low, high in reversed(up)]
    values = {}
    for turn in range(CLIMBS):
        for step, (before, size) in enumerate(up + down):
            verb = "shrink" if size < before else "grow"
            order = list(guests)
            for label in order if (number + step) % 2 == 0 else reversed(order):
                rows = measure(label, verb, size, turn == 0)
                for row, value in rows.items():
                    values.setdefault(row, {}).setdefault(label, []).append(
                        value)
                time.sleep(0.3)
    return values


def use_boot_memory(vmm):
    """Have a guest write to all of its memory that it can have."""
    start_load(vmm, vmm.meminfo()["MemFree"] // MIB - SPARE_MIB)
    vmm.console.ask("load stop")
