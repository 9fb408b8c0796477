"""Line charts as inline SVG. Colours are the page's CSS variables; shapes and dashes tell lines apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from markupsafe import Markup

from ftclf.system.text import MINUS, shown

WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 60, 16, 12, 42
TICKS = 5  # about
MOST_POINTS = 400  # of a line: more would only make the file longer

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One direction of a chart."""

    label: str
    low: float
    high: float
    ticks: list[float]

    def share(self, value: float) -> float:
        """Return where a value lies between the ends, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def words(self, tick: float) -> str:
        """Return the number of a tick, with as many digits as its neighbours have."""
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


def share_axis(label: str) -> Axis:
    """Return an axis from 0 to 1."""
    return Axis(label, 0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def thinned(points: list[Point]) -> list[Point]:
    """Return so many of the points as a picture can show, the last among them."""
    every = max(1, math.ceil(len(points) / MOST_POINTS))
    return points[::-every][::-1]


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return next(step * size for step in (1, 2, 2.5, 5, 10) if step * size >= rough * (1 - 1e-9))


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


def _line(chart: Chart, line: Line) -> Markup:
    places = [chart.at(point) for point in thinned(line.points)]
    dots = places if line.dots or len(places) == 1 else []
    drawn = [_dot(line.kind, place, 3.5) for place in dots]
    drawn += [_dot(f"{line.kind} hollow", chart.at(point), 2.5) for point in line.hollow]
    return (_path(f"line {line.kind}", places) if places else Markup()) + Markup().join(drawn)


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
