# SPDX-License-Identifier: BSD-3-Clause
"""The conformance suite: ours passes every case; QEMU agrees, but for what
docs/conformance.md says."""
import functools
import os
from pathlib import Path

from harness import OFFENCES, expect, test
from lib import conformance
from lib.bellows import BellowsVmm
from lib.qemu import QemuVmm

# Its device is the same without KVM, and each of the guest's many lines costs
# less then.
PEER = functools.partial(QemuVmm, accel="tcg")
_done = {}


def cases_of(lab, kind):
    """The suite against a VMM, run once for all tests that look at it."""
    if kind not in _done:
        vmm = kind(conformance.MACHINE)
        lab.vmms.append(vmm)
        vmm.start()
        guest = conformance.BareGuest(vmm)
        lines = []
        cases = conformance.run(guest, show=lines.append)
        undocumented = conformance.undocumented(
            conformance.list_cases(guest))
        seen = vmm.show()["elastic"][0]["requests"] \
            if kind is BellowsVmm else {}
        expect(guest.power_off() == 0, "the VMM did not end well")
        folder = os.environ.get("LAB_OUT")
        if folder:
            Path(folder, f"conformance-{vmm.label}").write_text(
                "\n".join(lines) + "\n", encoding="utf-8")
        _done[kind] = cases, undocumented, seen
    return _done[kind]


@test("conformance/bellows")
def ours(lab):
    """Every case passes, and stands in the document; and what the cases do
    that no driver may, the device has seen."""
    cases, undocumented, seen = cases_of(lab, BellowsVmm)
    for what in (*OFFENCES, "over_requested"):
        expect(seen[what] > 0, f"{what}: none of the suite's was counted")
    expect(len(cases) >= 120, f"only {len(cases)} cases ran")
    expect(not undocumented, "\n".join(undocumented[:5]))
    failed = conformance.failures(cases)
    expect(not failed, "\n".join(failed))


@test("conformance/qemu")
def peer(lab):
    """QEMU gives the same answers, or the difference is documented."""
    wrong = conformance.disagreements(cases_of(lab, BellowsVmm)[0],
                                      cases_of(lab, PEER)[0])
    expect(not wrong, "\n".join(wrong))
