# SPDX-License-Identifier: BSD-3-Clause
"""The conformance suite from the host's side: starts the bare guest in a VMM,
has it run its cases, and does what they ask of a host."""
import dataclasses
import itertools
import re

from .console import GuestError
from .paths import ROOT
from .vmm import BARE, GIB, MIB, Elastic, Machine, Node, VmmError

DOCUMENT = ROOT / "docs" / "conformance.md"
TIMEOUT = 600
BLOCK = 2 * MIB
BEFORE_RESET, AFTER_RESET = 909, (910, 911)
# What these print depends on which of two things came first.
RACES = {706, 707, 904, 905}

# One device whose region has more blocks than a request can name, on a node.
MACHINE = Machine(
    kernel=BARE, memory=64 * MIB, cmdline="node=1",
    nodes=[Node(cpus="0", memory=64 * MIB), Node()],
    elastic=[Elastic(160 * GIB, size_bytes=64 * MIB, node=1,
                     qemu=",packed=on")])


@dataclasses.dataclass
class Case:
    """A case that was run."""
    number: int
    name: str
    result: str = "not finished"    # ok, skip WHY, or FAIL WHY
    transcript: list = dataclasses.field(default_factory=list)

    @property
    def failed(self):
        return not self.result.startswith(("ok", "skip"))


class BareGuest:
    """The bare guest of a running VMM; serves what it asks of the host."""

    def __init__(self, vmm):
        self.vmm = vmm
        self.sequence = 0
        vmm.wait_init()
        vmm.wait_ready()

    def _serve(self, what, device, value):
        if what != "resize":
            raise VmmError(f"the guest asks for {what!r}")
        ident = self.vmm.machine.elastic[int(device)].id
        self.vmm.resize(ident, int(value))
        self.vmm.console.send("done\n")

    def command(self, text, timeout=TIMEOUT, line=None):
        """Have the guest run a verb; returns (status, lines). line is called
        with each line as it comes."""
        console = self.vmm.console
        self.sequence += 1
        at = console.mark()
        console.send(f"{self.sequence} {text}\n")
        lines = []
        while True:
            try:
                _, found, at = console.wait_for(
                    rf"^@{self.sequence} (.*)$", timeout, at)
            except GuestError as error:
                raise self.vmm.explain(error) from None
            said = found[1]
            asked = re.match(r"ASK (\S+) (\d+) (\d+)$", said)
            ended = re.match(r"END (-?\d+)$", said)
            if ended:
                return int(ended[1]), lines
            if asked:
                self._serve(*asked.groups())
                continue
            lines.append(said)
            if line:
                line(said)

    def ask(self, text, **how):
        """The same for a verb that must succeed; returns its lines."""
        status, lines = self.command(text, **how)
        if status:
            raise GuestError(f"bare guest: {text!r} failed with {status}"
                             + "".join(f"\n  | {row}" for row in lines))
        return lines

    def reset_machine(self):
        """The guest resets the machine, and starts anew."""
        mark = self.vmm.console.mark()
        self.sequence += 1
        self.vmm.console.send(f"{self.sequence} reset\n")
        self.vmm.wait_ready(since=mark)

    def power_off(self):
        self.vmm.console.send("0 poweroff\n")
        return self.vmm.wait_end()


def parse(lines):
    """The cases in a transcript."""
    cases = []
    for line in lines:
        head = re.match(r"CASE (\d+) (\S+)$", line)
        if head:
            cases.append(Case(int(head[1]), head[2]))
            continue
        end = re.match(r"\d+ (ok|skip .*|FAIL .*)$", line)
        if end:
            cases[-1].result = end[1]
        else:
            cases[-1].transcript.append(line)
    return cases


def run(guest, show=None):
    """Run all cases, those around a system reset last."""
    _, lines = guest.command("conformance", line=show)
    _, more = guest.command(f"conformance {BEFORE_RESET}", line=show)
    lines += [m for m in more if f"CASE {BEFORE_RESET} " not in m
              and not m.startswith(f"{BEFORE_RESET} ")]
    guest.reset_machine()
    for number in AFTER_RESET:
        lines += guest.command(f"conformance {number}", line=show)[1]
    return parse(lines)


def differs(ours, theirs):
    """Where two VMMs part in a case, in words; empty if they do not."""
    if ours.result != theirs.result:
        return f"{ours.result} here, {theirs.result} there"
    if ours.number in RACES:
        return ""
    for mine, other in itertools.zip_longest(ours.transcript,
                                             theirs.transcript):
        if mine != other:
            return f"{mine!r} here, {other!r} there"
    return ""


def disagreements(ours, theirs):
    """Where another VMM parts from ours, and no document says so."""
    documented = documented_differences()
    by_number = {case.number: case for case in ours}
    return [f"{case.number} {case.name}: {how}" for case in theirs
            if case.number not in documented
            and (how := differs(by_number[case.number], case))]


def failures(cases):
    return [f"{case.number} {case.name}: {case.result}" for case in cases
            if case.failed]


def list_cases(guest):
    """[(number, name, section, statement)] as the guest has them."""
    rows = [line.split("|") for line in guest.ask("cases")]
    return [(int(number), name, section, statement)
            for number, name, section, statement in rows]


def table(rows):
    """The cases as the document lists them."""
    return "".join(f"| {number} | {name} | {section} | {statement} |\n"
                   for number, name, section, statement in sorted(rows))


def undocumented(rows):
    """What the document's list of cases does not say as the guest does."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.search(r"<!-- cases -->\n.*?\n\|[-|]+\n(.*?)<!-- /cases -->",
                      text, re.S)
    if not found:
        return ["docs/conformance.md lists no cases"]
    have, want = found[1].splitlines(), table(rows).splitlines()
    return [f"docs/conformance.md lacks: {row}" for row in want
            if row not in have] + \
        [f"docs/conformance.md has too much: {row}" for row in have
         if row not in want]


def documented_differences():
    """Numbers of the cases that QEMU is documented to fail."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.search(r"<!-- differences -->\n(.*?)<!-- /differences -->",
                      text, re.S)
    numbers = set()
    for first, last in re.findall(r"^\| (\d+)(?: to (\d+))? \|",
                                  found[1] if found else "", re.M):
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers
