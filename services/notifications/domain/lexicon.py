"""The words that never leave the building: drugs, doses, classes, diagnoses, measures, kinds of clinic, reasons.

A text is compared with every term of every language. Both are brought to one form first: Unicode NFKC, without
accents and invisible characters, in lower case; hyphen, space and nothing are the same, so that `PHQ-9`, `PHQ 9` and
`phq9` are one, and a line break inside a word hides nothing.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent
FILES = ("stigma_terms.csv", "brand_names.csv", "generic_names.csv")
LANGUAGES = ("en", "es")
KINDS_OF_MATCH = ("word", "prefix", "case")

# What stands between two parts of one word: spaces and line breaks, hyphens and dashes, an underscore.
JOINTS = re.compile(r"[\s_\-‐‑‒–—−­]+")
WORDS = re.compile(r"[^\W_]+")
# A number and a unit of dose. A lone g or l counts as well: no neutral message has a number before one.
DOSE = re.compile(
    r"(?<![\d.,])\d+(?:[.,]\d+)?[\s\-]*"
    r"(?:mg|mcg|ug|μg|g|kg|ml|l|iu|ui|meq|mmol|units?|unidad(?:es)?|tablets?|comprimidos?|capsules?|capsulas?|"
    r"pills?|pastillas?|drops?|gotas?|patch(?:es)?|parches?)(?![^\W_])"
)


class BadLexicon(Exception):
    """The lists cannot be trusted. `args[0]` names the list and the term."""


@dataclass(frozen=True)
class Lexicon:
    """The terms in the form in which they are compared, and the version: a hash over the lists."""

    words: frozenset[str]
    prefixes: frozenset[str]
    cased: frozenset[str]
    version: str

    def found_in(self, *texts: str) -> Sequence[str]:
        """What of a message must not leave: terms in their compared form, `dose`, `script`. Empty: it may."""
        return sorted({hit for text in texts for hit in self.hits(text)})

    def hits(self, text: str) -> Iterator[str]:
        shown = bare(text)
        if any(foreign(character) for character in shown):
            yield "script"  # A letter of another alphabet may be there to look like one of ours.
        if DOSE.search(shown.lower()):
            yield "dose"
        longest = max(map(len, (*self.words, *self.prefixes, *self.cased)), default=0)
        for run in runs(shown):
            for joined in joinings(run, longest):
                lower = joined.lower()
                if lower in self.words:
                    yield lower
                if joined in self.cased:
                    yield joined
                yield from (lower[:size] for size in range(1, len(lower) + 1) if lower[:size] in self.prefixes)


def load_lexicon(folder: Path = FOLDER) -> Lexicon:
    """The lexicon of a folder. Raises BadLexicon."""
    return lexicon_from({name: (folder / name).read_bytes() for name in FILES})


def lexicon_from(files: Mapping[str, bytes]) -> Lexicon:
    """The lexicon that the lists make. Raises BadLexicon for one that is empty or not understood."""
    terms, brands, generics = (rows_of(name, files[name]) for name in FILES)
    found: dict[str, set[str]] = {match: set() for match in KINDS_OF_MATCH}
    for row in terms:
        if row["match"] not in KINDS_OF_MATCH or row["language"] not in LANGUAGES:
            raise BadLexicon(f"stigma_terms.csv: {row['term']}: its match or its language is unknown")
        found[row["match"]].add(compared(row["term"], keep_case=row["match"] == "case"))
    found["word"] |= {compared(row["brand"]) for row in brands}
    for row in generics:
        found["word"] |= {compared(row["generic"]), compared(row["generic"].split()[0])}
    return Lexicon(
        words=frozenset(found["word"]),
        prefixes=frozenset(found["prefix"]),
        cased=frozenset(found["case"]),
        version=sha256(b"\0".join(files[name] for name in FILES)).hexdigest()[:16],
    )


def compared(term: str, *, keep_case: bool = False) -> str:
    """A term as it is compared. Raises BadLexicon for one of which nothing would be left."""
    parts = WORDS.findall(bare(term))
    if not parts:
        raise BadLexicon(f"no letter is left of {term!r}")
    joined = "".join(parts)
    return joined if keep_case else joined.lower()


def bare(text: str) -> str:
    """NFKC without accents and without characters that cannot be seen; case as it was."""
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text))
    return "".join(character for character in plain if unicodedata.category(character) not in ("Mn", "Cf"))


def foreign(character: str) -> bool:
    return character.isalpha() and not character.isascii() and "LATIN" not in unicodedata.name(character, "")


def runs(text: str) -> Iterator[Sequence[str]]:
    """The words of a text, in runs between which something stands that is no joint: a stop, a comma, a slash."""
    run: list[str] = []
    end = 0
    for word in WORDS.finditer(text):
        between = text[end : word.start()]
        if between and not JOINTS.fullmatch(between):
            yield run
            run = []
        run.append(word.group())
        end = word.end()
    yield run


def joinings(run: Sequence[str], longest: int) -> Iterator[str]:
    """Each word, and each word with those that follow it, up to the length of the longest term."""
    for first in range(len(run)):
        joined = ""
        for word in run[first:]:
            joined += word
            yield joined
            if len(joined) >= longest:
                break


def rows_of(name: str, content: bytes) -> Sequence[Mapping[str, str]]:
    rows = list(csv.DictReader(content.decode("utf-8").splitlines(), strict=True))
    if not rows or any(None in row or None in row.values() for row in rows):
        raise BadLexicon(f"{name}: empty, or a row has a cell too many or too few")
    return rows


def latin_name(given: str, lexicon: Lexicon) -> str | None:
    """A first name as it may stand in a message; None for one that cannot, or that would say something else."""
    name = given.strip()
    return None if not name or len(name) > 40 or lexicon.found_in(name) else name
