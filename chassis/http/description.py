"""What the API's description (OpenAPI 3.1) says of a command, and of the problems that any request may meet."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from .problems import MEDIA_TYPE

TEXT = {"type": "string"}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": {**TEXT, "description": "What to do about it, in a sentence."},
        "reason": {**TEXT, "description": "Stable, in snake case."},
        "instance": {"type": "string", "format": "uri", "description": "The request's correlation id."},
        "details": {"type": "object", "description": "What a refused decision adds."},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"field": TEXT, "expected": TEXT}},
        },
    },
}
MEANINGS = {
    400: "The body is not JSON, or the Idempotency-Key is missing.",
    401: "No token, or one that does not hold.",
    403: "The person may not. The refusal is on record.",
    404: "No such thing.",
    409: "Refused by a rule, or something it was to wait for is not known yet.",
    413: "The body is too long.",
    415: "The body is not sent as JSON.",
    422: "A field does not have the form it should, or the key was used for another content.",
    500: "A fault of ours.",
    503: "A part of the system does not answer, or lags behind too far to decide.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning, "content": {MEDIA_TYPE: {"schema": PROBLEM}}}
    for status, meaning in MEANINGS.items()
}
ANSWER = {
    "type": "object",
    "required": ["position", "facts"],
    "properties": {
        "position": {**TEXT, "description": "Give it as `after` to wait until a view has seen this command."},
        "facts": {
            "type": "array",
            "description": "What the command brought about; empty when it was so already.",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "type": TEXT,
                    "subject": TEXT,
                    "sequence": {"type": "integer"},
                },
            },
        },
    },
}


def described(name: str, path: str, model: type[BaseModel]) -> dict[str, Any]:
    """What FastAPI is to say of a command: its body is the model without the fields that stand in the path."""
    schema = inlined(model.model_json_schema())
    in_path = re.findall(r"{(\w+)}", path)
    parameters = [
        {
            "name": field,
            "in": "path",
            "required": True,
            "schema": schema["properties"].pop(field, {"type": "string", "format": "uuid"}),
        }
        for field in in_path
    ]
    schema["required"] = [field for field in schema.get("required", []) if field not in in_path]
    return {
        "summary": name.replace("-", " ").capitalize(),
        "description": schema.pop("description", ""),
        "operation_id": name,
        "responses": {200: {"description": "Done.", "content": {"application/json": {"schema": ANSWER}}}},
        "openapi_extra": {
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        },
    }


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema with each `$ref` replaced by what it names; a command does not contain itself."""
    named = schema.get("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(named[part["$ref"].rpartition("/")[2]])
            return {
                key: resolved(value) for key, value in part.items() if key != "$defs" and not is_mapping(key, value)
            }
        return [resolved(each) for each in part] if isinstance(part, list) else part

    found: dict[str, Any] = resolved(dict(schema))
    return found


def is_mapping(key: str, value: Any) -> bool:
    """Whether this is OpenAPI's `discriminator`, which points at what has been inlined, not a field of that name."""
    return key == "discriminator" and isinstance(value, dict) and "propertyName" in value
