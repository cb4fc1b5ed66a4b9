# SPDX-License-Identifier: BSD-3-Clause
"""The demo's run as a picture: an SVG file, and a sketch for a terminal.

A run is a list of samples, each a dict with the time `t` in seconds and the
sizes `requested`, `plugged` and `held` in bytes, and a list of steps, each
with its end time `t` and what the guest had by then, `guest`, beyond what it
booted with.
"""
from xml.sax.saxutils import escape

MIB = 1 << 20
GIB = 1 << 30

WIDTH = 960
LEFT, RIGHT = 84, 24
INK, GREY, GRID = "#1f2933", "#66727f", "#e3e7eb"
COLOUR = {"requested": "#1f2933", "plugged": "#2f80c9", "held": "#2e9e6b",
          "guest": "#e07a1f"}
FONT = ("font-family=\"'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', "
        "sans-serif\"")


def time_ticks(span, count):
    """Round seconds from 0 to span, count of them at most."""
    step = 0.1
    while True:
        for unit in (1, 2, 5):
            size = step * unit
            if span / size <= count:
                return [i * size for i in range(int(span / size) + 1)]
        step *= 10


def memory_ticks(low, high):
    """Ticks at multiples of a power of two, around [low, high]."""
    size = 2 * MIB
    while (high - low) / size > 6:
        size *= 2
    return [i * size for i in range(low // size, -(-high // size) + 1)]


def memory_label(size):
    if size >= GIB and size % (GIB // 2) == 0:
        return f"{size / GIB:g} GiB"
    return f"{size / MIB:g} MiB"


class Panel:
    """One chart of the picture."""

    def __init__(self, top, height, samples, steps, title, close=False):
        self.top, self.height, self.title = top, height, title
        self.samples, self.steps = samples, steps
        self.t0 = samples[0]["t"]
        self.span = max(samples[-1]["t"] - self.t0, 0.001)
        values = [s[key] for s in samples
                  for key in ("requested", "plugged", "held")]
        self.y_ticks = memory_ticks(min(values) if close else 0, max(values))
        self.y_min, self.y_max = self.y_ticks[0], self.y_ticks[-1]
        self.plot_width = WIDTH - LEFT - RIGHT
        self.out = []

    def x(self, t):
        return LEFT + (t - self.t0) / self.span * self.plot_width

    def y(self, size):
        share = (size - self.y_min) / (self.y_max - self.y_min)
        return self.top + self.height * (1 - share)

    def text(self, x, y, what, size=12, anchor="start", colour=GREY,
             extra=""):
        self.out.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" {FONT} '
            f'text-anchor="{anchor}" fill="{colour}" {extra}>'
            f'{escape(what)}</text>')

    def axes(self):
        right = WIDTH - RIGHT
        bottom = self.top + self.height
        self.text(LEFT, self.top - 14, self.title, 14, colour=INK,
                  extra='font-weight="600"')
        for tick in self.y_ticks:
            y = self.y(tick)
            self.out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" '
                            f'y2="{y:.1f}" stroke="{GRID}"/>')
            self.text(LEFT - 8, y + 4, memory_label(tick), anchor="end")
        for tick in time_ticks(self.span, 12):
            x = self.x(self.t0 + tick)
            self.out.append(
                f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" '
                f'y2="{bottom + 5}" stroke="{GREY}"/>')
            self.text(x, bottom + 19, f"{'+' if self.t0 else ''}{tick:g} s",
                      anchor="middle")
        self.out.append(f'<line x1="{LEFT}" y1="{bottom}" x2="{right}" '
                        f'y2="{bottom}" stroke="{GREY}"/>')

    def points(self, key):
        """Corners of a line that holds each value until the next sample."""
        corners = []
        last = None
        for sample in self.samples:
            value = sample[key]
            if last is not None and value != last:
                corners.append((sample["t"], last))
            if value != last or sample is self.samples[-1]:
                corners.append((sample["t"], value))
            last = value
        return " ".join(f"{self.x(t):.1f},{self.y(v):.1f}"
                        for t, v in corners)

    def area(self, key, opacity):
        right = self.x(self.samples[-1]["t"])
        bottom = self.y(self.y_min)
        self.out.append(
            f'<polygon points="{self.x(self.t0):.1f},{bottom:.1f} '
            f'{self.points(key)} {right:.1f},{bottom:.1f}" '
            f'fill="{COLOUR[key]}" fill-opacity="{opacity}"/>')

    def line(self, key, width, dash=""):
        dashed = f'stroke-dasharray="{dash}"' if dash else ""
        self.out.append(
            f'<polyline points="{self.points(key)}" fill="none" '
            f'stroke="{COLOUR[key]}" stroke-width="{width}" '
            f'stroke-linejoin="round" {dashed}/>')

    def dots(self):
        for step in self.steps:
            if self.t0 <= step["t"] <= self.t0 + self.span:
                self.out.append(
                    f'<circle cx="{self.x(step["t"]):.1f}" '
                    f'cy="{self.y(step["guest"]):.1f}" r="4" fill="white" '
                    f'stroke="{COLOUR["guest"]}" stroke-width="2"/>')

    def draw(self):
        self.axes()
        self.area("plugged", 0.16)
        self.area("held", 0.35)
        self.line("plugged", 2)
        self.line("held", 1.5)
        self.line("requested", 1.3, "5 4")
        self.dots()
        return self.out


def legend(y):
    out = []
    x = LEFT
    names = [("requested", "requested by the operator"),
             ("plugged", "plugged in the device"),
             ("held", "held by the host"),
             ("guest", "added to the guest's MemTotal")]
    for key, name in names:
        if key == "guest":
            out.append(f'<circle cx="{x + 12}" cy="{y - 4}" r="4" '
                       f'fill="white" stroke="{COLOUR[key]}" '
                       'stroke-width="2"/>')
        else:
            dash = 'stroke-dasharray="5 4"' if key == "requested" else ""
            out.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 24}" '
                       f'y2="{y - 4}" stroke="{COLOUR[key]}" '
                       f'stroke-width="2.5" {dash}/>')
        out.append(f'<text x="{x + 32}" y="{y}" font-size="12" {FONT} '
                   f'fill="{INK}">{escape(name)}</text>')
        x += 60 + 6.3 * len(name)
    return out


def svg(samples, steps, zoom, title, subtitle):
    """The whole picture. zoom is (first, last) time of the small steps, which
    get a chart of their own, or None."""
    first = Panel(130, 250, samples, steps, "The whole run")
    panels = [first]
    height = 130 + 250 + 50
    if zoom:
        inside = [s for s in samples if zoom[0] <= s["t"] <= zoom[1]]
        if len(inside) > 1:
            panels.append(Panel(height + 30, 190, inside, steps,
                                "Its small steps, enlarged", close=True))
            height += 30 + 190 + 50
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
           f'height="{height}" viewBox="0 0 {WIDTH} {height}">',
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
           f'<text x="{LEFT}" y="34" font-size="20" font-weight="700" {FONT} '
           f'fill="{INK}">{escape(title)}</text>',
           f'<text x="{LEFT}" y="56" font-size="13" {FONT} fill="{GREY}">'
           f'{escape(subtitle)}</text>']
    out += legend(86)
    if len(panels) > 1:
        x1, x2 = (first.x(t) for t in zoom)
        out.append(f'<rect x="{x1:.1f}" y="{first.top}" '
                   f'width="{max(x2 - x1, 2):.1f}" height="{first.height}" '
                   'fill="#f4efe2"/>')
        out.append(f'<text x="{x1 - 6:.1f}" y="{first.top + 14}" '
                   f'font-size="11" {FONT} fill="{GREY}" '
                   'text-anchor="end">enlarged below</text>')
    for panel in panels:
        out += panel.draw()
    out.append("</svg>")
    return "\n".join(out) + "\n"


def sketch(samples, width=64, height=9):
    """Lines of braille: what was plugged over time."""
    columns, rows = width * 2, height * 4
    span = max(samples[-1]["t"], 0.001)
    peak = max(max(s["plugged"], s["requested"]) for s in samples) or 1
    y_max = memory_ticks(0, peak)[-1]
    dots = [[0] * width for _ in range(height)]
    bits = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))

    def dot(column, row):
        dots[row // 4][column // 2] |= bits[row % 4][column % 2]

    index, last = 0, None
    for column in range(columns):
        t = span * column / (columns - 1)
        while index + 1 < len(samples) and samples[index + 1]["t"] <= t:
            index += 1
        level = round(samples[index]["plugged"] / y_max * (rows - 1))
        low = level if last is None else min(level, last)
        for step in range(low, max(level, last or 0) + 1):
            dot(column, rows - 1 - step)
        dot(column, rows - 1 - level)
        last = level
    lines = []
    for row, cells in enumerate(dots):
        label = ""
        if row == 0:
            label = memory_label(y_max)
        elif row == height - 1:
            label = "0"
        elif row == height // 2:
            label = memory_label(y_max / 2)
        lines.append(f"{label:>9} ┤" + "".join(chr(0x2800 + c)
                                               for c in cells))
    lines.append(" " * 10 + "└" + "─" * width)
    end = f"{span:.0f} s"
    lines.append(" " * 11 + "0 s" + " " * (width - 3 - len(end)) + end)
    return lines
