"""`tandem audit verify`: reads the houses' own tables and the archive, and compares."""

from collections.abc import Callable, Iterable

from chassis.database import create_engine, house_url
from deploy.local import Addresses
from services.audit.api.verification import Report, verify

ARCHIVE = "audit"  # The house whose database holds it.
APPLICATION = "tandem audit verify"


async def verified(servers: Addresses, houses: Iterable[str], progress: Callable[[str], None]) -> Report:
    """The report over these houses' own tables and the archive. Every one of them must have been started once."""
    engines = {
        house: create_engine(house_url(servers["DATABASE_URL"], "", house), application=APPLICATION)
        for house in {*houses, ARCHIVE}
    }
    try:
        return await verify(engines[ARCHIVE], engines, servers["KAFKA_BOOTSTRAP_SERVERS"], progress)
    finally:
        for engine in engines.values():
            await engine.dispose()
