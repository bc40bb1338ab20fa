"""The kinds of therapy that an episode may be, from `modalities.csv` as the clinical reference data has it."""

from pathlib import Path

from .tables import DataRefused, optional_number, rows, truth

COLUMNS = (
    *("modality", "session_minutes_from", "session_minutes_to", "usual_sessions_from", "usual_sessions_to"),
    *("unverified", "note"),
)


def load_modalities(folder: Path = Path(__file__).parent) -> frozenset[str]:
    """Their names. The whole file is read all the same: one cell that does not parse refuses it (DataRefused)."""
    names: set[str] = set()
    for row in rows(folder / "modalities.csv", COLUMNS):
        where = f"modalities.csv: {row['modality']}"
        if row["modality"] in names:
            raise DataRefused(f"{where} stands there twice")
        for first, last in (COLUMNS[1:3], COLUMNS[3:5]):
            start, end = optional_number(row, first, where), optional_number(row, last, where)
            if (start is None) != (end is None) or (start is not None and end is not None and start > end):
                raise DataRefused(f"{where}: {first} and {last} are no range")
        truth(row, "unverified", where)
        names.add(row["modality"])
    return frozenset(names)
