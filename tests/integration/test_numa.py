# SPDX-License-Identifier: BSD-3-Clause
"""NUMA: what the guest sees of its nodes, and where the host puts their
memory. numa/ runs on a host with two nodes, numa4/ on one with four."""
import random
import re
import threading
import time
from pathlib import Path

from harness import (GIB, KIB, MIB, Elastic, Failed, expect, expect_equal,
                     power_off, test, wait_until)
from lib.bellows import BellowsVmm, bellows
from lib.qemu import QemuVmm
from lib.vmm import Machine, Node

NODES = Path("/sys/devices/system/node")
POOL = "hugepages/hugepages-2048kB"


def facts(vmm):
    """{node: (processors, distances, MemTotal)} as the guest's kernel says."""
    rows = vmm.console.ask(
        "sh cd /sys/devices/system/node; for n in node[0-9]*; do "
        "echo $n \"$(cat $n/cpulist)\" \"$(cat $n/distance)\" "
        "$(grep MemTotal $n/meminfo); done")
    result = {}
    for row in rows:
        found = re.match(r"node(\d+) (\S*) ([\d ]+?) Node \d+ MemTotal: +"
                         r"(\d+) kB", row)
        expect(found, f"what is {row!r}?")
        result[int(found[1])] = (found[2], found[3],
                                 int(found[4]) * KIB)
    return result


def totals(vmm):
    """{node: MemTotal}; cheaper than all facts."""
    rows = (row.split("=") for row in vmm.console.ask("nodes"))
    return {int(node): int(size) * KIB for node, size in rows}


def wait_until_counted(vmm, before, growth):
    """A guest counts memory a moment after it has plugged it."""
    total = sum(fact[2] for fact in before.values()) + growth
    wait_until(f"the guest's nodes have {total} bytes",
               lambda: sum(totals(vmm).values()) == total)


def guest_of(lab, kind, nodes, kernel):
    """A guest with those nodes, each with an elastic device of which 128 MiB
    are plugged; the machine, what it said before, and after."""
    cpus = sum(len(re.findall(r"\d+", node.cpus)) for node in nodes)
    vmm = kind(Machine(kernel=kernel, cpus=cpus, nodes=nodes,
                       memory=sum(node.memory for node in nodes),
                       # Each of its own size: so QEMU's can be told apart.
                       elastic=[Elastic((640 + 128 * i) * MIB, id=f"n{i}",
                                        node=i) for i in range(len(nodes))]))
    lab.vmms.append(vmm)
    vmm.start()
    vmm.wait_init()
    vmm.wait_ready()
    before = facts(vmm)
    for i in range(len(nodes)):
        vmm.resize(f"n{i}", 128 * MIB)
    for i in range(len(nodes)):
        vmm.wait_plugged(f"n{i}", 128 * MIB)
    wait_until_counted(vmm, before, len(nodes) * 128 * MIB)
    return vmm, before, facts(vmm)


def shape(lab, nodes, distances, kernel="6.1-cloud"):
    """The guest's nodes, processors and distances are what was asked for, and
    memory joins the node of its device."""
    vmm, before, after = guest_of(lab, BellowsVmm, nodes, kernel)
    expect_equal("nodes", sorted(after), list(range(len(nodes))))
    for i, node in enumerate(nodes):
        its_cpus, its_distances, total = after[i]
        expect_equal(f"processors of node {i}", its_cpus, node.cpus)
        expect_equal(f"distances of node {i}", its_distances, distances[i])
        booted = before[i][2] if i in before else 0
        expect(node.memory * 3 // 4 - 64 * MIB <= booted <= node.memory,
               f"node {i} booted with {booted // MIB} MiB of "
               f"{node.memory // MIB}")
        expect_equal(f"what node {i} grew by", total - booted, 128 * MIB)
    power_off(vmm)


def remote(count):
    return [" ".join("10" if i == j else "20" for j in range(count))
            for i in range(count)]


TWO = [Node("0", 256 * MIB, {1: 31}), Node("1", 256 * MIB)]
ODD = [Node("0,2", 512 * MIB), Node("1"), Node("", 256 * MIB), Node()]
EIGHT = [Node("0", 512 * MIB)] + [Node("", 64 * MIB)] * 3 + [Node()] * 4

test("numa/shape-1", nodes=[Node("0", 512 * MIB)], distances=["10"])(shape)
test("numa/shape-2", nodes=TWO, distances=["10 31", "31 10"],
     kernel="6.12-cloud")(shape)
test("numa/shape-4-odd", nodes=ODD, distances=remote(4))(shape)
test("numa4/shape-4", nodes=[Node(str(i), 256 * MIB) for i in range(4)],
     distances=remote(4))(shape)
test("numa/shape-8", nodes=EIGHT, distances=remote(8),
     kernel="6.12-generic")(shape)


def as_qemu(lab, nodes):
    """The same guest under QEMU sees the same: nodes, processors, distances,
    which node memory joins, how /proc/iomem names it."""
    seen = []
    for kind in (BellowsVmm, QemuVmm):
        vmm, before, after = guest_of(lab, kind, nodes, "6.1-cloud")
        names = sorted(re.sub(r"^.*? : ", "", row).strip()
                       for row in vmm.console.ask("iomem virtio_mem"))
        names = [re.sub(r"virtio\d+", "virtioN", name) for name in names]
        seen.append(({n: f[:2] for n, f in after.items()},
                     {n: f[2] - (before[n][2] if n in before else 0)
                      for n, f in after.items()}, names))
        power_off(vmm)
    for what, ours, theirs in zip(("nodes, processors, distances", "growth",
                                   "names in /proc/iomem"), *seen):
        expect_equal(what, ours, theirs)


test("numa/as-qemu-2", nodes=TWO)(as_qemu)
test("numa/as-qemu-4-odd", nodes=ODD)(as_qemu)


def residence(vmm):
    """{device: {host node: bytes}}, asked of the host's kernel by the API."""
    body = vmm.api("GET", "/v1/vm/residence")
    return {item["id"]: {int(k): v
                         for k, v in item["host_node_bytes"].items()}
            for item in body["memory"]}


def walk(lab, seed, steps, pages, nodes=2):
    """Random resizes of one node at a time: that node alone changes, by
    exactly the step, and its memory lies on its host node alone."""
    rng = random.Random(seed)
    options = ["--prealloc"]
    for node in range(nodes):
        options += ["--node", f"cpus={node},mem=256M"]
    for node in range(nodes):
        options += ["--elastic", f"id=n{node},max=512M,node={node},"
                    f"pages={pages},host={node}"]
    vmm = lab.start(cpus=nodes, memory=nodes * 256 * MIB, options=options,
                    cmdline="init_on_alloc=0")
    size = [0] * nodes
    before = totals(vmm)
    for step in range(lab.rounds(*steps)):
        node = rng.randrange(nodes)
        move = rng.choice((2, 4, 2, 4, 126, 128, 130)) * MIB
        target = max(0, min(512 * MIB, size[node] + rng.choice((1, -1))
                            * move))
        vmm.resize(f"n{node}", target)
        vmm.wait_plugged(f"n{node}", target)
        wanted = dict(before)
        wanted[node] += target - size[node]
        wait_until(f"MemTotal after step {step} (seed {seed}: node {node} "
                   f"from {size[node]} to {target}) is {wanted}",
                   lambda: totals(vmm) == wanted)
        held = residence(vmm)[f"n{node}"]
        expect_equal(f"on host nodes after step {step} (seed {seed})", held,
                     {node: target} if target else {})
        size[node], before = target, wanted
    power_off(vmm)


# (steps in an ordinary run, with --soak)
test("numa/walk-small-pages", seed=1, steps=(30, 200), pages="4K")(walk)
test("numa/walk-huge-pages", seed=2, steps=(200, 200), pages="thp")(walk)
test("numa4/walk", seed=4, steps=(25, 200), pages="4K", nodes=4)(walk)


class Pool:
    """Huge pages of 2 MiB on a host node; as many as before afterwards."""

    def __init__(self, node, count):
        self.path = NODES / f"node{node}" / POOL
        self.set(count)

    def set(self, count):
        (self.path / "nr_hugepages").write_text(str(count))
        there = int((self.path / "nr_hugepages").read_text())
        if there != count:
            raise Failed(f"the host gave {there} huge pages of {count}")

    def free(self):
        return int((self.path / "free_hugepages").read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        (self.path / "nr_hugepages").write_text("0")


@test("numa/walk-pool-pages")
def walk_pool(lab):
    """The same walk with pages of a pool, which come back."""
    with Pool(0, 300) as zero, Pool(1, 300) as one:
        walk(lab, 3, (200, 200), "2M")
        expect_equal("free pages", (zero.free(), one.free()), (300, 300))


@test("numa/pool-runs-dry")
def runs_dry(lab):
    """A grow stops where the pool does, says so, and goes on when pages come
    back; the guest lives on."""
    with Pool(1, 100) as pool:
        vmm = lab.start(memory=256 * MIB, options=[
            "--elastic", "id=em0,max=512M,pages=2M,host=1"])
        vmm.resize("em0", 254 * MIB)
        wait_until("a request is refused", lambda: vmm.show()["elastic"][0]
                   ["requests"]["answered_busy"] > 0)
        done = vmm.cli("resize", f"em0={256 * MIB}", "--wait", "3")
        expect_equal("exit status", done.returncode, 3)
        expect("no more memory" in done.stdout, f"no reason: {done.stdout}")
        plugged = vmm.status()["em0"]["plugged"]
        expect(plugged <= 200 * MIB, f"{plugged // MIB} MiB are plugged")
        expect_equal("free pages", pool.free(), 100 - plugged // (2 * MIB))
        # Its driver tries again by itself, after 50 s or 100 s.
        pool.set(160)
        vmm.wait_plugged("em0", 256 * MIB)
        vmm.console.ask("load 200 seq")
        vmm.console.ask("load stop")
        vmm.resize("em0", 0)
        vmm.wait_plugged("em0", 0)
        expect_equal("free pages at 0", pool.free(), 160)
        power_off(vmm)


@test("numa/policies")
def policies(lab):
    """Memory comes from the nodes that its device's policy says."""
    wanted = {"both": "host=0-1,policy=interleave",
              "second": "host=1,policy=preferred",
              "first": "host=0,policy=bind"}
    options = ["--prealloc"]
    for name, placement in wanted.items():
        options += ["--elastic", f"id={name},max=256M,{placement}"]
    vmm = lab.start(memory=512 * MIB, options=options,
                    cmdline="init_on_alloc=0")
    for name in wanted:
        vmm.resize(name, 256 * MIB)
        vmm.wait_plugged(name, 256 * MIB)
    held = residence(vmm)
    expect_equal("interleaved", held["both"],
                 {0: 128 * MIB, 1: 128 * MIB})
    expect_equal("preferred", held["second"], {1: 256 * MIB})
    expect_equal("bound", held["first"], {0: 256 * MIB})
    power_off(vmm)


@test("numa/gigantic-pages")
def gigantic(lab):
    """A page of 1 GiB from the pool is a block, and comes back."""
    free = {n: NODES / f"node{n}/hugepages/hugepages-1048576kB/free_hugepages"
            for n in range(2)}
    count = lambda: {n: int(path.read_text()) for n, path in free.items()}
    before = count()
    expect_equal("free pages of 1 GiB (./dev lab --gigantic 1)",
                 sum(before.values()), 1)
    host = 0 if before[0] else 1
    vmm = lab.start(memory=512 * MIB, options=[
        "--elastic", f"id=em0,max=2G,pages=1G,host={host}"],
        cmdline="init_on_alloc=0")
    base = vmm.mem_total()
    vmm.resize("em0", GIB)
    vmm.wait_plugged("em0", GIB)
    wait_until("the guest counts it", lambda: vmm.mem_total() == base + GIB)
    expect_equal("free pages", count(), {0: 0, 1: 0})
    vmm.resize("em0", 2 * GIB)
    time.sleep(3)
    expect_equal("plugged, the pool empty", vmm.status()["em0"]["plugged"],
                 GIB)
    vmm.resize("em0", 0)
    vmm.wait_plugged("em0", 0)
    expect_equal("free pages", count(), before)
    power_off(vmm)


@test("numa/64-nodes")
def most(lab):
    """As many nodes as there can be; all but one have a device alone, and
    come online when it has memory."""
    devices = [Elastic(128 * MIB, id=f"d{i}", node=i) for i in range(64)]
    vmm = lab.start(memory=1024 * MIB, elastic=devices, options=[
        "--node", "cpus=0,mem=1G", *["--node", "empty"] * 63])
    before = facts(vmm)
    for node in (1, 31, 63):
        vmm.resize(f"d{node}", 128 * MIB)
        vmm.wait_plugged(f"d{node}", 128 * MIB)
    wait_until_counted(vmm, before, 3 * 128 * MIB)
    after = facts(vmm)
    expect_equal("possible nodes", vmm.console.ask(
        "cat /sys/devices/system/node/possible"), ["0-63"])
    expect_equal("nodes", sorted(after), [0, 1, 31, 63])
    expect_equal("distances of node 63", after[63][1], "20 20 20 10")
    grown = {n: f[2] - (before[n][2] if n in before else 0)
             for n, f in after.items()}
    expect_equal("growth", {n: g for n, g in grown.items() if g},
                 {n: 128 * MIB for n in (1, 31, 63)})
    power_off(vmm)


@test("numa/32-devices-at-once")
def many(lab):
    """32 devices, resized by several clients at once, end as asked."""
    devices = [Elastic(256 * MIB, id=f"d{i}", node=i % 2) for i in range(32)]
    vmm = lab.start(cpus=2, memory=1024 * MIB, elastic=devices, options=[
        "--node", "cpus=0,mem=512M", "--node", "cpus=1,mem=512M"],
        cmdline="init_on_alloc=0")
    rng = random.Random(5)
    final, base = {}, vmm.mem_total()

    def client(number):
        for _ in range(3):
            for i in range(number, 32, 4):
                final[f"d{i}"] = rng.randrange(0, 65) * 2 * MIB
                vmm.cli("resize", f"d{i}={final[f'd{i}']}", "--wait", "0")

    clients = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    for name, size in final.items():
        vmm.wait_plugged(name, size)
    expect_equal("plugged", {n: s["plugged"]
                             for n, s in vmm.status().items()}, final)
    wait_until("the guest counts all of it", lambda: vmm.mem_total() ==
               base + sum(final.values()))
    power_off(vmm)


@test("numa/totals-and-nodes")
def total_sizes(lab):
    """`resize NAME SIZE` and `nodeN=SIZE`; the table and the diagram."""
    vmm = lab.start(memory=512 * MIB, elastic=[
        Elastic(GIB, id="a", node=0), Elastic(GIB, id="b", node=1),
        Elastic(512 * MIB, id="c", node=1)], options=[
        "--node", "cpus=0,mem=512M", "--node", "empty"],
        cmdline="init_on_alloc=0")
    sizes = lambda: {n: s["plugged"] // MIB
                     for n, s in vmm.status().items()}
    expect_equal("exit status", vmm.cli("resize", "640M").returncode, 0)
    expect_equal("sizes", sizes(), {"a": 256, "b": 256, "c": 128})
    expect_equal("exit status",
                 vmm.cli("resize", "node1=1G", "a=64M").returncode, 0)
    got = sizes()
    expect_equal("node 1", got["b"] + got["c"], 1024)
    expect_equal("a", got["a"], 64)
    for words in (("3G",), ("node7=1G",), ("1G", "a=1G"), ("node1=2G",),
                  ("node0=64M", "a=64M")):
        expect_equal(f"exit status of {words}",
                     vmm.cli("resize", *words).returncode, 2)
    expect_equal("sizes", sizes(), got)
    table = vmm.cli("show", check=True).stdout
    expect(re.search(r"^1 +0B +1G +1G +1\.50G", table, re.M), table)
    drawn = vmm.cli("show", "--nodes", check=True).stdout
    expect("node 1" in drawn and "▓" in drawn, drawn)
    power_off(vmm)


@test("numa/what-cannot-be-had")
def cannot(lab):
    """Placement that the host has not is an error before the guest starts."""
    from test_bad_input import RUN, refused
    refused((*RUN, "--elastic", "max=1G,host=9"), "9")
    refused((*RUN, "--boot", "host=7"), "7")
    refused((*RUN, "--node", "cpus=0,mem=512M,host=5"), "5")
    refused((*RUN, "--boot", "pages=2M"), "pool")
    refused((*RUN, "--elastic", "max=1G,pages=3M"), "3M")
    refused((*RUN, "--elastic", "max=1G,policy=random"), "random")
    bellows("ls", check=True)
