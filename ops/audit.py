"""`tandem audit verify`: reads every house's own tables and the archive, and compares."""

from collections.abc import Callable

from chassis.database import create_engine, house_url
from contracts.topics import HOUSES
from deploy.local import Addresses
from services.audit.api.verification import Report, verify

APPLICATION = "tandem audit verify"


async def verified(servers: Addresses, progress: Callable[[str], None]) -> Report:
    """The report over all seven houses' databases and the archive."""
    engines = {
        house: create_engine(house_url(servers["DATABASE_URL"], "", house), application=APPLICATION) for house in HOUSES
    }
    try:
        return await verify(engines["audit"], engines, servers["KAFKA_BOOTSTRAP_SERVERS"], progress)
    finally:
        for engine in engines.values():
            await engine.dispose()
