"""House rules of the tests themselves: every module has a test that can be found."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from scheduling import BROKERS, broker_tests

ROOT = Path(__file__).parent.parent.parent
TESTS = {path.stem: path for path in sorted((ROOT / "tests").rglob("test_*.py"))}
FAST = {"unit", "property", "cases"}
ELSEWHERE = {"simulator", "cli", "devkit"}  # held by tests/contract, by the commands' own output and by the demo
LINES_MIN = 60
# what no test module is named after and no unit or property test imports: the test that holds it, by way of what it does import or start
HELD_BY = {
    "budget/alerts.py": "test_budget_shared",
    "budget/circuit_breaker.py": "test_budget_state",
    "budget/heartbeat.py": "test_budget_shared",
    "budget/history.py": "test_budget_shared",
    "budget/lines.py": "test_budget_shared",
    "budget/log_name.py": "test_budget_log_made_again",
    "budget/log_writer.py": "test_budget_shared",
    "budget/reservations.py": "test_budget_shared",
    "client/cells.py": "test_cases_spreadsheets",
    "client/earlier_results.py": "test_integration_client",
    "client/results.py": "test_client",
    "console/views.py": "test_console",
    "contract/acts.py": "test_stream_lane",
    "didit/bodies.py": "test_didit_verdicts",
    "engine/log_events.py": "test_engine",
    "engine/outputs.py": "test_engine",
    "engine/own_calls.py": "test_engine_balance",
    "engine/session_polling.py": "test_engine",
    "monitoring/monitor.py": "test_integration_operate",
    "repair/delayed_index.py": "test_integration_waiting",
    "repair/redrive.py": "test_integration_repair",
    "repair/request_history.py": "test_integration_repair",
    "repair/skip.py": "test_integration_blocked",
    "runtime/monitoring_server.py": "test_integration_observe",
    "settings/base.py": "test_settings",
    "stream/admin.py": "test_integration_operations",
    "stream/aiokafka_connection.py": "test_integration_logins",
    "stream/aiokafka_rights.py": "test_integration_kafka_errors",
    "stream/held_records.py": "test_stream_lane",
    "stream/publisher.py": "test_stream_group_member",
    "stream/topics_admin.py": "test_integration_operations",
    "stream/transactions.py": "test_integration_offsets",
    "stream/wakeup_feed.py": "test_integration_webhooks",
    "stream/writer.py": "test_integration_client",
    "webhooks/producer.py": "test_integration_webhooks",
    "webhooks/service.py": "test_integration_webhooks",
    "worker/service.py": "test_integration_processor",
    "worker/supervisor.py": "test_integration_disturbances",
}


def test_what_shares_a_broker_of_its_own_is_found_for_one_worker() -> None:
    wanted = Counter(
        argument.arg
        for path in TESTS.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for argument in node.args.args
        if argument.arg in BROKERS
    )
    assert set(wanted) == set(BROKERS)
    assert Counter(broker_tests(ROOT / "tests" / "integration", ROOT).values()) == wanted


@cache
def _imports(path: Path) -> frozenset[Path]:
    """The files of ours that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    bases = [ROOT / folder / Path(*name.split(".")) for name in names for folder in (".", "tests")]
    return frozenset(file for base in bases for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file())


def _support(path: Path) -> set[Path]:
    """A test module and the modules of tests/ that it imports."""
    return {path, *(file for file in _imports(path) if file.is_relative_to(ROOT / "tests"))}


def _reached(path: Path) -> set[Path]:
    found: set[Path] = set()
    # an integration test starts processes as well, by commands that are imported by name
    left = {path, *((ROOT / "processor/cli").glob("*.py") if path.parent.name == "integration" else ())}
    while left:
        found |= left
        left = {file for known in left for file in _imports(known)} - found
    return found


def _module(path: Path) -> str:
    return path.relative_to(ROOT / "processor").as_posix()


def _named(path: Path) -> bool:
    return any(re.search(rf"(^|_){path.stem}(_|$)", name) for name in TESTS)


def _unheld(modules: list[Path]) -> list[str]:
    """Modules that no test is named after, that no unit or property test imports and that stand in no row."""
    supported = {file for test in TESTS.values() if test.parent.name in FAST for file in _support(test)}
    imported = {file for test in supported for file in _imports(test)}
    return [_module(path) for path in modules if not (_named(path) or path in imported or _module(path) in HELD_BY)]


def test_every_module_has_a_test_that_can_be_found() -> None:
    modules = [
        path
        for path in sorted((ROOT / "processor").rglob("*.py"))
        if _module(path).split("/")[0] not in ELSEWHERE and len(path.read_text().splitlines()) > LINES_MIN
    ]
    assert len(modules) > 80
    assert _unheld(modules) == [], "name a test module after it, import it in a unit test, or say in HELD_BY what holds it"


def test_a_module_without_a_test_is_noticed() -> None:
    assert _unheld([ROOT / "processor/stream/elsewhere.py", ROOT / "processor/stream/lane.py"]) == ["stream/elsewhere.py"]


def test_the_tests_that_hold_other_modules_reach_them() -> None:
    wrong = [module for module, test in HELD_BY.items() if test not in TESTS or ROOT / "processor" / module not in _reached(TESTS[test])]
    assert wrong == []
