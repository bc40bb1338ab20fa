"""The rooms of the building: what each house has, what may stand where, and that its guides lead somewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.catalogue import FACTS
from contracts.topics import DECIDING, HOUSES

ROOT = Path(__file__).parents[2]
ROOMS = ("README.md", "__init__.py", "domain", "api", "reactions", "projections", "gateways", "main", "migrations")
WORDLESS = {"__pycache__", "py.typed"}
CANVAS = ("Purpose", "Commands", "Facts out", "Facts in", "Rules", "Queries", "What can go wrong", "Words")
ELSEWHERE = {".local", ".venv", "run", "data", "log", "secrets", "kafka-jars"}  # Made when something runs.
EACH_HOUSE = pytest.mark.parametrize("house", HOUSES)

# What no clinician has heard of has no clinician's words. The patient is the stream, and the care team who may act.
CLINICAL = re.compile(
    r"medicat|prescri(?!bing['\"/:`])|\bdos(e|es|age|ing)\b|\bdrug|therap(?!y['\"/:])|diagnos|allerg|symptom|"
    r"\bclinical\b(?! word)|\bmood\b|depress|\bscore|questionnaire|\brisk|suicid|\bmg\b|formulary|appointment|reminder|"
    r"\bsession notes?\b|follow.?up",
    re.IGNORECASE,
)


def test_there_are_the_houses_that_the_topics_name_and_no_others() -> None:
    found = {path.name for path in (ROOT / "services").iterdir() if path.is_dir() and path.name not in WORDLESS}
    assert found == set(HOUSES)


@EACH_HOUSE
def test_a_house_has_the_rooms_of_every_house_and_none_besides(house: str) -> None:
    rooms = {room(path) for path in (ROOT / "services" / house).iterdir() if path.name not in WORDLESS}
    needed = {"README.md", "__init__.py", "api", "main", *(("domain",) if house in DECIDING else ("projections",))}
    if house == "audit":
        needed.discard("projections")  # An archive of the bytes is no fold of what they mean.
    assert needed <= rooms
    assert rooms <= set(ROOMS)


@EACH_HOUSE
def test_no_room_is_empty(house: str) -> None:
    for path in (ROOT / "services" / house).rglob("*"):
        if path.is_dir() and path.name not in WORDLESS:
            assert [one for one in path.iterdir() if one.name not in {"__init__.py", *WORDLESS}], path
        elif path.suffix == ".py" and path.name != "__init__.py":
            assert path.read_text().startswith('"""'), f"{path} does not say what it is"


@EACH_HOUSE
def test_a_houses_canvas_has_the_headings_in_their_order(house: str) -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "services" / house / "README.md").read_text(), re.MULTILINE)
    assert headings == [heading for heading in CANVAS if heading in headings]
    assert {"Purpose", "Facts in", "What can go wrong"} <= set(headings)
    assert house not in DECIDING or {"Commands", "Facts out", "Rules"} <= set(headings)


@pytest.mark.parametrize("name", FACTS)
def test_a_houses_canvas_tells_each_fact_that_it_publishes(name: str) -> None:
    house = name.partition(".")[0]
    if house == "access":
        canvas = (ROOT / "contracts" / "access.py").read_text()  # Every house publishes these; none tells them again.
    else:
        canvas = (ROOT / "services" / house / "README.md").read_text()
    words = " ".join((FACTS[name].__doc__ or "").split())
    assert name in canvas
    assert words in " ".join(canvas.split())


def test_the_chassis_has_no_clinical_word() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted((ROOT / "chassis").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if CLINICAL.search(line)
    ]
    assert found == []


def test_the_search_for_clinical_words_finds_them() -> None:
    for line in ("class Dose:", "# the drug's name", "prescribed = 1", "risk_flag", "by a therapist", "a mild allergy"):
        assert CLINICAL.search(line), line
    for line in ('Position("prescribing", 17)', "`prescribing:17`", "the patient's stream", "of the care team"):
        assert not CLINICAL.search(line), line


@pytest.mark.parametrize("guide", sorted(ROOT.glob("**/README.md")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_a_guide_names_is_there(guide: Path) -> None:
    if {".venv", ".local", "node_modules"} & set(guide.relative_to(ROOT).parts):
        return
    missing = [path for path in paths_in(guide.read_text()) if not there(path, guide.parent)]
    assert missing == []


def test_the_search_for_paths_finds_them() -> None:
    words = "[This](a/b.py), `chassis/x.py`, `a/samples/`; not `a/b`, `domain/`, [that](https://x.example/a.py)."
    assert list(paths_in(words)) == ["a/b.py", "chassis/x.py", "a/samples/"]


def test_imports_read_down_the_page() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    ran = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stdout[-4_000:] + ran.stderr[-1_000:]


def room(path: Path) -> str:
    """`api` for both api.py and api/."""
    return path.stem if path.suffix == ".py" and path.stem != "__init__" else path.name


def paths_in(words: str) -> Iterator[str]:
    """Relative links, and what in inline code has the form of a path: `a/b.py`, `a/b/`; a room's name alone is none."""
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", words)
    code = re.findall(r"`((?:[\w.-]+/)+(?:[\w-]+\.(?:py|md|toml|csv|json|sql|yaml|html|css|jsonl)|[\w-]+/))`", words)
    yield from links
    yield from (path for path in code if path.partition("/")[0] not in ELSEWHERE)


def there(path: str, beside: Path) -> bool:
    return (ROOT / path).exists() or (beside / path).exists()
