"""Where a patient can be reached: which text is an address of a channel, and in which one form it is kept.

One form, because a consent holds for the very address it was given for.
"""

import re

from chassis.decider import Rejected
from contracts.patients import Channel

# RFC 5322 dot-atom and RFC 1035 labels, without quoted local parts, address literals and non-ASCII: real
# addresses have none of these, and providers differ in what they do with them.
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL = re.compile(rf"(?P<local>{ATOM}(?:\.{ATOM})*)@(?P<domain>(?:{LABEL}\.)+[A-Za-z]{{2,63}})")
E164 = re.compile(r"\+[1-9][0-9]{6,14}")  # ITU-T E.164: country code first, at most 15 digits.
LOCAL_PART_MAX = 64  # RFC 5321, 4.5.3.1.1.


def address_for(channel: Channel, text: str) -> str:
    """The address in the form in which it is kept. Raises Rejected when `text` is none of this channel."""
    match channel:
        case "email":
            return email(text)
        case "sms" | "voice":
            return telephone_number(text)
        case "post":
            return text


def email(text: str) -> str:
    """The domain in lower case; the local part as it stands, for its owner decides whether case matters."""
    found = EMAIL.fullmatch(text)
    if not found or len(found["local"]) > LOCAL_PART_MAX:
        raise Rejected("not_an_email_address", "Write the e-mail address as name@example.org, without a display name.")
    return f"{found['local']}@{found['domain'].lower()}"


def telephone_number(text: str) -> str:
    """The number as E.164 writes it."""
    if not E164.fullmatch(text):
        raise Rejected(
            "not_a_telephone_number",
            "Write the number with + and the country code, then digits only, such as +15550102030.",
        )
    return text
