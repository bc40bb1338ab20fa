"""The words of messages, in each language, and the templates that are refused before anybody is written to."""

import copy
import tomllib
from datetime import datetime
from typing import Any

import pytest

from services.notifications.domain.lexicon import load_lexicon
from services.notifications.domain.wording import FILE, BadTemplates, Text, load_wording, wording_from

LEXICON = load_lexicon()
WORDING = load_wording(LEXICON)
DATA = tomllib.loads(FILE.read_text(encoding="utf-8"))
AT = datetime(2026, 3, 9, 13, 5)


def write(template: str = "appointment_reminder", **changes: Any) -> Text:
    given = {"language": "en-US", "given_name": None, "link": "https://c.example", "wall_time": AT, **changes}
    return WORDING.write(template, "1", **given)


def test_a_reminder_says_when_and_where_to_sign_in() -> None:
    assert write() == Text(
        language="en",
        subject="Reminder for Monday, 9 March",
        body="Hello,\n\n"
        "We expect you on Monday, 9 March at 1:05 pm.\n\n"
        "To see the details or to choose another time, sign in: https://c.example\n\n"
        "Please do not reply to this message.\n",
    )


def test_in_spanish_one_o_clock_is_la_una() -> None:
    assert "a las 13:05" in write(language="es").body
    assert "a la 1:05" in write(language="es", wall_time=AT.replace(hour=1)).body
    assert "lunes 9 de marzo" in write(language="es-MX").subject


@pytest.mark.parametrize(("hour", "said"), [(0, "12:05 am"), (9, "9:05 am"), (12, "12:05 pm"), (23, "11:05 pm")])
def test_in_english_hours_are_those_of_the_twelve_hour_clock(hour: int, said: str) -> None:
    assert said in write(wall_time=AT.replace(hour=hour)).body


def test_a_language_without_a_lexicon_is_not_written_in() -> None:
    assert write(language="fr").language == "en"


def test_a_first_name_is_used_and_one_that_collides_is_dropped() -> None:
    assert write(given_name="Ana").body.startswith("Hello Ana,")
    assert write(given_name="Zoloft").body.startswith("Hello,")


def test_an_invitation_says_nothing_of_why() -> None:
    text = write("follow_up_invitation", wall_time=None)
    assert "review" not in text.body
    assert "follow" not in text.body


def changed(**parts: str) -> dict[str, Any]:
    found = copy.deepcopy(DATA)
    found["template"][0]["es"].update(parts)
    return found


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (changed(body="Su psiquiatra le espera el {day}, {time}: {link}"), "may not leave"),
        (changed(subject="Tome 50 mg el {day}"), "may not leave"),
        (changed(subject="Hola {surname}"), "nothing is known to fill in"),
        (changed(subject="Hola {name"), "subject"),
        (changed(subject="Hola\nBcc: x@y.example"), "one line"),
        ({**DATA, "template": DATA["template"] + DATA["template"][:1]}, "stands there twice"),
        ({**DATA, "template": DATA["template"][:1]}, "no template for"),
        ({**DATA, "calendar": {"en": DATA["calendar"]["en"]}}, "a calendar for each language"),
    ],
)
def test_templates_that_would_give_something_away_or_cannot_be_filled_are_refused(found: Any, named: str) -> None:
    with pytest.raises(BadTemplates, match=named):
        wording_from(found, LEXICON)


def test_a_template_without_one_of_the_languages_is_refused() -> None:
    found = copy.deepcopy(DATA)
    del found["template"][0]["es"]
    with pytest.raises(BadTemplates, match="each language"):
        wording_from(found, LEXICON)


def test_what_is_newer_is_used_and_what_is_older_can_still_be_written() -> None:
    found = copy.deepcopy(DATA)
    newer = copy.deepcopy(found["template"][0])
    newer["version"] = "10"
    found["template"].append(newer)
    wording = wording_from(found, LEXICON)
    assert wording.versions["appointment_reminder"] == "10"
    assert ("appointment_reminder", "1", "en") in wording.templates
