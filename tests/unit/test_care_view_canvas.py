"""The canvases of the two reading houses tell of every fact and every view, in the words of the code."""

from pathlib import Path

import pytest

from contracts.permissions import PERMISSIONS
from services.care_view.projections import TYPES

SERVICES = Path(__file__).parents[2] / "services"
CANVAS = (SERVICES / "care_view" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(TYPES))
def test_what_is_done_about_each_fact_stands_there(name: str) -> None:
    assert f"`{name}`" in CANVAS.partition("## Facts in")[2].partition("## Rules")[0]


@pytest.mark.parametrize("name", sorted(name for name in PERMISSIONS if name.startswith(("care_view.", "audit."))))
def test_each_view_stands_there_with_its_path(name: str) -> None:
    house, _, what = name.partition(".")
    paths = {"patient": "/patients/{id}`", "timeline": "/timeline`", "facts": "/facts?", "verify": "/verifications`"}
    assert paths[what] in (SERVICES / house / "README.md").read_text("utf-8").partition("## Queries")[2]
