"""Every refusal as a problem document (RFC 9457): a stable `reason`, and a `detail` that says what to do.

A document names fields, never what stood in them: what a caller got wrong may be somebody's health.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from contracts.event import SCHEMA_BASE
from contracts.permissions import Refusal

from ..access import NotYetKnown, Refused, Stale
from ..commanding import Busy, KeyReused
from ..decider import Rejected
from ..documents import NotLive
from ..identity import KeysUnavailable, Unauthenticated
from ..logs import log
from ..metrics import PROBLEMS, UNAUTHENTICATED

MEDIA_TYPE = "application/problem+json"
RETRY_SOON = {"Retry-After": "1"}

# What to tell of each condition in contracts/permissions.py. All of them are on record.
REFUSALS: Mapping[Refusal, tuple[str, str]] = {
    "role": ("role_not_permitted", "Your role may not do this. Ask a colleague whose role may."),
    "clinic": ("other_clinic", "The patient belongs to another clinic. Ask a colleague who works there."),
    "team": ("not_on_care_team", "You are not on this patient's care team today. Ask a supervisor to assign you."),
    "own_record": ("not_own_record", "You may only do this for your own record."),
    "unknown_patient": ("unknown_patient", "Nobody is enrolled under this id. Check it, or enrol the patient first."),
}

ALWAYS_THE_SAME: Mapping[type[Exception], tuple[int, str, str]] = {
    KeyReused: (
        422,
        "idempotency_key_reused",
        "This Idempotency-Key was used for another content. Choose a new key for a new command.",
    ),
    Busy: (503, "busy", "Too many act on this record at once. Send the same again."),
    KeysUnavailable: (
        503,
        "identity_unavailable",
        "The issuer of tokens does not answer, so nobody can be let in. Try again shortly.",
    ),
    Stale: (
        503,
        "access_copy_stale",
        "This house does not know the latest of who may see whom, so it decides nothing. Try again shortly.",
    ),
    NotLive: (
        503,
        "view_not_live",
        "This process shows another version of the view than the one in use. Try again shortly.",
    ),
}

# Kinds of pydantic's findings whose text speaks of the field's type and bounds alone. The others may quote the value.
PLAIN = (
    "missing",
    "extra_forbidden",
    "greater_than",
    "less_than",
    "multiple_of",
    "string_",
    "too_",
    "int_",
    "decimal_",
    "bool_",
    "date_",
    "datetime_",
    "time_",
    "timezone_",
    "literal_error",
    "enum",
    "finite_number",
    "model_",
    "tuple_",
    "list_",
    "uuid_type",
    "json_",
    "position",
    "union_tag_not_found",
)


class Problem(HTTPException):
    """A refusal to answer. `reason` is stable snake case, `sentence` says what to do; `members` are shown as given."""

    def __init__(
        self,
        status: int,
        reason: str,
        sentence: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(status, sentence, dict(headers or {}))
        self.reason = reason
        self.members = {name: value for name, value in members.items() if value is not None}


def document(problem: Problem, correlation_id: str) -> bytes:
    """The problem as JSON. `instance` is the request's correlation id, by which the log can be searched."""
    return json.dumps(
        {
            "type": f"{SCHEMA_BASE}problems/{problem.reason}",
            "title": HTTPStatus(problem.status_code).phrase,
            "status": problem.status_code,
            "detail": problem.detail,
            "reason": problem.reason,
            "instance": f"urn:uuid:{correlation_id}",
            **problem.members,
        },
        ensure_ascii=False,
    ).encode()


def answer(request: Request, problem: Problem) -> Response:
    """The problem as a response, counted."""
    PROBLEMS.labels(problem.reason).inc()
    request.state.reason = problem.reason  # For the line that logs this request.
    body = document(problem, str(request.state.correlation_id))
    return Response(body, problem.status_code, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Makes problem documents of whatever a route, or the framework, refuses with."""

    async def problem(request: Request, error: Exception) -> Response:
        return answer(request, problem_of(error))

    for kind in (
        HTTPException,
        RequestValidationError,
        Rejected,
        Unauthenticated,
        Refused,
        NotYetKnown,
        *ALWAYS_THE_SAME,
    ):
        app.add_exception_handler(kind, problem)


def problem_of(error: Exception) -> Problem:  # noqa: PLR0911 - one line for each kind
    """What to tell of a refusal."""
    match error:
        case Problem():
            return error
        case HTTPException():
            return of_the_framework(error)
        case RequestValidationError():
            return invalid(error.errors(), ())
        case Rejected():
            return Problem(409, error.reason, error.sentence, details=dict(error.details) or None)
        case Unauthenticated():
            return unauthenticated(error)
        case Refused():
            return Problem(403, *REFUSALS[error.rule])
        case NotYetKnown():
            named = ", ".join(str(position) for position in error.args)
            sentence = f"{named} has not been seen here yet. Send the same again shortly."
            return Problem(409, "not_yet_known", sentence, headers=RETRY_SOON)
        case _:
            status, reason, sentence = ALWAYS_THE_SAME[type(error)]
            return Problem(status, reason, sentence, headers=RETRY_SOON if status == 503 else None)


def invalid(findings: Sequence[Any], within: tuple[str, ...]) -> Problem:
    """A request that does not have the form it should: each field by name, and what is expected of it.

    `findings` are pydantic's; `within` goes before each one's place.
    """
    places = [(*within, *finding["loc"]) for finding in findings]
    if any(place[-1:] and str(place[-1]).lower() == "idempotency-key" for place in places):
        sentence = "Send a header Idempotency-Key of 1 to 200 visible characters: a new UUID for each new command."
        return Problem(400, "idempotency_key_required", sentence)
    if any(finding["type"] == "json_invalid" for finding in findings):
        return Problem(400, "malformed_json", "Send a body that is one JSON object, each name in it once.")
    told = [
        {"field": ".".join(str(part)[:100] for part in place), "expected": expected(finding)}
        for place, finding in zip(places, findings, strict=True)
    ]
    return Problem(
        422, "invalid_request", "Correct the fields that `errors` names and send it again.", errors=told[:50]
    )


def expected(finding: Mapping[str, Any]) -> str:
    """What should stand in a field, without what stood there."""
    kind = str(finding["type"])
    if kind == "extra_forbidden":
        return "No such field. Remove it, or correct its name."
    return str(finding["msg"]) if kind.startswith(PLAIN) else "A value of the form that the API's description gives."


def unauthenticated(error: Unauthenticated) -> Problem:
    """401, the same for every reason: why a token does not hold is for the log."""
    UNAUTHENTICATED.labels(error.why).inc()
    log.warning("request_unauthenticated", why=error.why)
    challenge = "Bearer" if error.why == "missing" else 'Bearer error="invalid_token"'
    sentence = "Send a header Authorization: Bearer with an access token from the issuer, not older than it allows."
    return Problem(401, "unauthenticated", sentence, headers={"WWW-Authenticate": challenge})


def of_the_framework(error: HTTPException) -> Problem:
    """A refusal by Starlette or FastAPI, before any of our code was asked."""
    match error.status_code:
        case 400:
            return Problem(400, "malformed_json", "Send a body that is one JSON object, each name in it once.")
        case 404:
            return Problem(404, "no_such_address", "Nothing is served here. See /openapi.json for what is.")
        case 405:
            sentence = "This address does not know that method. The header Allow names those it knows."
            return Problem(405, "method_not_allowed", sentence, headers=error.headers)
        case status:
            reason = HTTPStatus(status).name.lower()
            return Problem(status, reason, "See /openapi.json for what this address expects.", headers=error.headers)
