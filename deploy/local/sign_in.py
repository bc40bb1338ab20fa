"""Signing in with a browser: the authorization code flow with PKCE, and the page where one chooses who one is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from .people import Person

CODE_LIFETIME_S = 60  # A browser comes back with it at once.
OPEN_CODES = 1000  # More sign-ins at once than any development deployment sees.
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class SignIn:
    """What a browser was sent here with, and must come back with."""

    client_id: str
    redirect_uri: str
    challenge: str
    nonce: str
    person: Person
    until: float


class Codes:
    """Codes handed out to browsers and not yet brought back."""

    def __init__(self) -> None:
        self._open: dict[str, SignIn] = {}

    def hand_out(self, asked: Mapping[str, str], person: Person) -> str:
        if len(self._open) >= OPEN_CODES:
            self._open.pop(next(iter(self._open)))  # The oldest.
        code = secrets.token_urlsafe(24)
        self._open[code] = SignIn(
            asked["client_id"],
            asked["redirect_uri"],
            asked["code_challenge"],
            asked.get("nonce", ""),
            person,
            time.monotonic() + CODE_LIFETIME_S,
        )
        return code

    def take_back(self, form: Mapping[str, str]) -> SignIn | None:
        """The sign-in that a code stands for, if it is fresh and brought by who asked for it. A code serves once."""
        sign_in = self._open.pop(form.get("code", ""), None)
        if sign_in is None or sign_in.until < time.monotonic():
            return None
        brought = (form.get("client_id"), form.get("redirect_uri"))
        proof = challenge_of(form.get("code_verifier", ""))
        proven = hmac.compare_digest(proof.encode(), sign_in.challenge.encode())
        return sign_in if proven and brought == (sign_in.client_id, sign_in.redirect_uri) else None


def fault_of(asked: Mapping[str, str]) -> str:
    """Why a browser may not be sent back where it asks to go with a code bound to it; empty when it may."""
    if urlsplit(asked.get("redirect_uri", "")).hostname not in LOOPBACK:
        return "redirect_uri must be on this machine."
    if asked.get("response_type") != "code" or not asked.get("client_id"):
        return "response_type must be code, and client_id given."
    if asked.get("code_challenge_method") != "S256" or not asked.get("code_challenge"):
        return "A code_challenge by S256 is required."
    return ""


def challenge_of(verifier: str) -> str:
    """RFC 7636, section 4.2."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def sign_in_page(people: list[Person]) -> str:
    """A form that posts back to its own address, which carries what the browser came with."""
    choices = "".join(
        f'<p><button name="sub" value="{escape(one.sub)}">{escape(one.name or one.sub)}, '
        f"{escape(one.role.replace('_', ' '))}</button></p>"
        for one in people
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Sign in</title>'
        "<h1>Sign in</h1><p>A development deployment: choose who you are.</p>"
        f'<form method="post">{choices or "<p>Nobody is registered yet.</p>"}</form></html>'
    )
