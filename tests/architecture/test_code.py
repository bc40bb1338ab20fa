"""Rules about the code itself that no linter knows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faststream.middlewares import AckPolicy

from chassis.consuming import subscribe
from chassis.kafka import Ends, create_broker
from contracts import topics

ROOT = Path(__file__).parents[2]
OURS = ("contracts", "chassis", "services", "ops", "deploy")
FILES = sorted(path for room in OURS for path in (ROOT / room).rglob("*.py"))
EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
LINES_OF_A_FILE = 350  # About 300, as the style says.
LINES_OF_A_FUNCTION = 60  # A screen.

# Where whatever goes wrong must be answered for, and why. A new place is a decision.
LAST_RESORTS = {
    "chassis/assignment.py": "recovery is repeated until it succeeds",
    "chassis/http/plumbing.py": "what nobody foresaw becomes a problem document",
    "chassis/http/views.py": "what cannot be recorded is not shown",
    "chassis/ordering.py": "a fact that cannot be applied is set aside",
    "chassis/progress.py": "a server is away, and the age of what is known grows",
    "chassis/receiving.py": "a batch that cannot be written is taken apart",
    "chassis/service.py": "a part that dies ends the process",
    "chassis/sifting.py": "the one patient whose facts cannot be written is found",
    "chassis/timers.py": "the loop goes on",
}
PURE = ("domain", "reactions", "projections")
CLOCKS_AND_DICE = {
    ("datetime", "now"),
    ("datetime", "today"),
    ("datetime", "utcnow"),
    ("date", "today"),
    ("time", "time"),
    ("time", "monotonic"),
    ("uuid", "uuid4"),
    ("random", "random"),
    ("os", "environ"),
    ("os", "getenv"),
}


@EACH_FILE
def test_nothing_is_caught_that_nobody_expected(path: Path) -> None:
    if str(path.relative_to(ROOT)) in LAST_RESORTS:
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ExceptHandler) and not tidies_up(node):
            assert not {"Exception", "BaseException", ""} & set(caught(node)), f"{path}:{node.lineno}"


def test_every_last_resort_is_one() -> None:
    for path in LAST_RESORTS:
        handlers = [node for node in ast.walk(parsed(ROOT / path)) if isinstance(node, ast.ExceptHandler)]
        assert any("Exception" in set(caught(handler)) for handler in handlers), f"{path} is listed for nothing"


@EACH_FILE
def test_deciding_reacting_and_projecting_read_no_clock_and_make_no_id(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "services" or len(parts) < 3 or parts[2] not in PURE:
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in CLOCKS_AND_DICE, f"{path}:{node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module in ("uuid", "random", "time", "secrets"):
            taken = {alias.name for alias in node.names}
            assert not {"uuid4", "uuid1", "random", "choice", "time", "monotonic"} & taken, f"{path}:{node.lineno}"


@EACH_FILE
def test_imports_are_relative_inside_a_house_and_inside_the_contracts(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    own = {"services": ".".join(parts[:2]), "contracts": "contracts"}.get(parts[0])
    for node in ast.walk(parsed(path)):
        if own and isinstance(node, ast.ImportFrom) and node.level == 0:
            assert not f"{node.module}.".startswith(f"{own}."), f"{path}:{node.lineno} cannot move out unchanged"


@EACH_FILE
def test_files_and_functions_fit_what_one_can_read_at_once(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_OF_A_FILE
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = lines_of(node) - sum(lines_of(inner) for inner in functions_in(node))
            assert lines <= LINES_OF_A_FUNCTION, f"{node.name} has {lines} lines"


def test_there_is_one_place_that_subscribes_and_one_that_makes_brokers() -> None:
    assert [str(path.relative_to(ROOT)) for path in FILES for _ in calls(path, "subscriber")] == [
        "chassis/consuming.py"
    ]
    assert [str(path.relative_to(ROOT)) for path in FILES for _ in calls(path, "KafkaBroker")] == ["chassis/kafka.py"]
    assert not [path for path in FILES for name in ("KafkaRouter", "publish_batch") for _ in calls(path, name)]


async def test_that_place_overrides_every_default_that_can_lose_a_fact() -> None:
    broker = create_broker("127.0.0.1:1")
    subscribe(
        broker, Nothing(), group="g", prefix="", slot="0", cluster="c", ends=Ends("127.0.0.1:1"), stop=lambda _: None
    )
    (subscriber,) = broker.subscribers
    assert subscriber.ack_policy is AckPolicy.MANUAL
    assert subscriber._no_reply is True
    assert subscriber.topic_names == ["patients.events"]
    assert subscriber.group_id == "g"
    asked = subscriber._connection_args
    assert asked["auto_offset_reset"] == "none"
    assert asked["isolation_level"] == "read_committed"
    assert asked["partition_assignment_strategy"] == (RangePartitionAssignor,)
    assert asked["group_instance_id"]
    assert asked["enable_auto_commit"] is False


class Nothing:
    """A work that does none."""

    name, version, topics, batch_size = "nothing", 1, [topics.PATIENTS], 10


def functions_in(outer: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions directly inside another: each is to be read by itself."""
    for node in ast.iter_child_nodes(outer):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        else:
            yield from functions_in(node)


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def caught(handler: ast.ExceptHandler) -> Iterator[str]:
    """The names of what a handler catches; an empty one when it catches all."""
    match handler.type:
        case None:
            yield ""
        case ast.Tuple(elts=several):
            yield from (ast.unparse(one) for one in several)
        case one:
            yield ast.unparse(one)


def tidies_up(handler: ast.ExceptHandler) -> bool:
    """Whether it lets go of something and passes the error on as it is."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def calls(path: Path, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and name_of(node) == name:
            yield node


def name_of(call: ast.Call) -> str:
    """`subscriber` of both `subscriber(…)` and `broker.subscriber(…)`."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
