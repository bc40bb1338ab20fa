"""The formulary: which drugs may be ordered here and up to which dose, and which classes each belongs to.

Read from three tables beside this file. Either all of a table is good or none of it is used. Its version is the
SHA-256 of formulary.csv, shortened; every fact that a rule of it shaped carries that version.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Literal

from .figures import GENERAL_KNOWLEDGE, BadTable, Figure, figure, maximum

VERSION_LENGTH = 12  # Hex digits: enough to tell versions apart and to be read aloud.

Route = Literal["oral", "sublingual", "nasal", "transdermal", "intramuscular", "subcutaneous"]

ROUTES: Mapping[str, Route] = {"nasal": "nasal", "transdermal": "transdermal", "SL": "sublingual"}  # Else oral.

# The column `class` without what stands in brackets → the class that drug_classes.csv must then give the drug.
CLASSES: Mapping[str, str | None] = {
    "SSRI": "ssri",
    "SNRI": "snri",
    "NDRI": "antidepressant",
    "NaSSA": "antidepressant",
    "SARI": "antidepressant",
    "SPARI": "antidepressant",
    "SMS": "antidepressant",
    "TCA": "tca",
    "MAOI": "maoi_irreversible",
    "NMDA antagonist": "antidepressant",
    "Mood stabiliser": "mood_stabiliser",
    "SGA": "sga",
    "FGA": "fga",
    "Benzodiazepine": "benzodiazepine",
    "Benzodiazepine hypnotic": "benzodiazepine",
    "Azapirone": None,
    "Antihistamine anxiolytic": None,
    "Z-drug": "z_drug",
    "DORA": "dora",
    "Melatonin agonist": None,
    "Stimulant": "stimulant",
    "NRI": None,
    "Alpha2A agonist": None,
    "Alpha2 agonist": None,
    "Opioid antagonist": None,
    "AUD agent": None,
    "Partial opioid agonist": "opioid",
    "Alpha1 antagonist": None,
    "Anticholinergic": "anticholinergic",
    "VMAT2 inhibitor": None,
}
SCOPES = ("formulary", "psychotropic_not_in_formulary", "non_psychotropic")

# The formulary codes two drugs as salts; allergies are recorded by ingredient too. Source: clinical reference, Salts.
INGREDIENTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "lithium carbonate": (("lithium",), ("6448",)),
    "divalproex sodium": (("divalproex", "valproate", "valproic acid"), ("40254", "11118")),
}

FORMULARY_COLUMNS = (
    "generic",
    "rxcui_ingredient",
    "rxcui_src",
    "class",
    "start_mg_day",
    "usual_mg_day",
    "soft_max_mg_day",
    "label_max_mg_day",
    "boxed",
    "dea",
    "dose_src",
    "note",
)
CLASS_COLUMNS = ("class", "member", "scope", "source", "unverified", "note")
BRAND_COLUMNS = ("brand", "generic", "unverified")

NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
NOT_LETTERS = re.compile(r"[^a-z0-9]+")
UNVERIFIED_RXCUI = "(unverified)"


class Basis(StrEnum):
    """What the formulary's figures for a drug measure."""

    DAY = "mg a day"
    DOSING_DAY = "mg on a day of dosing"  # Given under supervision, not every day.
    PATCH = "mg/24 h"


@dataclass(frozen=True)
class Drug:
    """One row of the formulary with the classes it belongs to, and every name and RxCUI its ingredient goes by."""

    name: str
    rxcui: str | None
    classes: tuple[str, ...]
    route: Route
    basis: Basis
    start: Figure
    usual: Figure
    soft_maximum: Figure
    label_maximum: Figure
    boxed_warnings: str | None
    controlled_schedule: str | None
    names: tuple[str, ...]
    rxcuis: frozenset[str]


@dataclass(frozen=True)
class Formulary:
    """All drugs by generic name in lower case."""

    version: str
    drugs: Mapping[str, Drug]

    def drug(self, name: str) -> Drug | None:
        """The drug of that generic name, whatever its case. A brand or a salt is not guessed at; see `close_to`."""
        return self.drugs.get(name.lower())

    def close_to(self, name: str) -> tuple[str, ...]:
        """Generic names of drugs whose generic, ingredient or brand name is like this one, at most three."""
        known = {plain(each): drug.name for drug in self.drugs.values() for each in drug.names}
        named = [each for each in known if mentions(name, each)]
        near = named or get_close_matches(plain(name), known, n=6, cutoff=0.8)
        return tuple(dict.fromkeys(known[each] for each in near))[:3]


def plain(text: str) -> str:
    """Lower case, without accents, one space for whatever is neither letter nor digit."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    letters = "".join(each for each in decomposed if not unicodedata.combining(each))
    return NOT_LETTERS.sub(" ", letters).strip()


def mentions(text: str, name: str) -> bool:
    """Whether the name stands in the text as whole words: `codeine` in `Codeine syrup`, not in `dihydrocodeine`."""
    return bool(plain(name)) and f" {plain(name)} " in f" {plain(text)} "


def load(formulary: bytes, drug_classes: bytes, brand_names: bytes) -> Formulary:
    """The formulary from the bytes of its three tables. Raises BadTable, naming table, line and what is wrong."""
    brands = brands_by_drug(brand_names)
    classes = classes_by_drug(drug_classes)
    drugs: dict[str, Drug] = {}
    seen: set[str] = set()
    for line, row in rows("formulary.csv", formulary, FORMULARY_COLUMNS):
        try:
            drug = drug_of(row, classes.get(row["generic"], ()), brands.get(row["generic"], ()))
        except BadTable as wrong:
            raise BadTable(f"formulary.csv, line {line}, {row['generic']}: {wrong}") from None
        if drug.name in drugs or (drug.rxcui and drug.rxcui in seen):
            raise BadTable(f"formulary.csv, line {line}: {drug.name} or its RxCUI {drug.rxcui} stands there twice")
        drugs[drug.name] = drug
        seen |= {drug.rxcui} if drug.rxcui else set()
    for table, found in (("drug_classes.csv", classes), ("brand_names.csv", brands)):
        if unknown := sorted(set(found) - set(drugs)):
            raise BadTable(f"{table} names drugs that formulary.csv does not have: {', '.join(unknown)}")
    return Formulary(sha256(formulary).hexdigest()[:VERSION_LENGTH], MappingProxyType(drugs))


def drug_of(row: Mapping[str, str], classes: tuple[str, ...], brands: tuple[str, ...]) -> Drug:
    name, rxcui = row["generic"], row["rxcui_ingredient"]
    if not name or name != name.strip().lower():
        raise BadTable(f"the generic name {name!r} is not in lower case")
    if not (rxcui.isascii() and rxcui.isdigit()) and rxcui != UNVERIFIED_RXCUI:
        raise BadTable(f"{rxcui!r} is no RxCUI; write its digits or {UNVERIFIED_RXCUI}")
    kind, _, bracketed = row["class"].partition(" (")
    if kind not in CLASSES:
        raise BadTable(f"class {row['class']!r} is unknown; it is one of {', '.join(CLASSES)}")
    needed = CLASSES[kind]
    if needed and needed not in classes:
        raise BadTable(f"drug_classes.csv must list it as {needed}, because its class here is {kind}")
    if row["dea"] not in ("-", "II", "III", "IV", "V"):
        raise BadTable(f"{row['dea']!r} is no controlled-drug schedule; write II, III, IV, V or -")
    names, rxcuis = INGREDIENTS.get(name, ((), ()))
    known = None if rxcui == UNVERIFIED_RXCUI else rxcui
    return Drug(
        name=name,
        rxcui=known,
        classes=classes,
        route=ROUTES.get(bracketed.rstrip(")"), "oral"),
        basis=basis(row),
        start=figure(row["start_mg_day"], unverified=unverified("start", row["dose_src"])),
        usual=figure(row["usual_mg_day"], unverified=unverified("usual", row["dose_src"])),
        soft_maximum=maximum(row["soft_max_mg_day"], unverified=unverified("max", row["dose_src"])),
        label_maximum=maximum(row["label_max_mg_day"], unverified=unverified("max", row["dose_src"])),
        boxed_warnings=None if row["boxed"] == "-" else row["boxed"],
        controlled_schedule=None if row["dea"] == "-" else row["dea"],
        names=(name, *names, *brands),
        rxcuis=frozenset(rxcuis) | ({known} if known else frozenset()),
    )


def basis(row: Mapping[str, str]) -> Basis:
    """What the figures measure, said in the cells: mg a day unless one of them says otherwise."""
    cells = " ".join(row[column] for column in FORMULARY_COLUMNS if column.endswith("_mg_day"))
    if "mg/24h" in cells:
        return Basis.PATCH
    return Basis.DOSING_DAY if "/session" in cells else Basis.DAY


def unverified(column: str, source: str) -> bool:
    """Whether general knowledge (K) stands behind a column, by the words of `dose_src`: `E2; max K`, `C; start K`."""
    for part in source.split(";"):
        if not GENERAL_KNOWLEDGE.search(part) or "boxed" in part:
            continue
        named = [each for each in ("start", "usual", "max") if each in part]
        if column in named or (not named and not ("rest" in part and column == "start")):
            return True
    return False


def classes_by_drug(table: bytes) -> dict[str, tuple[str, ...]]:
    """The classes of every drug of the formulary, sorted."""
    found: dict[str, tuple[str, ...]] = {}
    seen: set[tuple[str, str]] = set()
    for line, row in rows("drug_classes.csv", table, CLASS_COLUMNS):
        name, member = row["class"], row["member"]
        if not NAME.fullmatch(name) or not member or row["scope"] not in SCOPES:
            raise BadTable(f"drug_classes.csv, line {line}: class {name!r}, member {member!r} or scope is unknown")
        if (name, member) in seen:
            raise BadTable(f"drug_classes.csv, line {line}: {member} stands twice in {name}")
        seen.add((name, member))
        if row["scope"] == "formulary":
            found[member] = tuple(sorted({*found.get(member, ()), name}))
    return found


def brands_by_drug(table: bytes) -> dict[str, tuple[str, ...]]:
    """The brand names of every drug, in the table's order."""
    found: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for line, row in rows("brand_names.csv", table, BRAND_COLUMNS):
        if not plain(row["brand"]) or row["brand"] in seen:
            raise BadTable(f"brand_names.csv, line {line}: {row['brand']!r} is empty or stands there twice")
        seen.add(row["brand"])
        found[row["generic"]] = (*found.get(row["generic"], ()), row["brand"])
    return found


def rows(table: str, content: bytes, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with its line. Raises BadTable unless the columns are exactly these and every row has all of them."""
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise BadTable(f"{table} is not UTF-8") from None
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        if tuple(header) != columns:
            raise BadTable(f"{table}: its columns must be {', '.join(columns)}")
        for cells in reader:
            if len(cells) != len(columns):
                raise BadTable(f"{table}, line {reader.line_num}: {len(cells)} cells, not {len(columns)}")
            yield reader.line_num, dict(zip(columns, cells, strict=True))
    except csv.Error as wrong:
        raise BadTable(f"{table}, line {reader.line_num}: {wrong}") from None
