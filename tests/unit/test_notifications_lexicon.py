"""What never leaves the building, however it is spelt, and what may."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifications.domain.lexicon import FILES, FOLDER, BadLexicon, latin_name, lexicon_from, load_lexicon

LEXICON = load_lexicon()
SERVICES = Path(__file__).parents[2] / "services"


def column(path: Path, name: str) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "text",
    [
        "Your PHQ-9 is due",
        "Your PHQ 9 is due",
        "your phq9 is due",
        "See your psychiatrist",
        "See your PSYCHIATRIST",
        "See your psy\nchiatrist",  # A line break inside a word.
        "See your psy\u00adchiatrist",  # A hyphen that is not shown.
        "See your psy\u200bchiatrist",  # A space without width.
        "See your ｐｓｙｃｈｉａｔｒｉｓｔ",  # Full-width letters.
        "See your рsychiatrist",  # A Cyrillic letter that looks like ours.
        "Su psiquiatra le espera",
        "Cita en la clínica de ansiedad",
        "Cita en la clinica de ansiedad",
        "Your ACT group meets",
        "Your lithium level",
        "Time for lithium carbonate",
        "Divalproex refill",
        "Your Prozac is ready",
        "Your prozac is ready",
        "Take 50 mg",
        "Take 50mg",
        "Tome 0,5 mg",
        "Take 2 tablets",
        "https://clinic.example/phq-9",
        "anxiety-clinic@clinic.example",
        "depression",
        "antidepressants",
        "You missed your therapy",
    ],
)
def test_what_would_give_something_away_is_found(text: str) -> None:
    assert LEXICON.found_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "Reminder for Monday, 9 March",
        "We expect you on Monday, 9 March at 9:30 am.",
        "Le esperamos el lunes 9 de marzo a las 9:30.",
        "Please act now",  # The therapy is ACT, in capitals.
        "It is time to choose a time: sign in at https://clinic.example/1f0e",
        "Your reward is waiting",  # Not a ward.
        "Hello Ana,",
        "care@clinic.example",
    ],
)
def test_what_is_harmless_may_leave(text: str) -> None:
    assert LEXICON.found_in(text) == []


@pytest.mark.parametrize("term", column(FOLDER / "stigma_terms.csv", "term"))
def test_every_term_is_found_in_a_sentence(term: str) -> None:
    assert LEXICON.found_in(f"About your {term}, please call.")


@pytest.mark.parametrize(
    "name", column(FOLDER / "brand_names.csv", "brand") + column(FOLDER / "generic_names.csv", "generic")
)
def test_every_drug_is_found_by_every_name(name: str) -> None:
    assert LEXICON.found_in(f"Your {name} is ready.")
    assert LEXICON.found_in(f"Your {name.upper()} is ready.")


def test_the_drugs_are_those_of_the_formulary() -> None:
    formulary = SERVICES / "prescribing" / "domain"
    assert column(FOLDER / "generic_names.csv", "generic") == column(formulary / "formulary.csv", "generic")
    assert (FOLDER / "brand_names.csv").read_bytes() == (formulary / "brand_names.csv").read_bytes()


@given(st.sampled_from(sorted(LEXICON.words | LEXICON.prefixes)), st.data())
def test_no_joint_hides_a_word(word: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(word) - 1))
    joint = data.draw(st.sampled_from([" ", "-", "\n", "\r\n", "\t", "_", " - ", "\u2011", "\u00ad", "\u200d"]))
    shown = data.draw(st.sampled_from([str.lower, str.upper, str.title]))
    assert LEXICON.found_in(f"About {shown(word[:cut] + joint + word[cut:])}.")


@given(st.text())
def test_any_text_can_be_looked_at(text: str) -> None:
    assert isinstance(LEXICON.found_in(text), list)


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("Ana", "Ana"),
        (" José ", "José"),
        ("Prozac", None),
        ("", None),
        ("Анна", None),
        ("A" * 41, None),
        ("50 mg", None),
    ],
)
def test_a_first_name_that_could_say_something_else_is_dropped(given_name: str, shown: str | None) -> None:
    assert latin_name(given_name, LEXICON) == shown


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("stigma_terms.csv", b"term,kind,match,language\ndetox,clinic_type,anywhere,en\n"),
        ("stigma_terms.csv", b"term,kind,match,language\ndetox,clinic_type,prefix,xx\n"),
        ("stigma_terms.csv", b"term,kind,match,language\n---,clinic_type,word,en\n"),
        ("stigma_terms.csv", b"term,kind,match,language\ndetox,clinic_type\n"),
        ("brand_names.csv", b"brand,generic,unverified\n"),
    ],
)
def test_a_list_that_is_not_understood_is_refused(name: str, content: bytes) -> None:
    files = {each: (FOLDER / each).read_bytes() for each in FILES}
    with pytest.raises(BadLexicon):
        lexicon_from({**files, name: content})


def test_another_list_is_another_version() -> None:
    files = {each: (FOLDER / each).read_bytes() for each in FILES}
    changed = {**files, "brand_names.csv": files["brand_names.csv"] + b"Newbrand,sertraline,true\n"}
    assert lexicon_from(files).version == LEXICON.version != lexicon_from(changed).version
