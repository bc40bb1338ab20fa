"""Takes one message after the other from the list to its patient: whether it may leave is decided here, at this moment.

Nothing leaves without a yes of the patients house that is less than five seconds old, nor by night, nor too late, nor
in words that the lexicon knows. What became of it is a fact of the patient's stream.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import datetime
from typing import NoReturn, assert_never
from uuid import uuid4, uuid5

import structlog
from prometheus_client import Counter

from chassis.access import Access
from chassis.clock import Clock
from chassis.commanding import CommandHandler
from chassis.database import DATABASE_ERRORS, is_transient
from chassis.decider import Ask
from contracts.notifications import NotificationsFact

from ..domain.commands import NotificationsCommand, Reason, RecordFailure, RecordSent, SuppressMessage
from ..domain.hours import by_day, zone_or_none
from ..domain.messages import Messages
from ..domain.wording import Text, Wording
from .consent import Answer, Consent
from .deliveries import OUTCOME_UNKNOWN, Deliveries, Delivery, NotOurs, State, Within, failing
from .mail import Accepted, Line, Mail, Outcome, Refused, Unknown, Withheld, written

log = structlog.get_logger()

OUTCOMES = Counter("notifications_outcome_total", "What became of attempts to send", ["outcome"])

AT_ONCE = 4  # Messages in hand at a time: a mail server and a database are waited for, not a processor.
POLL_S = 0.5
POLL_SIMULATED_S = 0.02  # A player moves the clock line by line, and waits for us each time.
FREE_S = 5.0  # How often the list is looked through for what dead senders left.
BACK_OFF_S = 1.0
FRESH_S = 5.0  # How long a yes to *may I send?* holds: longer ago it may have been withdrawn.
MOST_FAILURES = 8  # With doubling pauses about four minutes; then a person looks.
FINISH_S = 15.0  # What is in hand when the process is told to stop; a pod's grace is longer.

NO_YES: Mapping[str, Reason] = {"no_preferred_contact_point": "no_address"}  # All others are a missing consent.

Handler = CommandHandler[Messages, NotificationsCommand, NotificationsFact]


class Sender:
    """Walks between the list, the patients house and the mail server."""

    def __init__(
        self,
        deliveries: Deliveries,
        handler: Handler,
        clock: Clock,
        access: Access,
        consent: Consent,
        mail: Mail,
        wording: Wording,
        link: str,
    ) -> None:
        self.deliveries = deliveries
        self.handler = handler
        self.clock = clock
        self.access = access
        self.consent = consent
        self.mail = mail
        self.wording = wording
        self.link = link
        self.woken = asyncio.Event()

    def wake(self) -> None:
        """Look now: something was queued."""
        self.woken.set()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self.walk())
            group.create_task(self.free())

    async def walk(self) -> NoReturn:
        while True:
            self.woken.clear()
            try:
                found = await self.send_one()
            except DATABASE_ERRORS as error:
                if not is_transient(error):
                    raise
                log.warning("sender_lost_database", error=type(error).__name__)
                await asyncio.sleep(BACK_OFF_S * random.uniform(0.5, 1))  # noqa: S311  No secret.
                continue
            if not found:
                try:
                    async with asyncio.timeout(POLL_SIMULATED_S if self.clock.simulated else POLL_S):
                        await self.woken.wait()
                except TimeoutError:
                    pass

    async def free(self) -> NoReturn:
        """What dead senders left: claims are freed, and what they were handing over is nobody's to tell any more."""
        while True:
            try:
                for delivery in await self.deliveries.free():
                    log.error("message_outcome_unknown", message=str(delivery.id), stream=delivery.key)
                    await self.record_failure(delivery, OUTCOME_UNKNOWN, will_retry=False)
            except DATABASE_ERRORS as error:
                if not is_transient(error):
                    raise
                log.warning("sender_lost_database", error=type(error).__name__)
            await asyncio.sleep(FREE_S)

    async def send_one(self) -> bool:
        """One message from the list to wherever it goes. False when there is none, or when nobody may be judged now."""
        if not await self.access.fresh():
            return False
        delivery = await self.deliveries.claim(uuid4())
        if delivery is None:
            return False
        # A sender that is told to stop in the middle finishes what it has in hand: cut off, nobody could tell.
        task = asyncio.create_task(self.deliver(delivery))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=FINISH_S)
            raise
        return True

    async def deliver(self, delivery: Delivery) -> None:
        if await self.clock.now() >= delivery.not_after:
            return await self.suppress(delivery, "too_late")
        async with self.mail.line() as line:
            if isinstance(line, Refused):
                return await self.ended(delivery, line)
            asked_at = time.monotonic()
            answer = await self.consent.may_send(
                delivery.key, delivery.channel, delivery.purpose, delivery.correlation_id
            )
            if answer is None:
                OUTCOMES.labels("held").inc()
                return await self.deliveries.put_back(delivery)
            if not answer.allowed or answer.address is None:
                return await self.suppress(delivery, NO_YES.get(answer.reason, "no_consent"))
            return await self.hand_over(delivery, line, answer, answer.address, asked_at)

    async def hand_over(self, delivery: Delivery, line: Line, answer: Answer, address: str, asked_at: float) -> None:
        """With a yes: by day, in words that give nothing away, and only while the yes is fresh."""
        now = await self.clock.now()
        zone = zone_or_none(answer.time_zone)
        if zone and (day := by_day(now, zone)) > now:
            return await self.deliveries.hold(delivery, day)
        text = self.text(delivery, answer)
        if text is None or self.wording.lexicon.found_in(text.subject, text.body, line.sender, self.link):
            log.error("wording_refused", message=str(delivery.id), template=delivery.template)
            return await self.suppress(delivery, "wording_refused")
        letter = written(delivery.id, line.sender, address, text, now)
        if letter is None:
            return await self.ended(delivery, Refused("address_unusable", temporary=False))

        async def ready() -> bool:
            """The yes is fresh, it is still ours, and after that was written down the yes is fresh still."""
            return fresh(asked_at) and await self.deliveries.attempt(delivery) and fresh(asked_at)

        return await self.ended(delivery, await line.send(letter, ready))

    def text(self, delivery: Delivery, answer: Answer) -> Text | None:
        """The words; None for a template that is not on file any more, or that lacks what it speaks of."""
        try:
            return self.wording.write(
                delivery.template,
                delivery.template_version,
                language=answer.language or "en",
                given_name=answer.given_name if answer.privacy_level == "standard" else None,
                link=self.link,
                wall_time=datetime.fromisoformat(delivery.wall_time) if delivery.wall_time else None,
            )
        except (KeyError, ValueError):
            return None

    async def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        match outcome:
            case Accepted(provider_id=provider_id):
                lexicon = self.wording.lexicon.version
                sent = RecordSent(message_id=delivery.id, provider_id=provider_id, lexicon_version=lexicon)
                await self.record_surely(delivery, sent)
            case Refused(reason=reason, temporary=temporary):
                again = temporary and delivery.failures + 1 < MOST_FAILURES
                if not again:
                    log.error("message_failed", message=str(delivery.id), stream=delivery.key, reason=reason)
                await self.record_failure(delivery, reason, will_retry=again)
            case Withheld():
                await self.deliveries.put_back(delivery)
            case Unknown():
                log.error("message_outcome_unknown", message=str(delivery.id), stream=delivery.key)
                await self.record_failure(delivery, OUTCOME_UNKNOWN, will_retry=False)
            case _:
                assert_never(outcome)
        OUTCOMES.labels(type(outcome).__name__.lower()).inc()

    async def suppress(self, delivery: Delivery, reason: Reason) -> None:
        await self.record_surely(delivery, SuppressMessage(message_id=delivery.id, reason=reason))
        OUTCOMES.labels("suppressed").inc()

    async def record_failure(self, delivery: Delivery, reason: str, *, will_retry: bool) -> None:
        nth = delivery.failures + 1
        failure = RecordFailure(message_id=delivery.id, reason=reason, will_retry=will_retry, nth=nth)
        state: State = "pending" if will_retry else "unknown" if reason == OUTCOME_UNKNOWN else "failed"
        await self.record_surely(delivery, failure, failing(delivery, state))

    async def record_surely(
        self, delivery: Delivery, command: NotificationsCommand, within: Within | None = None
    ) -> None:
        """Record it, if need be once the database is back: nobody else knows. Asked again, it is nothing new."""
        while True:
            try:
                await self.handler.handle(await self.ask(delivery, command), within=within)
                return
            except NotOurs:
                return  # We were stopped for long: whoever holds it now has the last word.
            except DATABASE_ERRORS as error:
                if not is_transient(error):
                    raise
                log.warning("sender_lost_database", error=type(error).__name__)
                await asyncio.sleep(BACK_OFF_S)

    async def ask(self, delivery: Delivery, command: NotificationsCommand) -> Ask[NotificationsCommand]:
        now = await self.clock.now()
        return Ask(
            command=command,
            key=delivery.key,
            id=uuid5(delivery.attempt, type(command).__name__),
            now=now,
            occurred_at=now,
            actor="notifications",
            actor_role="service",
            reason=delivery.reason,
            correlation_id=delivery.correlation_id,
            causation_id=delivery.causation_id,
        )


def fresh(asked_at: float) -> bool:
    """Whether an answer asked for then still holds. The monotonic clock goes on while a process is stopped."""
    return time.monotonic() - asked_at < FRESH_S
