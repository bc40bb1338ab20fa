"""Who looked, who was refused."""

from random import Random
from uuid import uuid5

from contracts import access
from contracts.fact import Fact

from .telling import PLACES, Telling, Told


def look(telling: Telling, after: Told, random: Random) -> Told:
    """Somebody looks, is refused, or acts on the system, a moment after another fact."""
    kind = random.random()
    person, role = random.choice([(telling.prescriber, "prescriber"), (telling.therapist, "therapist")])
    source = "/care_view/access"
    if kind < 0.9:
        what = random.choice(["care_view.patient", "care_view.timeline"])
        fact: Fact = access.RecordRead(what=what, patients=(telling.patient,))
    elif kind < 0.97:
        person, role = telling.nurse, "nurse"
        fact = access.AccessRefused(what="care_view.patient", rule="team", patients=(telling.patient,))
    else:
        person, role, source = str(uuid5(PLACES, "operator")), "operator", "/audit/access"
        fact = access.OperatorActed(command="audit.verify", arguments=(), why="nightly check")
    return Told(
        source=source,
        key=person,
        fact=fact,
        id=uuid5(after.id, "look"),
        occurred_at=after.recorded_at,
        recorded_at=after.recorded_at,
        actor=person,
        role=role,
        correlation_id=uuid5(after.id, "look/thread"),
        causation_id=None,
    )
