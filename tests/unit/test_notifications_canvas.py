"""The house's canvas tells of every fact out, every fact in and every view, in the words of the code."""

from pathlib import Path
from typing import get_args

import pytest

from contracts.notifications import NotificationsFact
from contracts.permissions import PERMISSIONS
from services.notifications.reactions import REACTS_TO

CANVAS = (Path(__file__).parents[2] / "services" / "notifications" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("fact", get_args(NotificationsFact))
def test_each_fact_stands_there_with_its_meaning(fact: type[NotificationsFact]) -> None:
    assert f"| `{fact.TYPE}` | {' '.join((fact.__doc__ or '').split())} |" in CANVAS


@pytest.mark.parametrize("name", sorted(REACTS_TO))
def test_each_fact_in_stands_there(name: str) -> None:
    assert f"| `{name}` |" in CANVAS


@pytest.mark.parametrize("name", [name for name in PERMISSIONS if name.startswith("notifications.")])
def test_each_view_stands_there(name: str) -> None:
    assert name.removeprefix("notifications.") in CANVAS
