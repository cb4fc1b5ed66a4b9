# SPDX-License-Identifier: BSD-3-Clause
"""A table that fills as a run goes on: its last row is redrawn in place on a
terminal, and printed once it is final elsewhere."""
import sys

MIB = 1 << 20

COLUMNS = [("step", 18, "<"), ("requested", 11, ">"), ("plugged", 11, ">"),
           ("guest MemTotal", 15, ">"), ("host holds", 11, ">"),
           ("time", 8, ">")]
BAR = 10


def mib(size):
    return "" if size is None else f"{size / MIB:,.1f} MiB" \
        if size % MIB else f"{size // MIB:,} MiB"


def bar(share):
    """A bar of BAR columns, in eighths."""
    eighths = round(max(0.0, min(share, 1.0)) * BAR * 8)
    full, rest = divmod(eighths, 8)
    text = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return text.ljust(BAR)


class Table:
    def __init__(self, live, colour, top, out=sys.stdout):
        self.live, self.colour, self.top, self.out = live, colour, top, out
        self.drawn = False

    def paint(self, text, code):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def header(self):
        cells = [f"{name:{side}{width}}" for name, width, side in COLUMNS]
        line = " ".join(cells)
        print(self.paint(line, "1"), file=self.out)
        print("─" * (len(line) + BAR + 4), file=self.out, flush=True)

    def _line(self, step, mark):
        seconds = step.get("seconds")
        values = [step["name"], mib(step["requested"]), mib(step["plugged"]),
                  mib(step.get("mem_total")), mib(step.get("held")),
                  "" if seconds is None else f"{seconds:.2f} s"]
        cells = [f"{value:{side}{width}}" for value, (_, width, side)
                 in zip(values, COLUMNS)]
        filled = bar(step["plugged"] / self.top)
        return " ".join(cells) + f" {mark} {self.paint(filled, '34')}"

    def progress(self, step):
        """A row that is still changing."""
        if self.live:
            self.out.write("\r\033[K" + self._line(step, "…"))
            self.out.flush()

    def row(self, step, good):
        """A row that is final."""
        mark = self.paint("✓", "32") if good else self.paint("✗", "31")
        if self.live:
            self.out.write("\r\033[K")
        print(self._line(step, mark), file=self.out, flush=True)

    def note(self, text):
        print(self.paint("  " + text, "2"), file=self.out, flush=True)
