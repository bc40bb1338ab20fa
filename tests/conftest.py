"""Fixtures that every test may use: real servers, and names of one's own on them."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.servers import Servers, drop, new_prefix, running_servers

_USED = pytest.StashKey[str]()
_NUMBERS = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: the full counts, hours; run by `make soak`")
    config.addinivalue_line("markers", "bench: measures instead of judging; run by `make bench`")


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """A Kafka, a PostgreSQL, a token issuer and a mailbox, for the whole run."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert reporter is not None
    assert capture is not None

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)

    with running_servers(say) as found:
        request.config.stash[_USED] = found.described
        yield found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if described := config.stash.get(_USED, None):
        terminalreporter.write_line(f"servers used: {described}")


@pytest.fixture(scope="session")
async def prefix(servers: Servers) -> AsyncIterator[str]:
    """Put before database, topic and group names; what bears it is removed when the run ends."""
    prefix = new_prefix()
    yield prefix
    if servers.shared:
        await drop(servers, prefix)


@pytest.fixture
def own_prefix(prefix: str) -> str:
    """A prefix for one test alone."""
    return f"{prefix}{next(_NUMBERS)}_"
