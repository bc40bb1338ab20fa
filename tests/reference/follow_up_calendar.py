"""What is owed to a patient, day by day: a slow calendar that shares no code and no data with scheduling.

The sentences of the rules are written out here once more, with their figures, so that a slip in the data is noticed as
well as one in the code. Happenings come in the order in which they happened.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Happening:
    """`what`: start, raise, lower, stop, review, contact, session, flag, unflag."""

    what: str
    at: datetime
    thing: str = "A"  # Which order or flag.
    antidepressant: bool = True
    role: str = "prescriber"
    delegated: bool = False
    form: str = "telephone"
    reached: bool = True
    risk_asked: bool = False
    important: bool | None = None
    orders: tuple[str, ...] = ("A", "B")


@dataclass
class Line:
    """One line of the calendar. `ended` is None while it is owed."""

    rule: str
    order: str | None
    opened: datetime  # When what opened it happened.
    window_from: date
    due: date
    first: bool
    ended: str | None = None


@dataclass
class Treatment:
    antidepressant: bool
    started: datetime
    clock: datetime
    raised: bool = False
    in_force: bool = True


@dataclass
class Calendar:
    birth: date
    zone: str
    lines: list[Line] = field(default_factory=list)
    treatments: dict[str, Treatment] = field(default_factory=dict)
    flags: dict[str, tuple[datetime, datetime | None]] = field(default_factory=dict)
    reviewed: datetime | None = None

    def day(self, at: datetime) -> date:
        return at.astimezone(ZoneInfo(self.zone)).date()

    def owed(self) -> list[Line]:
        return [line for line in self.lines if line.ended is None]

    def owed_for(self, order: str) -> list[Line]:
        return [line for line in self.owed() if line.order == order]

    def add(self, rule: str, order: str | None, opened: datetime, due: date, window: int, first: bool = False) -> None:
        self.lines.append(Line(rule, order, opened, due - timedelta(days=window), due, first))

    def happen(self, one: Happening) -> None:
        if one.what == "start":
            self.treatments[one.thing] = Treatment(one.antidepressant, one.at, one.at)
            if one.antidepressant:
                self.first_review(one.thing, one.at)
        if one.what == "raise" and one.thing in self.treatments and self.treatments[one.thing].in_force:
            self.treatments[one.thing].clock = one.at
            self.treatments[one.thing].raised = True
            if self.treatments[one.thing].antidepressant:
                self.first_review(one.thing, one.at)
        if one.what == "stop" and one.thing in self.treatments:
            self.treatments[one.thing].in_force = False
            for line in self.owed_for(one.thing):
                line.ended = "cause_ended"
        if one.what == "flag" and one.thing not in self.flags:
            self.flags[one.thing] = (one.at, None)
            for line in self.owed():
                if line.order and line.rule != "FU-AD-FIRST-RISK":
                    line.ended = "superseded"
                    due = min(line.due, self.day(one.at) + timedelta(days=7))
                    self.add("FU-AD-FIRST-RISK", line.order, one.at, due, 7)
        if one.what == "unflag" and one.thing in self.flags and self.flags[one.thing][1] is None:
            self.flags[one.thing] = (self.flags[one.thing][0], one.at)
        if one.what in ("review", "contact", "session"):
            self.answer(one)
        self.floor(one)

    def flagged(self) -> bool:
        return any(closed is None for _, closed in self.flags.values())

    def age(self, at: datetime) -> int:
        """Count the birthdays."""
        years, day = 0, self.day(at)
        while True:
            try:
                birthday = self.birth.replace(year=self.birth.year + years + 1)
            except ValueError:  # Born on 29 February.
                birthday = date(self.birth.year + years + 1, 3, 1)
            if birthday > day:
                return years
            years += 1

    def first_review(self, order: str, at: datetime) -> None:
        if any(line.rule == "FU-AD-FIRST-RISK" for line in self.owed_for(order)):
            return  # A weekly review with the question of risk is owed already.
        for line in self.owed_for(order):
            line.ended = "superseded"
        week, fortnight = self.day(at) + timedelta(days=7), self.day(at) + timedelta(days=14)
        if self.flagged():
            self.add("FU-AD-FIRST-RISK", order, at, week, 7, first=True)
        elif self.treatments[order].raised:
            self.add("FU-AD-DOSE-UP", order, at, week, 7, first=True)
        elif self.age(at) < 30:
            self.add("FU-AD-FIRST-YOUNG", order, at, week, 7, first=True)
        else:
            self.add("FU-AD-FIRST-STD", order, at, fortnight, 7, first=True)

    def answer(self, one: Happening) -> None:
        talked = one.form in ("in_person", "video", "telephone")
        if one.what == "review":
            by_prescriber = talked and one.role in ("prescriber", "nurse", "pharmacist")
            by_anybody = by_prescriber
        elif one.what == "contact" and one.reached:
            delegate = one.delegated and one.role in ("nurse", "pharmacist", "care_manager")
            by_prescriber = talked and (one.role == "prescriber" or delegate)
            by_anybody = talked and one.role in ("prescriber", "therapist", "nurse", "care_manager", "pharmacist")
        else:
            return
        for line in sorted(self.owed(), key=lambda line: line.due):
            if one.at <= line.opened or self.day(one.at) < line.window_from:
                continue
            if line.rule == "FU-FLOOR":
                if by_anybody:
                    line.ended = "fulfilled"
                continue
            about_it = one.what == "contact" or line.order in one.orders
            if by_prescriber and about_it and (one.risk_asked or line.rule != "FU-AD-FIRST-RISK"):
                line.ended = "fulfilled"
                self.next_review(line, one)
        if by_anybody:
            self.reviewed = one.at

    def next_review(self, line: Line, one: Happening) -> None:
        assert line.order
        important = one.important if one.what == "review" else None
        treatment = self.treatments[line.order]
        uncleared = important is None and (
            line.rule == "FU-AD-FIRST-RISK"
            or (line.rule == "FU-AD-FIRST-YOUNG" and line.first and not treatment.raised)
        )
        today = self.day(one.at)
        if important or uncleared or self.flagged():
            self.add("FU-AD-FIRST-RISK", line.order, one.at, today + timedelta(days=7), 7)
        elif today + timedelta(days=28) <= self.day(treatment.clock) + timedelta(days=90):
            rule = "FU-AD-FIRST-YOUNG" if self.age(treatment.clock) < 30 else "FU-AD-FIRST-STD"
            rule = "FU-AD-DOSE-UP" if treatment.raised else rule
            self.add(rule, line.order, one.at, today + timedelta(days=28), 14)

    def floor(self, one: Happening) -> None:
        floors = [line for line in self.owed() if line.rule == "FU-FLOOR"]
        others = [line for line in self.owed() if line.rule != "FU-FLOOR"]
        in_force = [treatment for treatment in self.treatments.values() if treatment.in_force]
        if in_force and not floors and not others:
            since = [min(treatment.started for treatment in in_force)]
            since += [self.reviewed] if self.reviewed else []
            self.add("FU-FLOOR", None, one.at, self.day(max(since)) + timedelta(days=90), 90)
        if others or not in_force:
            for line in floors:
                line.ended = "superseded" if others else "cause_ended"


def follow_up_calendar(birth: date, zone: str, happenings: list[Happening]) -> list[Line]:
    """Every line that was ever owed, in no particular order."""
    calendar = Calendar(birth, zone)
    for one in happenings:
        calendar.happen(one)
    return calendar.lines


def first_second_of(day: date, zone: str) -> datetime:
    """The first full minute at which a clock there shows `day` or a later day: look at the clock minute by minute."""
    minute = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=30)
    while minute.astimezone(ZoneInfo(zone)).date() < day:
        minute += timedelta(minutes=1)
    return minute
