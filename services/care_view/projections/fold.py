"""What an event does to the view: its source's section changes, and no other.

A source's function is given its own section only, so it cannot see another's: the signatures make the fold
commute across sources. No clock: within a section *now* is when its own source recorded the fact.
"""

from typing import TypeVar

from msgspec.structs import replace

from contracts import notifications, patients, prescribing, scheduling, therapy
from contracts.event import Event
from contracts.fact import Fact

from .document import CareView, Section
from .follow_ups import follow_ups
from .medications import medications
from .messages import messages
from .patient import patient
from .therapy import course

S = TypeVar("S", bound=Section)


def project(view: CareView, event: Event[Fact]) -> CareView:
    """The view after one more event. A fact of an unknown source or type changes nothing that is shown."""
    match event.source:
        case patients.SOURCE:
            return replace(view, patient=patient(heard(view.patient, event), event))
        case prescribing.SOURCE:
            return replace(view, medications=medications(heard(view.medications, event), event))
        case therapy.SOURCE:
            return replace(view, therapy=course(heard(view.therapy, event), event))
        case scheduling.SOURCE:
            return replace(view, follow_ups=follow_ups(heard(view.follow_ups, event), event))
        case notifications.SOURCE:
            return replace(view, messages=messages(heard(view.messages, event), event))
        case _:
            return view


def heard(section: S, event: Event[Fact]) -> S:
    """The section with the moment at which its source last told something."""
    return replace(section, recorded_at=event.recorded_at)
