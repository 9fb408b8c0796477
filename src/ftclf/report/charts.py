"""Line charts as inline SVG. Colours are the page's CSS variables; shapes and dashes tell lines apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from markupsafe import Markup

from ftclf.system.text import MINUS, shown

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 68, 16, 12, 42
TICKS = 5  # about
LOGARITHMIC = 4  # times the smallest value is the largest, from here on
TICK_CHARACTER = 7.0  # width of a character of a tick
ROW, DOT_MARGIN, CAP = 38, 14, 4  # of a dot plot: height of a row, room at the sides; half the end of a whisker
MOST_POINTS = 400  # of a line: more would only make the file longer

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One direction of a chart."""

    label: str
    low: float
    high: float
    ticks: list[float]
    names: list[str] = field(default_factory=list)  # of the ticks, in place of their numbers

    def share(self, value: float) -> float:
        """Return where a value lies between the ends, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def words(self, tick: float) -> str:
        """Return the number of a tick, with as many digits as its neighbours have."""
        if self.names:
            return self.names[self.ticks.index(tick)]
        digits = max(len(f"{value:.10g}".partition(".")[2]) for value in self.ticks)
        return f"{tick:,.{digits}f}".replace("-", MINUS)


@dataclass(frozen=True)
class Line:
    """Points to connect. `kind` is a CSS class: `main` is a full line with dots, `other` dashed with squares.

    Hollow points are drawn small and not connected: few rows stand behind them.
    """

    name: str
    points: list[Point]
    kind: str = "main"
    dots: bool = True
    hollow: list[Point] = field(default_factory=list)
    bounds: list[tuple[float, float, float]] = field(default_factory=list)  # intervals: x, low, high


@dataclass(frozen=True)
class Chart:
    """What is drawn, and `about`: the same in words."""

    x: Axis
    y: Axis
    lines: list[Line]
    about: str
    diagonal: bool = False
    marked: dict[str, float] = field(default_factory=dict)  # words at a place on the x axis

    def at(self, point: Point) -> Point:
        """Return a point's place in the picture."""
        return (
            LEFT + self.x.share(point[0]) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - self.y.share(point[1]) * (HEIGHT - TOP - BOTTOM),
        )

    def svg(self) -> Markup:
        """Return the picture."""
        parts = [_grid(self), *(_mark(self, words, x) for words, x in self.marked.items())]
        if self.diagonal:
            ends = self.at((self.x.low, self.y.low)), self.at((self.x.high, self.y.high))
            parts.append(_path("diagonal", ends))
        parts += [_line(self, line) for line in self.lines]
        return Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
            shown(self.about), WIDTH, HEIGHT, Markup().join(parts)
        )


@dataclass(frozen=True)
class DotPlot:
    """A value with its interval for each of some names, one under the other."""

    x: Axis
    rows: list[tuple[str, float, list[float] | None]]
    about: str

    def svg(self) -> Markup:
        """Return the picture: the name over each dot, so that long names have room on a phone."""
        bottom = TOP + ROW * len(self.rows)
        parts = []
        for tick in self.x.ticks:
            place = self._at(tick)
            parts.append(_path("grid", [(place, TOP), (place, bottom + 4)]))
            parts.append(_text(self.x.words(tick), (place, bottom + 18), "middle"))
        parts.append(_text(self.x.label, (WIDTH / 2, bottom + 36), "middle"))
        for number, (name, value, bounds) in enumerate(self.rows):
            y = TOP + ROW * number + 27
            parts.append(_text(name, (DOT_MARGIN, y - 13), "start"))
            if bounds:
                parts.append(_whisker("main", (self._at(bounds[0]), y), (self._at(bounds[1]), y)))
            parts.append(_dot("main", (self._at(value), y), 4))
        return Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
            shown(self.about), WIDTH, bottom + 42, Markup().join(parts)
        )

    def _at(self, value: float) -> float:
        return DOT_MARGIN + self.x.share(value) * (WIDTH - 2 * DOT_MARGIN)


@dataclass(frozen=True)
class Histogram:
    """Bars side by side: from, to, count. `marked` are words at a place on the x axis."""

    label: str
    bars: list[tuple[float, float, int]]
    about: str
    marked: dict[str, float] = field(default_factory=dict)

    def svg(self) -> Markup:
        """Return the picture."""
        x = step_axis(self.label, self.bars[-1][1])
        y = nice_axis("rows", [0, *(count for _, _, count in self.bars)])
        frame = Chart(x, y, [], self.about)
        marks = {words: place for words, place in self.marked.items() if place <= x.high}
        parts = [_grid(frame), *(_bar(frame, bar) for bar in self.bars)]
        parts += [_mark(frame, words, place) for words, place in marks.items()]
        return Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
            shown(self.about), WIDTH, HEIGHT, Markup().join(parts)
        )


def nice_axis(label: str, values: Iterable[float]) -> Axis:
    """Return an axis around the values that begins and ends at round numbers."""
    found = list(values)
    low, high = min(found), max(found)
    if high - low < 1e-9:
        lowest = 0.0 if low >= 0 else -math.inf
        low, high = max(lowest, low - abs(low) * 0.1 - 0.05), high + abs(high) * 0.1 + 0.05
    step = _round_step((high - low) / TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(tick * step, 10) for tick in range(first, last + 1)]
    return Axis(label, ticks[0], ticks[-1], ticks)


def step_axis(label: str, last: float) -> Axis:
    """Return an axis of steps from 0 to the last one."""
    step = max(1.0, _round_step(last / TICKS))
    return Axis(label, 0.0, last, [tick * step for tick in range(math.floor(last / step) + 1)])


@dataclass(frozen=True)
class ValueAxis:
    """An axis of a few values of a setting; far apart, they stand by their logarithms."""

    axis: Axis
    logarithmic: bool

    def place(self, value: float) -> float:
        """Return where a value lies on the axis."""
        return math.log2(value) if self.logarithmic else value


def value_axis(label: str, values: list[float]) -> ValueAxis:
    """Return an axis whose ticks are the values, as many of them as can be read."""
    logarithmic = values[0] > 0 and values[-1] / values[0] >= LOGARITHMIC
    places = [math.log2(value) if logarithmic else value for value in values]
    margin = 0.06 * (places[-1] - places[0] or 1.0)
    low, high = places[0] - margin, places[-1] + margin
    ticks: list[float] = []
    names: list[str] = []
    for place, value in zip(places, values, strict=True):
        name = f"{value:g}"
        room = TICK_CHARACTER * (len(name) + 1)
        if not ticks or (place - ticks[-1]) / (high - low) * (WIDTH - LEFT - RIGHT) >= room:
            ticks.append(place)
            names.append(name)
    return ValueAxis(Axis(label, low, high, ticks, names), logarithmic)


def share_axis(label: str) -> Axis:
    """Return an axis from 0 to 1."""
    return Axis(label, 0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def thinned(points: list[Point]) -> list[Point]:
    """Return so many of the points as a picture can show, the last among them."""
    every = max(1, math.ceil(len(points) / MOST_POINTS))
    return points[::-every][::-1]


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(step * size for step in (1, 2, 5, 10) if step * size >= rough * (1 - 1e-9))


def _grid(chart: Chart) -> Markup:
    """Return the ticks with their numbers, and the names of the axes."""
    left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in chart.y.ticks:
        _, y = chart.at((chart.x.low, tick))
        parts.append(_path("grid", [(left, y), (right, y)]))
        parts.append(_text(chart.y.words(tick), (left - 6, y + 4), "end"))
    for tick in chart.x.ticks:
        x, _ = chart.at((tick, chart.y.low))
        parts.append(_path("grid", [(x, bottom), (x, bottom + 4)]))
        parts.append(_text(chart.x.words(tick), (x, bottom + 17), "middle"))
    parts.append(_text(chart.x.label, ((left + right) / 2, HEIGHT - 6), "middle"))
    parts.append(
        Markup('<text class="axis" text-anchor="middle" transform="translate(11 {:.1f}) rotate(-90)">{}</text>').format(
            (TOP + bottom) / 2, shown(chart.y.label)
        )
    )
    return Markup().join(parts)


def _mark(chart: Chart, words: str, x: float) -> Markup:
    place, _ = chart.at((x, chart.y.low))
    line = _path("mark", [(place, TOP), (place, HEIGHT - BOTTOM)])
    left = chart.x.share(x) > 0.5
    return line + _text(words, (place - 5 if left else place + 5, TOP + 11), "end" if left else "start")


def _bar(chart: Chart, bar: tuple[float, float, int]) -> Markup:
    low, high, count = bar
    (left, top), (right, bottom) = chart.at((low, count)), chart.at((high, 0))
    return Markup('<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        left, top, max(1.0, right - left - 0.5), bottom - top
    )


def _line(chart: Chart, line: Line) -> Markup:
    places = [chart.at(point) for point in thinned(line.points)]
    dots = places if line.dots or len(places) == 1 else []
    drawn = [_dot(line.kind, place, 3.5) for place in dots]
    drawn += [_dot(f"{line.kind} hollow", chart.at(point), 2.5) for point in line.hollow]
    whiskers = [_whisker(line.kind, chart.at((x, low)), chart.at((x, high))) for x, low, high in line.bounds]
    joined = _path(f"line {line.kind}", places) if places else Markup()
    return joined + Markup().join([*whiskers, *drawn])


def _whisker(kind: str, start: Point, end: Point) -> Markup:
    """Return an interval with its ends, upright or lying."""
    upright = abs(start[0] - end[0]) < abs(start[1] - end[1])
    side = (CAP, 0) if upright else (0, CAP)
    caps = [[(x - side[0], y - side[1]), (x + side[0], y + side[1])] for x, y in (start, end)]
    return Markup().join(_path(f"whisker {kind}", places) for places in ([start, end], *caps))


def _dot(kind: str, place: Point, size: float) -> Markup:
    x, y = place
    if kind.startswith("other"):
        corner = '<rect class="dot {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
        side = size * 12 / 7
        return Markup(corner).format(kind, x - side / 2, y - side / 2, side, side)
    return Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(kind, x, y, size)


def _path(kind: str, places: Iterable[Point]) -> Markup:
    data = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return Markup('<path class="{}" d="M{}"/>').format(kind, data)


def _text(words: str, place: Point, anchor: str) -> Markup:
    return Markup('<text class="axis" text-anchor="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(
        anchor, *place, shown(words)
    )
