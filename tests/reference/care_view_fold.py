"""The care view, worked out again from raw records: slow, obvious, and sharing no code with the product.

Each part of the document is a question asked of the whole history of one source ("which orders were prescribed and
never stopped?"), not a step from one state to the next. Only the standard library is used.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

Told = dict[str, Any]


def care_view(records: Iterable[tuple[Mapping[str, str], bytes]]) -> dict[str, Any]:
    """The document of one patient, as JSON would hold it, from headers and value bytes in any order of sources."""
    sources: dict[str, list[Told]] = {}
    for headers, value in records:
        told = {
            "type": headers["ce_type"].split(".")[1],
            "fact": json.loads(value),
            "sequence": int(headers["ce_sequence"]),
            "at": short(headers["ce_time"]),
            "recorded_at": short(headers["ce_recordedtime"]),
            "by": headers["ce_actor"],
        }
        sources.setdefault(headers["ce_source"], []).append(told)
    for one in sources.values():
        one.sort(key=lambda told: told["sequence"])
    return {
        "patient": patient(sources.get("/patients", [])),
        "medications": medications(sources.get("/prescribing", [])),
        "therapy": therapy(sources.get("/therapy", [])),
        "follow_ups": follow_ups(sources.get("/scheduling", [])),
        "messages": messages(sources.get("/notifications", [])),
    }


def patient(history: list[Told]) -> dict[str, Any]:
    enrolled = of(history, "patient-enrolled")
    refutations = {told["fact"]["allergy_id"]: told for told in reversed(of(history, "allergy-refuted"))}
    recorded = {told["fact"]["allergy_id"]: told for told in of(history, "allergy-recorded")}
    resolutions = {told["fact"]["condition_id"]: told for told in reversed(of(history, "condition-resolved"))}
    diagnosed = {told["fact"]["condition_id"]: told for told in of(history, "condition-recorded")}
    withdrawals = {told["fact"]["consent_id"]: told for told in reversed(of(history, "consent-withdrawn"))}
    granted = {told["fact"]["consent_id"]: told for told in of(history, "consent-granted")}
    points = {}
    for told in history:
        if told["type"] == "contact-point-set":
            points[told["fact"]["contact_point_id"]] = told
        if told["type"] == "contact-point-removed":
            points.pop(told["fact"]["contact_point_id"], None)
    team: list[Told] = []
    released: list[Told] = []
    for told in history:
        if told["type"] in {"care-team-member-assigned", "care-team-member-released"}:
            same = [m for m in team if (m["person"], m["role"]) == (told["fact"]["person"], told["fact"]["role"])]
            team = [member for member in team if member not in same]
            if told["type"] == "care-team-member-assigned":
                team.append(pick(told["fact"], "person", "name", "role", "clinic", "from_on", "until_on"))
            else:
                released += same
    return {
        "recorded_at": last_recorded(history),
        "identity": {
            **pick(
                enrolled[-1]["fact"],
                *("family_name", "given_name", "birth_date", "sex", "language", "interpreter_needed"),
                *("time_zone", "clinic", "record_number"),
            ),
            "enrolled_at": enrolled[-1]["at"],
        }
        if enrolled
        else None,
        "allergies": {
            id: {
                **pick(told["fact"], "kind", "reaction", "severity"),
                "substance": told["fact"]["substance"]["text"],
                "recorded_at": told["at"],
            }
            for id, told in recorded.items()
            if id not in refutations
        },
        "refuted": [
            {
                "substance": recorded[id]["fact"]["substance"]["text"],
                "reason": told["fact"]["reason"],
                "refuted_at": told["at"],
            }
            for id, told in by_sequence(refutations)
        ][-5:],
        "conditions": {
            id: pick(told["fact"], "icd10cm", "label", "diagnosed_by", "onset_on")
            for id, told in diagnosed.items()
            if id not in resolutions
        },
        "resolved": [
            {**pick(diagnosed[id]["fact"], "icd10cm", "label"), "resolved_on": told["fact"]["resolved_on"]}
            for id, told in by_sequence(resolutions)
        ][-5:],
        "approaches": [
            {
                **pick(
                    told["fact"],
                    *("approach", "reason", "decided_together", "alternatives", "preference", "target_measure"),
                ),
                "chosen_at": told["at"],
            }
            for told in of(history, "treatment-approach-chosen")
        ][-3:],
        "contact_points": {
            id: pick(told["fact"], "channel", "address", "preferred", "confidential", "privacy_level")
            for id, told in points.items()
        },
        "team": team,
        "released": released[-10:],
        "consents": {id: consent(told) for id, told in granted.items() if id not in withdrawals},
        "withdrawn": [{**consent(granted[id]), "withdrawn_at": told["at"]} for id, told in by_sequence(withdrawals)][
            -5:
        ],
    }


def consent(told: Told) -> dict[str, Any]:
    return {**pick(told["fact"], "scope", "address", "purposes"), "granted_at": told["at"], "withdrawn_at": None}


def medications(history: list[Told]) -> dict[str, Any]:
    prescribed = {told["fact"]["order_id"]: told for told in of(history, "dose-prescribed")}
    stops = {told["fact"]["order_id"]: told for told in reversed(of(history, "medication-discontinued"))}
    overrides: dict[str, list[Any]] = {}
    for told in of(history, "warning-overridden"):
        rule = told["fact"]["rule"]
        overrides.setdefault(told["fact"]["order_id"], []).append(
            {
                **pick(told["fact"], "severity", "reason_code", "text"),
                **pick(rule, "rule_id", "version", "unverified"),
                **pick(told, "at", "by"),
            }
        )
    return {
        "recorded_at": last_recorded(history),
        "active": {id: line(told, history) for id, told in prescribed.items() if id not in stops},
        "ended": [
            {
                "order_id": id,
                "line": line(prescribed[id], history),
                **pick(told["fact"], "last_dose_on", "reason"),
                "ended_at": told["at"],
                "overrides": overrides.get(id, [])[-5:],
            }
            for id, told in by_sequence(stops)
        ][-5:],
        "overrides": {id: found[-5:] for id, found in overrides.items() if id not in stops},
        "reviews": [
            {
                **pick(told, "at", "by"),
                **pick(
                    told["fact"],
                    *("contact", "effectiveness", "tolerability", "risk_asked", "risk_clinically_important"),
                    "next_review_on",
                ),
                "decisions": {order["order_id"]: order["decision"] for order in told["fact"]["orders"]},
            }
            for told in as_happened(of(history, "medication-review-completed"))
        ][-3:],
    }


def line(order: Told, history: list[Told]) -> dict[str, Any]:
    fact = order["fact"]
    changes = [told for told in of(history, "dose-adjusted") if told["fact"]["order_id"] == fact["order_id"]]
    regimens = [
        regimen(fact["dose"], fact["schedule"]),
        *(regimen(told["fact"]["to_dose"], told["fact"]["to_schedule"]) for told in changes),
    ]
    return {
        "medication": fact["medication"]["name"],
        "regimen": regimens[-1],
        **pick(fact, "route", "indication", "days_supply", "refills"),
        "since": order["at"],
        "by": order["by"],
        "changes": [
            {
                **pick(told, "at", "by"),
                **pick(told["fact"], "direction", "reason"),
                "before": regimen(told["fact"]["from_dose"], told["fact"]["from_schedule"]),
                "after": after,
            }
            for told, after in zip(changes, regimens[1:], strict=True)
        ][-8:],
    }


def regimen(dose: dict[str, Any], schedule: dict[str, Any]) -> dict[str, Any]:
    return {**pick(dose, "amount", "unit"), **pick(schedule, "times", "period_days", "as_needed")}


def therapy(history: list[Told]) -> dict[str, Any]:
    held = of(history, "session-completed")
    for told in held:
        told["started_at"] = told["fact"]["started_at"]
    in_turn = sorted(held, key=lambda told: (moment(told["started_at"]), told["sequence"]))
    measured = of(history, "measure-recorded")
    raised = {told["fact"]["flag_id"]: told for told in of(history, "risk-flag-raised")}
    closures = {told["fact"]["flag_id"]: told for told in reversed(of(history, "risk-flag-closed"))}
    return {
        "recorded_at": last_recorded(history),
        "episodes": {
            told["fact"]["episode_id"]: {
                **pick(told["fact"], "modality", "therapist", "planned_sessions", "sessions_per_month"),
                "started_at": told["at"],
                "held": sum(one["fact"]["episode_id"] == told["fact"]["episode_id"] for one in held),
            }
            for told in of(history, "therapy-started")
        },
        "sessions": [
            {
                **pick(
                    told["fact"],
                    *("started_at", "kind", "modality", "format", "remote", "interventions", "plan_summary"),
                    "medication_talked_about",
                ),
                "by": told["by"],
                "minutes": int(
                    (moment(told["fact"]["ended_at"]) - moment(told["fact"]["started_at"])).total_seconds() // 60
                ),
            }
            for told in in_turn
        ][-6:],
        "session_days": [told["started_at"] for told in in_turn][-40:],
        "scores": {
            measure: [
                {"at": told["at"], **pick(told["fact"], "total", "band")}
                for told in as_happened(measured)
                if told["fact"]["measure"] == measure
            ][-24:]
            for measure in {told["fact"]["measure"] for told in measured}
        },
        "flags": {
            id: {
                **pick(told["fact"], "tier", "measure", "item"),
                **pick(told["fact"]["rule"], "rule_id", "version", "unverified"),
                "raised_at": told["at"],
            }
            for id, told in raised.items()
            if id not in closures
        },
        "closed_flags": [
            {
                "tier": raised[id]["fact"]["tier"],
                "raised_at": raised[id]["at"],
                "closed_at": told["at"],
                **pick(told["fact"], "safety_action", "text"),
                "by": told["by"],
            }
            for id, told in by_sequence(closures)
        ][-5:],
    }


def follow_ups(history: list[Told]) -> dict[str, Any]:
    planned = {told["fact"]["obligation_id"]: told for told in of(history, "follow-up-planned")}
    ends: dict[str, Told] = {}
    for told in history:
        if told["type"] in {"follow-up-fulfilled", "follow-up-withdrawn"}:
            ends.setdefault(told["fact"]["obligation_id"], told)
    booked = of(history, "appointment-booked")
    last_booking = moment(booked[-1]["recorded_at"] if booked else "0001-01-01T00:00:00Z")
    by_start = sorted(booked, key=lambda told: (moment(told["fact"]["starts_at"]), told["sequence"]))
    past = [told for told in by_start if moment(told["fact"]["starts_at"]) <= last_booking]
    ahead = [told for told in by_start if told not in past]
    return {
        "recorded_at": last_recorded(history),
        "open": {
            id: {
                **pick(
                    told["fact"],
                    *("kind", "window_from_on", "due_on", "overdue_after_on", "due_at", "overdue_at"),
                    *("owner_role", "cause", "order_id"),
                ),
                **pick(told["fact"]["rule"], "rule_id", "version", "unverified"),
            }
            for id, told in planned.items()
            if id not in ends
        },
        "closed": [
            {
                **pick(planned[id]["fact"], "kind", "due_on", "overdue_at"),
                "rule_id": planned[id]["fact"]["rule"]["rule_id"],
                "closed_at": told["at"],
                "how": "fulfilled" if told["type"] == "follow-up-fulfilled" else told["fact"]["reason"],
                "by": told["fact"]["by"],
            }
            for id, told in by_sequence(ends)
        ][-5:],
        "appointments": [
            {
                **pick(
                    told["fact"],
                    *("appointment_id", "kind", "starts_at", "wall_time", "time_zone", "minutes", "remote"),
                    *("place", "serves"),
                ),
                "clinician": told["fact"]["clinician"]["person"],
                "role": told["fact"]["clinician"]["role"],
            }
            for told in past[-5:] + ahead
        ],
        "contacts": [
            {**pick(told, "at", "by"), **pick(told["fact"], "channel", "reached", "risk_asked", "minutes")}
            for told in as_happened(of(history, "contact-made"))
        ][-5:],
    }


def messages(history: list[Told]) -> dict[str, Any]:
    last = {}
    for told in of(history, "message-queued")[-8:]:
        id = told["fact"]["message_id"]
        latest = [one for one in history if one["fact"]["message_id"] == id][-1]
        last[id] = {
            **pick(told["fact"], "purpose", "channel", "about", "not_before"),
            "state": latest["type"].removeprefix("message-"),
            "at": latest["at"],
            "reason": latest["fact"].get("reason"),
            "will_retry": latest["fact"].get("will_retry", False),
        }
    return {"recorded_at": last_recorded(history), "last": last}


def of(history: list[Told], name: str) -> list[Told]:
    return [told for told in history if told["type"] == name]


def as_happened(history: list[Told]) -> list[Told]:
    return sorted(history, key=lambda told: (moment(told["at"]), told["sequence"]))


def by_sequence(found: Mapping[str, Told]) -> list[tuple[str, Told]]:
    return sorted(found.items(), key=lambda item: item[1]["sequence"])


def last_recorded(history: list[Told]) -> str | None:
    return history[-1]["recorded_at"] if history else None


def pick(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values.get(name) for name in names}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def short(text: str) -> str:
    """A time as JSON holds it: no fraction where it is nought."""
    return text.replace(".000000Z", "Z")
