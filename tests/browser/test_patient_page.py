"""The patient's page in a real Chromium: signed in to, looked at in three widths, without a complaint."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from contracts import patients
from tests.support.browser import Browser, browsing, found
from tests.support.history import history
from tests.support.history.loading import into_kafka
from tests.support.houses import Houses
from tests.support.servers import Servers

PICTURES = Path(__file__).parents[2] / ".local" / "pictures"  # Kept after the run, to be looked at.
HISTORY = list(history(11, count=3, weeks=26, reads=False))
PATIENT = max({record.event.key for record in HISTORY}, key=[record.event.key for record in HISTORY].count)
PRESCRIBER = next(
    record.event.fact.person
    for record in HISTORY
    if record.event.key == PATIENT
    and isinstance(record.event.fact, patients.CareTeamMemberAssigned)
    and record.event.fact.role == "prescriber"
)
NAME = next(
    f"{record.event.fact.given_name} {record.event.fact.family_name}"
    for record in HISTORY
    if record.event.key == PATIENT and isinstance(record.event.fact, patients.PatientEnrolled)
)

pytestmark = pytest.mark.skipif(found() is None, reason="NOT RUN: no Chromium here; install one or set TANDEM_CHROMIUM")


@pytest.fixture(scope="module")
async def address(servers: Servers, prefix: str) -> AsyncIterator[str]:
    """A care view that has read a history, and somebody who may sign in."""
    houses = Houses(servers, f"{prefix}br_")
    async with AsyncExitStack() as ending:
        ending.callback(houses.stop)
        address = houses.start("care_view")
        await into_kafka(servers.kafka, houses.prefix, HISTORY)
        http = await ending.enter_async_context(httpx2.AsyncClient())
        person = {"role": "prescriber", "clinics": ["riverside"], "name": "L. Brandt"}
        headers = {"Authorization": f"Bearer {servers.client_secret}"}
        known = await http.put(f"{servers.issuer_url}/people/{PRESCRIBER}", json=person, headers=headers)
        known.raise_for_status()
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[Browser]:
    """Signed in, and on the patient's page."""
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        browser.go(f"{address}/patients/{PATIENT}?after=patients:1&after=therapy:1&after=prescribing:1")
        assert "choose who you are" in browser.text()
        browser.press(f'button[value="{PRESCRIBER}"]')
        yield browser


@pytest.mark.parametrize("width", [1280, 390, 320])
@pytest.mark.parametrize("path", ["", "/timeline"], ids=["patient", "timeline"])
def test_a_page_fits_its_window_and_the_browser_has_nothing_to_complain_of(
    browser: Browser, address: str, path: str, width: int
) -> None:
    browser.size(width)
    browser.go(f"{address}/patients/{PATIENT}{path}")
    assert NAME in browser.text()
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("getComputedStyle(document.querySelector('.top')).display") == "flex", "no style was loaded"
    assert browser.complaints() == []
    browser.picture(PICTURES / f"{path.strip('/') or 'patient'}-{width}.png")


def test_the_joint_picture_is_drawn(browser: Browser, address: str) -> None:
    browser.size(1280)
    browser.go(f"{address}/patients/{PATIENT}")
    assert browser.ask("document.querySelectorAll('svg .score-dot').length") > 5
    assert browser.ask("document.querySelector('svg .score').getBoundingClientRect().width") > 100
    assert browser.ask("getComputedStyle(document.querySelector('svg .dose')).fill") == "rgb(31, 95, 168)"
    assert browser.ask("document.querySelector('svg desc').textContent").startswith("PHQ-9 was")


def test_the_timeline_is_followed_page_by_page_and_by_kind_without_a_script(browser: Browser, address: str) -> None:
    browser.go(f"{address}/patients/{PATIENT}/timeline")
    first = browser.ask("document.querySelector('.lines time').dateTime")
    browser.press('a[rel="next"]')
    assert browser.ask("document.querySelector('.lines time').dateTime") < first
    browser.press('.kinds a[href$="kind=measure"]')
    kinds = browser.ask("[...new Set([...document.querySelectorAll('.lines .tag')].map(it => it.innerText))]")
    assert kinds == ["measure"]


def test_signing_out_leaves_nothing_to_look_at(browser: Browser, address: str) -> None:
    browser.go(f"{address}/patients/{PATIENT}")
    browser.press(".me button")
    assert "signed out" in browser.text()
    browser.go(f"{address}/patients/{PATIENT}")
    assert "choose who you are" in browser.text()
