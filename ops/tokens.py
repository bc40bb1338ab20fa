"""Bearer tokens for the people of a clinic's file, from the deployment's local issuer."""

import time

import httpx2

from .clinic import PersonLine, id_of, person_id

RENEW_BEFORE_S = 120.0


class Tokens:
    """One token a person, renewed before it ends. `secret` is the local issuer's own, kept in the state folder."""

    def __init__(self, http: httpx2.AsyncClient, issuer: str, secret: str) -> None:
        self._http = http
        self._issuer = issuer
        self._secret = secret
        self._held: dict[str, tuple[str, float]] = {}

    async def introduce(self, person: PersonLine) -> None:
        """Let the issuer know a person, so that they can sign in with a browser too. Twice does no harm."""
        response = await self._http.put(
            f"{self._issuer}/people/{person_id(person.person)}",
            json=claims(person),
            headers={"Authorization": f"Bearer {self._secret}"},
        )
        response.raise_for_status()

    async def of(self, person: PersonLine) -> str:
        """A token with which this person may act."""
        token, until = self._held.get(person.person, ("", 0.0))
        if time.monotonic() > until:
            response = await self._http.post(
                f"{self._issuer}/token",
                data={
                    "grant_type": "urn:tandem:dev-person",
                    "client_secret": self._secret,
                    "sub": str(person_id(person.person)),
                    **{k: " ".join(v) if isinstance(v, list) else v for k, v in claims(person).items() if v},
                },
            )
            response.raise_for_status()
            found = response.json()
            token = found["access_token"]
            self._held[person.person] = (token, time.monotonic() + found["expires_in"] - RENEW_BEFORE_S)
        return token


def claims(person: PersonLine) -> dict[str, str | list[str] | None]:
    """What a token says of a person beside their id."""
    patient = str(id_of(person.patient)) if person.patient else None
    return {"role": person.role, "clinics": list(person.clinics), "name": person.name, "patient": patient}


async def operator_token(http: httpx2.AsyncClient, issuer: str, secret: str) -> str:
    """A token for the operator's command line itself."""
    form = {"grant_type": "client_credentials", "client_id": "operator", "client_secret": secret}
    response = await http.post(f"{issuer}/token", data=form)
    token: str = response.raise_for_status().json()["access_token"]
    return token
