"""People of a development deployment, as its token issuer knows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from contracts.roles import ROLES, Role

from .places import write_privately


@dataclass(frozen=True)
class Person:
    """Somebody who may sign in: their id, the role in which they act, and where they work."""

    sub: str
    role: Role
    clinics: tuple[str, ...] = ()
    name: str = ""
    patient: str = ""

    @classmethod
    def read(cls, sub: str, found: Mapping[str, Any]) -> Person:
        """Raises ValueError with a sentence that says which field is wrong, and why."""
        role = found.get("role")
        if role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}")
        clinics = found.get("clinics") or ()
        if isinstance(clinics, str):
            clinics = clinics.split()
        if not all(isinstance(clinic, str) for clinic in clinics):
            raise ValueError("clinics must be names")
        patient = str(found.get("patient") or "")
        try:
            UUID(sub)
            UUID(patient or sub)
        except ValueError:
            raise ValueError("sub and patient must be UUIDs") from None
        name = str(found.get("name") or "")
        return cls(sub, cast(Role, role), tuple(clinics), name, patient)

    def claims(self) -> dict[str, Any]:
        """What a token says of this person, beside who issued it and until when."""
        claims: dict[str, Any] = {"sub": self.sub, "role": self.role, "clinics": list(self.clinics)}
        if self.name:
            claims["name"] = self.name
        if self.patient:
            claims["patient"] = self.patient
        return claims


class People:
    """Those registered, kept in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = json.loads(path.read_text("utf-8")) if path.exists() else []
        self._people = {one["sub"]: Person.read(one["sub"], one) for one in found}

    def register(self, person: Person) -> None:
        """Remember a person, or what has changed about them."""
        if self._people.get(person.sub) == person:
            return
        self._people[person.sub] = person
        everybody = [asdict(one) for one in self._people.values()]
        write_privately(self._path, json.dumps(everybody, indent=1) + "\n")

    def find(self, sub: str) -> Person | None:
        return self._people.get(sub)

    def all(self) -> list[Person]:
        return sorted(self._people.values(), key=lambda one: (one.role, one.name, one.sub))
