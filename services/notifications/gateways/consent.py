"""Asks the patients house whether a message may leave, each time and uncached. No answer is no consent."""

import time
from typing import Literal
from uuid import UUID

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.notifications import MessagePurpose
from contracts.patients import Channel

ANSWER_S = 2.0  # Two of these, a token and an answer, leave time within the five seconds that an answer holds.
TOKEN_ENDS_EARLY_S = 30.0  # Clocks differ, and a request takes time.


class Answer(BaseModel):
    """What patients says; without a yes nothing but the reason."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    allowed: bool
    reason: str
    address: str | None = None
    given_name: str | None = None
    language: str | None = None
    time_zone: str | None = None
    privacy_level: Literal["low_detail", "standard"] | None = None


class Token(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    access_token: str
    expires_in: float


class Consent:
    """The patients house, asked over HTTP with a token of our own."""

    def __init__(
        self, http: httpx2.AsyncClient, *, patients_url: str, token_url: str, client_id: str, client_secret: str
    ) -> None:
        self.http = http
        self.patients_url = patients_url.rstrip("/")
        self.token_url = token_url
        self.credentials = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
        }
        self.token: str | None = None
        self.token_until = 0.0  # By the monotonic clock.

    async def may_send(
        self, patient: str, channel: Channel, purpose: MessagePurpose, correlation_id: UUID
    ) -> Answer | None:
        """The answer, None when there is none: patients is away, is not sure, or we have no token."""
        try:
            answer = await self.asked(patient, channel, purpose, correlation_id)
            if answer.status_code == httpx2.codes.UNAUTHORIZED:  # Its key was changed: once more with a new token.
                self.token = None
                answer = await self.asked(patient, channel, purpose, correlation_id)
            if answer.status_code != httpx2.codes.OK:
                return None
            return Answer.model_validate_json(answer.content)
        except (httpx2.HTTPError, ValidationError):
            return None

    async def asked(
        self, patient: str, channel: Channel, purpose: MessagePurpose, correlation_id: UUID
    ) -> httpx2.Response:
        return await self.http.get(
            f"{self.patients_url}/patients/{patient}/may-send",
            params={"channel": channel, "purpose": purpose},
            headers={
                "Authorization": f"Bearer {await self.own_token()}",
                "Tandem-Correlation-Id": str(correlation_id),
            },
            timeout=ANSWER_S,
        )

    async def own_token(self) -> str:
        """A token of this service, used until it is about to end. Raises httpx2.HTTPError or ValidationError."""
        if self.token is None or time.monotonic() > self.token_until:
            answer = await self.http.post(self.token_url, data=self.credentials, timeout=ANSWER_S)
            answer.raise_for_status()
            found = Token.model_validate_json(answer.content)
            self.token, self.token_until = found.access_token, time.monotonic() + found.expires_in - TOKEN_ENDS_EARLY_S
        return self.token
