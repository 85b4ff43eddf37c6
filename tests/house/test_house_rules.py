"""House rules that a reader relies on: imports go downwards, functions are short, pure parts are pure, nothing leaks out."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest

from processor.settings import Settings

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted((ROOT / "processor").rglob("*.py"))
# lowest first: a room may import the rooms of the lines above it, and no other. Rooms of one line do not know each other
LAYERS = [
    ["", "bounds", "clock", "settings"],  # "" is the package itself: its version
    ["contract"],
    ["observe", "didit", "budget", "retry"],
    ["files"],
    ["stream"],
    ["engine", "client", "repair"],
    ["monitoring"],
    ["console", "verify"],
    ["runtime"],
    ["webhooks"],
    ["worker"],
    ["devkit", "simulator"],
    ["cli"],
    ["__main__"],
]
# and what a room does not know although it lies below: what it keeps apart would grow together
MUST_NOT_KNOW = {
    "stream": ["didit", "files"],
    "engine": ["client", "repair"],
    "console": ["stream", "didit", "engine", "client"],
    "verify": ["engine", "client", "monitoring"],
    "webhooks": ["didit", "budget", "engine", "repair", "monitoring", "console"],
    "devkit": ["worker", "webhooks", "engine", "budget", "didit"],
    "simulator": ["*"],  # it stands alone
}
PURE = [
    "contract",
    "client/cells.py",
    "client/table.py",
    "didit/account_checks.py",
    "didit/answers.py",
    "didit/follow.py",
    "stream/wakeups.py",
    "stream/fetch_pace.py",
    "stream/cancels.py",
    "stream/lifetimes.py",
    "stream/releases.py",
    "stream/waiting_records.py",
    "stream/rights.py",
    "stream/acl_table.py",
    "didit/bodies.py",
    "didit/calls.py",
    "didit/catalog.py",
    "didit/check_traces.py",
    "didit/operation.py",
    "didit/operations_business.py",
    "didit/operations_transactions.py",
    "bounds/gathering.py",
    "didit/lookups.py",
    "didit/operations_management.py",
    "didit/reconcile.py",
    "didit/reconcile_transactions.py",
    "didit/retry_after.py",
    "didit/verdicts.py",
    "files/media.py",
    "budget/ask_states.py",
    "budget/fair_queue.py",
    "budget/finished_records.py",
    "budget/circuit_breaker.py",
    "budget/call_journal.py",
    "budget/log_records.py",
    "budget/alerts.py",
    "budget/limit_audit.py",
    "budget/permits.py",
    "budget/replica_facts.py",
    "budget/replicas.py",
    "budget/state.py",
    "budget/view.py",
    "monitoring/application_lines.py",
    "monitoring/history.py",
    "monitoring/latency.py",
    "monitoring/replica_views.py",
    "monitoring/model.py",
    "monitoring/formatting.py",
    "monitoring/drain.py",
    "monitoring/blocked.py",
    "monitoring/diagnosis.py",
    "monitoring/diagnosis_text.py",
    "repair/parsing.py",
    "repair/dead_letter.py",
    "console/chart.py",
    "console/forms.py",
    "console/ports.py",
    "console/summary.py",
    "console/runbooks.py",
    "console/trends.py",
    "repair/recent_result.py",
    "console/filters.py",
    "console/sign_in_tries.py",
    "repair/model.py",
    "repair/person.py",
    "repair/plan.py",
    "repair/history_steps.py",
    "monitoring/delayed_view.py",
    "repair/delayed.py",
    "budget/log_name.py",
    "budget/windows.py",
    "retry",
    "stream/offsets.py",
    "stream/publish_pace.py",
    "stream/start_offset.py",
    "stream/topics.py",
    "engine/outputs.py",
    "runtime/connections.py",
    "cli/render_retry.py",
    "client/errors.py",
    "client/requests.py",
    "client/result_router.py",
    "client/results.py",
    "files/rules.py",
    "webhooks/canonical.py",
    "webhooks/events.py",
    "webhooks/dedup.py",
    "webhooks/refusals.py",
    "webhooks/signatures.py",
    "simulator/accounts.py",
    "simulator/applications.py",
    "simulator/behaviour.py",
    "simulator/billing.py",
    "simulator/checks",
    "simulator/companies.py",
    "simulator/decisions.py",
    "simulator/destinations.py",
    "simulator/pages.py",
    "simulator/endpoints",
    "simulator/member_rules.py",
    "simulator/messages.py",
    "simulator/features.py",
    "simulator/ledger_checks.py",
    "simulator/limits.py",
    "simulator/multipart.py",
    "simulator/options.py",
    "simulator/random_ids.py",
    "simulator/request_members.py",
    "simulator/report.py",
    "simulator/routes.py",
    "simulator/scenarios.py",
    "simulator/session.py",
    "simulator/sessions.py",
    "simulator/timestamps.py",
    "simulator/state.py",
    "simulator/statuses.py",
    "simulator/tokens.py",
    "simulator/travel_rule.py",
    "simulator/validation.py",
    "simulator/webhooks.py",
    "simulator/workflows.py",
    "devkit/verifier.py",
    "verify/bills.py",
    "verify/facts.py",
    "verify/findings.py",
    "verify/intake.py",
    "verify/judge.py",
    "verify/log_audit.py",
    "verify/report.py",
    "verify/waiting.py",
    "devkit/workload.py",
]
IMPURE_CALLS = re.compile(
    r"time\.(time|monotonic|sleep)|asyncio\.sleep|random\.(random|uniform|choice)\(|datetime\.now|open\(|get_running_loop"
)
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _room(path: Path) -> str:
    first = path.relative_to(ROOT / "processor").with_suffix("").parts[0]
    return "" if first == "__init__" else first


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(_tree(path)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "processor":
            names = [node.module]
        found |= {[*name.split("."), ""][1] for name in names if name.split(".")[0] == "processor"}
    return found


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _modules_imported(source: str, known: set[str]) -> set[str]:
    """Modules of ours that a module imports: at its top, in a function, or for types alone."""
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                imported.add(below if below in known else node.module)
    return imported & known


def find_cycle(graph: Mapping[str, set[str]]) -> list[str] | None:
    """One cycle of a graph, its first node repeated at its end; None if there is none."""
    done: set[str] = set()

    def search(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node not in done:
            for target in sorted(graph.get(node, ())):
                if (cycle := search(target, [*path, node])) is not None:
                    return cycle
            done.add(node)
        return None

    return next((cycle for node in sorted(graph) if (cycle := search(node, [])) is not None), None)


LAYER_OF = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards_only(path: Path) -> None:
    room = _room(path)
    for other in _imports(path) - {room}:
        assert LAYER_OF[other] < LAYER_OF[room], f"{path} ({room}) imports {other}, which is not below it"
        assert not {"*", other} & set(MUST_NOT_KNOW.get(room, ())), f"{path}: {room} must not know {other}"


def test_the_architecture_page_shows_these_rows() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().split("## Who imports whom", 1)[1].split("\n## ", 1)[0]
    rows = [re.findall(r"`(\w+)`", rooms) for rooms in re.findall(r"^\| \d+ \| (.+) \|$", page, re.MULTILINE)]
    assert rows == [[room for room in row if room] for row in LAYERS[:-1]]  # the last row is the entry, which is no room


@pytest.mark.parametrize("room", sorted(LAYER_OF))
def test_no_module_is_part_of_an_import_cycle(room: str) -> None:
    """Between rooms the layers hold it. An import inside a function counts: it hides a cycle, and does not remove it."""
    inside = {_module(path): path for path in MODULES if _room(path) == room}
    cycle = find_cycle({name: _modules_imported(path.read_text(), set(inside)) for name, path in inside.items()})
    assert cycle is None, f"import cycle: {' -> '.join(cycle or [])}"


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, None),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, ["a", "b", "c", "a"]),
    ],
)
def test_a_cycle_is_found_wherever_it_is(graph: dict[str, set[str]], cycle: list[str] | None) -> None:
    assert find_cycle(graph) == cycle


def test_an_import_inside_a_function_counts() -> None:
    known = {"processor.clock", "processor.retry", "processor.retry.policy", "processor.files.fetch"}
    source = """
import processor.clock
from processor.retry import policy

def late():
    from processor.files.fetch import fetch
    import json
"""
    assert _modules_imported(source, known) == {"processor.clock", "processor.retry.policy", "processor.files.fetch"}


# module: why it imports aiokafka outside of stream/. Meant to stay empty
MAY_IMPORT_AIOKAFKA: dict[str, str] = {}


def test_aiokafka_is_imported_in_the_stream_only() -> None:
    """So that its errors have one border, and its clients one place where they are built."""
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == "aiokafka" for name in names) and _room(path) != "stream":
                found.add(str(path.relative_to(ROOT / "processor")))
    assert found == set(MAY_IMPORT_AIOKAFKA)


def test_only_one_module_subclasses_or_calls_the_client_classes_of_aiokafka() -> None:
    """Whoever builds one of aiokafka's own would make topics by asking, and stop at a header name that is not UTF-8."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called.rsplit(".", 1)[-1] not in {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "AIOKafkaClient"}, path


def test_the_root_holds_rooms_and_nothing_else() -> None:
    assert {p.name for p in (ROOT / "processor").glob("*.py")} == {"__init__.py", "__main__.py", "clock.py"}
    assert set(LAYER_OF) - {""} == {
        p.stem for p in (ROOT / "processor").iterdir() if p.name not in ("__init__.py", "__pycache__", "py.typed")
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= 70, f"{path}:{node.lineno} {node.name}"
    assert path.stem not in BANNED_NAMES


def _classes(paths: Iterable[Path]) -> set[str]:
    return {node.name for path in paths for node in ast.walk(_tree(path)) if isinstance(node, ast.ClassDef)}


def test_a_class_of_the_simulator_shares_its_name_with_no_other_class() -> None:
    """Both are read side by side in tests and in the demo."""
    inside = [path for path in MODULES if _room(path) == "simulator"]
    assert _classes(inside) & _classes(set(MODULES) - set(inside)) == set()


def test_pure_modules_have_no_clock_no_draw_and_no_io() -> None:
    for name in PURE:
        target = ROOT / "processor" / name
        assert target.exists(), name
        for path in [target] if target.is_file() else sorted(target.glob("*.py")):
            if path.name == "schemas.py":
                continue  # reads its schemas, once
            assert not IMPURE_CALLS.search(path.read_text()), path


STARTS = ("create_task", "ensure_future")


def _last(node: ast.AST) -> str:
    """``task`` of ``task``, ``self.task``, ``work.task``, ``self.tasks[name]``; else empty."""
    if isinstance(node, ast.Subscript):
        return _last(node.value)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


Functions = Mapping[str, ast.FunctionDef | ast.AsyncFunctionDef]


def _reads_outcome(scope: ast.AST, names: set[str], functions: Functions) -> bool:
    """Whether what a task of these names came to is read: awaited, asked for, or looked at by a callback."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Await) and _last(node.value) in names:
            return True
        if isinstance(node, ast.Attribute) and node.attr in {"result", "exception"} and _last(node.value) in names:
            return True
        if isinstance(node, ast.Call) and _call_reads(node, names, functions):
            return True
    return False


def _call_reads(call: ast.Call, names: set[str], functions: Functions) -> bool:
    """Whether a call looks at the outcome: a callback, or a function of the same module that is given the task."""
    name = _last(call.func)
    if name == "add_done_callback":
        called = [functions[_last(part)] for part in ast.walk(call.args[0]) if _last(part) in functions]
        read = any(isinstance(n, ast.Attribute) and n.attr in {"result", "exception"} for f in called for n in ast.walk(f))
        return read and _last(getattr(call.func, "value", call)) in names
    given = [number for number, argument in enumerate(call.args) if _last(argument) in names]
    if not given or name == "end_task":  # that of ``stream.clients``
        return bool(given)
    taken = [a.arg for a in functions[name].args.args if a.arg != "self"] if name in functions else []
    return any(_reads_outcome(functions[name], {taken[number]}, functions) for number in given if number < len(taken))


def _unwatched(source: str) -> list[int]:
    """Lines that start a task whose error nobody would see. One of a TaskGroup is watched by it."""
    tree = ast.parse(source)
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    groups = {
        _last(item.optional_vars)
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if item.optional_vars is not None and ast.unparse(item.context_expr).endswith("TaskGroup()")
    }
    found = []
    for node in ast.walk(tree):
        if (
            not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith(STARTS))
            or _last(getattr(node.func, "value", node)) in groups
        ):
            continue
        bound = parents[node]
        targets = bound.targets if isinstance(bound, ast.Assign) else [bound.target] if isinstance(bound, ast.AnnAssign) else []
        scope: ast.AST = bound
        kept = any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets)
        while not isinstance(scope, ast.Module | (ast.ClassDef if kept else ast.FunctionDef | ast.AsyncFunctionDef)):
            scope = parents[scope]
        if not _reads_outcome(scope, {_last(target) for target in targets} - {""}, functions):
            found.append(node.lineno)
    return found


def test_no_task_is_fired_and_forgotten() -> None:
    for path in MODULES:
        assert not _unwatched(path.read_text()), f"{path}: nobody would see that these tasks fail: await them, or read their outcome"


@pytest.mark.parametrize(
    "source",
    [
        "async def f():\n    create_task(g())",
        "async def f():\n    tasks = {create_task(g())}\n    await asyncio.wait(tasks)",
        "async def f():\n    await asyncio.wait({ensure_future(g())}, timeout=3)",
        "async def f():\n    task = create_task(g())\n    tasks.add(task)\n    task.add_done_callback(tasks.discard)",
        "async def f():\n    task = create_task(g())\n    task.cancel()\n    await asyncio.wait({task})",
        (
            "class C:\n"
            "    def f(self):\n"
            "        self.t = create_task(g())\n"
            "        self.t.add_done_callback(self.h)\n"
            "    def h(self, t):\n"
            "        self.n += 1"
        ),
        (
            "class C:\n"
            "    async def f(self):\n"
            "        t = create_task(g())\n"
            "        await self.h(t)\n"
            "    async def h(self, t):\n"
            "        await wait({t})"
        ),
        "async def f():\n    return create_task(g())",
    ],
)
def test_a_task_that_nobody_watches_is_found(source: str) -> None:
    assert _unwatched(source)


@pytest.mark.parametrize(
    "source",
    [
        "async def f():\n    async with asyncio.TaskGroup() as group:\n        group.create_task(g())",
        "async def f():\n    task = create_task(g())\n    await task",
        "async def f():\n    task = create_task(g())\n    await asyncio.wait({task})\n    return task.result()",
        "async def f():\n    task = create_task(g())\n    await aiokafka_stop.end_task(task, 1.0)",
        (
            "class C:\n"
            "    def f(self):\n"
            "        t = create_task(g())\n"
            "        t.add_done_callback(lambda t: self.h(t))\n"
            "    def h(self, t):\n"
            "        t.exception()"
        ),
        (
            "class C:\n"
            "    async def f(self):\n"
            "        t = create_task(g())\n"
            "        await self.h(1, t)\n"
            "    async def h(self, n, t):\n"
            "        t.result()"
        ),
    ],
)
def test_a_task_that_somebody_watches_is_not(source: str) -> None:
    assert not _unwatched(source)


def test_every_metric_is_set_and_every_setting_is_read() -> None:
    texts = {path: path.read_text() for path in MODULES}
    table = ROOT / "processor" / "observe" / "metrics.py"
    outside = "".join(text for path, text in texts.items() if path != table)
    for name in re.findall(r"^([A-Z_]+) = _(?:process_)?(?:counter|gauge|histogram)\(", texts[table], re.MULTILINE):
        assert re.search(rf"\b{name}\b", outside), f"nothing sets the metric {name} of {table.name}"
    for group, field in Settings.model_fields.items():
        for name in getattr(field.annotation, "model_fields", {}):
            assert re.search(rf"\.{name}\b", "".join(texts.values())), f"nothing reads VP_{group.upper()}__{name.upper()}"


def _tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = done.stdout.split() if done.returncode == 0 else [str(p.relative_to(ROOT)) for p in (ROOT / "processor").rglob("*.py")]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_registry_host_and_no_path_of_this_machine_in_the_repository() -> None:
    hosts = [
        "py" + "pi.org",
        "pythonhosted" + ".org",
        "repo1.maven" + ".org",
        "registry.npm" + "js.org",
        "deb.debian" + ".org",
        "crates" + ".io",
    ]
    places = [str(ROOT.parent) + "/", str(Path.home()) + "/"]
    for path in _tracked():
        text = path.read_bytes().decode(errors="ignore")
        for word in [*hosts, *(p for p in places if len(p) > 3)]:
            assert word not in text, f"{path.relative_to(ROOT)} names {word}"


def test_lock_files_are_hashed_and_name_no_host() -> None:
    for path in ROOT.glob("requirements*.lock"):
        text = path.read_text()
        assert "://" not in text, path
        assert text.count("--hash=sha256:") >= len(re.findall(r"^[a-z0-9].*==", text, re.MULTILINE)) > 0, path


def test_every_ignored_rule_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().split("ignore = [", 1)[1].split("]", 1)[0].splitlines()
    for line in filter(str.strip, lines):
        assert "#" in line, line
    for path in MODULES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if "# noqa" in line:
                assert " - " in line.split("# noqa", 1)[1], f"{path}:{number}: a noqa without its reason"
