"""The joint picture: scores over their bands, doses and sessions on one time axis, as figures for a drawing.

It answers the question that only an integrated record can: what changed, and what did it do. Pure geometry: numbers
in the units of the drawing's view box; colours and lines are the style sheet's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from ..domain.scales import Scale
from ..projections import CareView, words
from ..projections.moments import zone_of
from ..projections.parts import Score
from .courses import Course, daily, day_after, taken

WIDTH = 1220
LEFT, RIGHT = 150, 1100  # Of the plot: the names of the rows to its left, those of the bands to its right.
SCORES_TOP, SCORES_BOTTOM = 56, 236
ROW, ROW_GAP = 34, 12
MARGIN_DAYS = 4
SHORTEST_DAYS = 42
LETTER = 7.3  # About the width of a letter of a note, in units of the view box.
LABEL = 22  # About the width of a score.
DEFAULT_MEASURE = "PHQ-9"


@dataclass(frozen=True)
class BandDrawn:
    """A severity band; `shade` from 1, the mildest."""

    name: str
    top: float
    height: float
    shade: int


@dataclass(frozen=True)
class Point:
    """A score. `label` is empty where a neighbour says enough; without a total it stands on the axis."""

    x: float
    y: float
    label: str
    complete: bool


@dataclass(frozen=True)
class Step:
    """A dose for as long as it was in force."""

    x: float
    width: float
    top: float
    height: float
    label: str


@dataclass(frozen=True)
class Row:
    """One medicine."""

    name: str
    note: str
    top: float
    steps: Sequence[Step]


@dataclass(frozen=True)
class Turn:
    """A change of dose, drawn through all rows; `level` keeps notes apart, None leaves the words to the table."""

    x: float
    note: str
    level: int | None


@dataclass(frozen=True)
class Tick:
    """A date on the axis."""

    x: float
    label: str


@dataclass(frozen=True)
class Told:
    """A row of the table behind the drawing."""

    at: datetime
    kind: str
    line: str


@dataclass(frozen=True)
class Picture:
    """Everything that the template draws."""

    measure: str
    height: int
    bands: Sequence[BandDrawn]
    line: str
    points: Sequence[Point]
    turns: Sequence[Turn]
    medicines: Sequence[Row]
    sessions: Sequence[float]
    sessions_y: float
    ticks: Sequence[Tick]
    now_x: float
    description: str
    table: Sequence[Told]


@dataclass(frozen=True)
class Axis:
    """Moments as places."""

    begins: datetime
    ends: datetime

    def x(self, at: datetime) -> float:
        share = (at - self.begins) / (self.ends - self.begins)
        return round(LEFT + (RIGHT - LEFT) * min(max(share, 0), 1), 1)


def picture(view: CareView, now: datetime, scales: Mapping[str, Scale]) -> Picture | None:
    """None while there is nothing to draw: no score, no dose and no session."""
    measure = measure_of(view, scales)
    scores = view.therapy.scores.get(measure, ())
    courses = list(taken(view.medications, now))
    sessions = view.therapy.session_days
    moments = [
        *(score.at for score in scores),
        *(stretch[0] for course in courses for stretch in course.stretches),
        *sessions,
    ]
    if not moments:
        return None
    axis = axis_over(min(moments), max(*moments, now))
    top = SCORES_BOTTOM + 2 * ROW_GAP
    medicines = [drawn(course, axis, top + nth * (ROW + ROW_GAP)) for nth, course in enumerate(courses)]
    sessions_y = top + len(courses) * (ROW + ROW_GAP) + ROW / 2
    points = list(plotted(scores, axis, scales.get(measure)))
    return Picture(
        measure=measure,
        height=int(sessions_y + ROW + 10),
        bands=bands_of(scales.get(measure)),
        line=" ".join(f"{point.x},{point.y}" for point in points if point.complete),
        points=points,
        turns=list(turned(view, axis)),
        medicines=medicines,
        sessions=[axis.x(at) for at in sessions],
        sessions_y=sessions_y,
        ticks=list(dates(axis)),
        now_x=axis.x(now),
        description=described(measure, scores, courses, len(sessions), zone_of(view)),
        table=sorted(tabled(view, measure), key=lambda one: one.at),
    )


def measure_of(view: CareView, scales: Mapping[str, Scale]) -> str:
    """What the patient and the team chose to be measured by; else the usual one; else the one that is there."""
    target = view.patient.approaches[-1].target_measure if view.patient.approaches else None
    scores = view.therapy.scores
    drawable = [measure for measure in (target, DEFAULT_MEASURE, *scores) if measure in scores and measure in scales]
    return next(iter(drawable), target or DEFAULT_MEASURE)


def axis_over(first: datetime, last: datetime) -> Axis:
    margin = timedelta(days=MARGIN_DAYS)
    begins = min(first - margin, last - timedelta(days=SHORTEST_DAYS))
    return Axis(begins, last + margin)


def drawn(course: Course, axis: Axis, top: float) -> Row:
    """Height tells the amount a day, against the most that this medicine was given at."""
    most = max((daily(regimen) for _, _, regimen in course.stretches), default=Decimal(1))
    steps = []
    for begins, ends, regimen in course.stretches:
        height = round(float(daily(regimen) / most) * (ROW - 12) + 12, 1)
        x, width = axis.x(begins), round(axis.x(ends) - axis.x(begins), 1)
        label = words.dose(regimen)
        label = label if width > LETTER * len(label) + 8 else ""
        steps.append(Step(x, width, round(top + ROW - height, 1), height, label))
    last = course.stretches[-1][2] if course.stretches else None
    note = "stopped" if course.ended else words.frequency(last) if last else ""
    return Row(course.medication, note, top, steps)


def bands_of(scale: Scale | None) -> list[BandDrawn]:
    if scale is None:
        return []
    drawn_bands = []
    for nth, band in enumerate(scale.bands):
        top = y_of(min(band.high + 0.5, scale.highest), scale.highest)
        bottom = y_of(max(band.low - 0.5, 0), scale.highest)
        drawn_bands.append(BandDrawn(band.name, top, round(bottom - top, 1), nth + 1))
    return drawn_bands


def y_of(score: float, highest: int) -> float:
    return round(SCORES_BOTTOM - (SCORES_BOTTOM - SCORES_TOP) * score / highest, 1)


def plotted(scores: Sequence[Score], axis: Axis, scale: Scale | None) -> Iterator[Point]:
    """Labelled are the first and the last total, the highest and the lowest."""
    totals = [score.total for score in scores if score.total is not None]
    highest = scale.highest if scale else max(totals, default=1) or 1
    told: set[int] = set()
    last = next((score for score in reversed(scores) if score.total is not None), None)
    free = 0.0  # Where the label before ends: labels must not cover each other.
    for nth, score in enumerate(scores):
        if score.total is None:
            yield Point(axis.x(score.at), SCORES_BOTTOM, "", complete=False)
            continue
        extreme = score.total in {min(totals), max(totals)} and score.total not in told
        x = axis.x(score.at)
        fits = x >= free and (score is last or last is None or x + LABEL <= axis.x(last.at))
        label = str(score.total) if fits and (extreme or score is last or nth == 0) else ""
        told.add(score.total)
        free = x + LABEL if label else free
        yield Point(x, y_of(min(score.total, highest), highest), label, complete=True)


def turned(view: CareView, axis: Axis) -> Iterator[Turn]:
    """Changes of dose, their notes on two levels so that they do not cover each other."""
    changes = [
        (line.medication, change)
        for line in (*view.medications.active.values(), *(one.line for one in view.medications.ended))
        for change in line.changes
    ]
    free = [0.0, 0.0]
    for medication, change in sorted(changes, key=lambda one: one[1].at):
        note = f"{medication} {words.dose(change.before)} → {words.dose(change.after)}"
        x, width = axis.x(change.at), LETTER * len(note) + 10
        level = next((level for level, begins in enumerate(free) if begins <= x and x + width < WIDTH), None)
        if level is not None:
            free[level] = x + width
        yield Turn(x, note, level)


def dates(axis: Axis) -> Iterator[Tick]:
    """The first of each month; of every third one over long times, and each Monday over short ones."""
    days = (axis.ends - axis.begins).days
    day = axis.begins.date() + timedelta(days=1)
    while day < axis.ends.date():
        month_begins = day.day == 1 and (days < 400 or day.month % 3 == 1)
        if (days >= 100 and month_begins) or (days < 100 and day.weekday() == 0):
            label = f"{day:%b}" + (f" {day.year}" if day.month == 1 else "") if days >= 100 else f"{day.day} {day:%b}"
            yield Tick(axis.x(datetime.combine(day, time(), UTC)), label)
        day += timedelta(days=1)


def described(measure: str, scores: Sequence[Score], courses: Sequence[Course], sessions: int, zone: ZoneInfo) -> str:
    """The picture in a sentence or two, for who cannot see it."""
    complete = [score for score in scores if score.total is not None]
    told = f"{measure}: no total on record."
    if complete:
        first, last = complete[0], complete[-1]
        days = [words.day(score.at.astimezone(zone)) for score in (first, last)]
        told = f"{measure} was {first.total} on {days[0]}"
        told += f" and {last.total} on {days[1]}." if len(complete) > 1 else "."
    medicines = words.listed([course.medication for course in courses]) or "none"
    return f"{told} Medicines: {medicines}. Sessions held: {sessions}."


def tabled(view: CareView, measure: str) -> Iterator[Told]:
    for score in view.therapy.scores.get(measure, ()):
        band = f", {score.band}" if score.band else ""
        yield Told(score.at, "measure", f"{measure} {score.total}{band}" if score.total is not None else "incomplete")
    lines = [*view.medications.active.values(), *(one.line for one in view.medications.ended)]
    for line in lines:
        first = line.changes[0].before if line.changes else line.regimen
        yield Told(line.since, "medication", f"{line.medication} begun: {words.dose(first)} {words.frequency(first)}")
        for change in line.changes:
            line_told = f"{line.medication} {words.dose(change.before)} → {words.dose(change.after)}"
            yield Told(change.at, "medication", f"{line_told}, for {words.said(change.reason)}")
    for ended in view.medications.ended:
        yield Told(day_after(ended.last_dose_on), "medication", f"{ended.line.medication} stopped")
    for at in view.therapy.session_days:
        yield Told(at, "therapy", "session held")
