"""House rules that a reader relies on: imports go downwards, functions are short, pure parts are pure, nothing leaks out."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted((ROOT / "processor").rglob("*.py"))
# what each room may import of ours; siblings do not know each other
MAY_IMPORT = {
    "setting_groups": set(),
    "stopping": set(),
    "settings": {"setting_groups"},
    "contract": {"contract"},
    "didit": {"didit", "contract", "settings", ""},
    "budget": {"budget", "settings"},
    "retry": {"retry", "contract", "settings"},
    "stream": {"stream", "observe", "retry", "budget", "contract", "settings"},
    "overview": {"overview", "repair", "stream", "budget", "didit", "contract", "settings"},
    "repair": {"clock", "repair", "stream", "budget", "didit", "retry", "contract", "settings"},
    "page": {"page", "overview", "repair", "budget", "settings", "setting_groups"},
    "outcomes": {"contract", "didit", "retry", "settings"},
    "images": {"images", "didit", "settings"},
    "caller": {"observe", "images", "outcomes", "stream", "budget", "didit", "contract"},
    "following": {"caller", "outcomes", "stream", "budget", "didit", "contract", "setting_groups"},
    "engine": {"observe", "following", "caller", "outcomes", "stream", "retry", "budget", "didit", "contract", "settings"},
    "listening": set(),
    "clock": set(),
    "pulse": {"observe", "stream", "budget", "didit", "settings"},
    "lives": {"pulse", "observe", "stream", "budget"},
    "watched": {"page", "listening", "pulse", "observe", "settings", ""},
    "budget_rules": {"budget", "settings"},
    "looking": {"clock", "pulse", "overview", "stream", "budget", "budget_rules", "settings"},
    "surveying": {"clock", "looking", "pulse", "overview", "observe", "stream", "budget"},
    "operations": {"clock", "page", "looking", "overview", "repair", "stream", "settings"},
    "status_page": {"overview"},
    "cli_watch": {"", "status_page", "looking", "overview", "cli_people", "settings"},
    "service": {
        "watched",
        "clock",
        "operations",
        "surveying",
        "looking",
        "budget_rules",
        "lives",
        "pulse",
        "observe",
        "stopping",
        "webhooks",
        "images",
        "engine",
        "stream",
        "budget",
        "didit",
        "settings",
    },
    "observe": {"", "observe", "contract", "settings"},
    "webhooks": {"stopping", "listening", "watched", "pulse", "observe", "webhooks", "stream", "contract", "settings"},
    "traffic": {"stream", "contract", "settings"},
    "batch": {"traffic", "stream", "contract", "didit", "settings"},
    "onboarding": set(),
    "cli_people": {"batch", "onboarding", "traffic", "settings"},
    "cli_options": {"clock", "cli_people", "repair", "settings"},
    "cli_repair": {"clock", "", "cli_options", "cli_people", "repair", "contract"},
    "repair_page": {"overview", "repair", "contract"},
    "client": {"traffic", "stream", "contract", "settings"},
    "simulator": {"simulator"},
    "local": {"local", "traffic", "stream", "contract", "settings"},
    "settings_page": {"settings"},
    "metrics_page": {"observe"},
    "budget_page": {"budget"},
    "waiting_page": {"overview", "repair"},
    "cli_waiting": {"", "cli_options", "clock", "cli_people", "waiting_page", "overview", "repair", "contract", "settings"},
    "cli": {
        "",
        "cli_people",
        "cli_repair",
        "cli_waiting",
        "cli_watch",
        "looking",
        "budget",
        "budget_page",
        "settings",
        "observe",
        "service",
        "stream",
        "traffic",
        "simulator",
        "local",
        "webhooks",
    },
    "__main__": {"cli"},
    "__init__": set(),
}
PURE = [
    "contract",
    "didit/answers.py",
    "didit/follow.py",
    "stream/hints.py",
    "stream/releases.py",
    "didit/bodies.py",
    "didit/calls.py",
    "didit/catalog.py",
    "didit/reconcile.py",
    "didit/retry_after.py",
    "didit/verdicts.py",
    "budget/classes.py",
    "budget/circuits.py",
    "budget/journal.py",
    "budget/log_records.py",
    "budget/notices.py",
    "budget/overrun.py",
    "budget/permits.py",
    "budget/state.py",
    "budget/view.py",
    "overview/history.py",
    "overview/model.py",
    "overview/words.py",
    "overview/drain.py",
    "repair/asking.py",
    "repair/letters.py",
    "page/chart.py",
    "page/forms.py",
    "page/ports.py",
    "page/summary.py",
    "page/wording.py",
    "repair/model.py",
    "repair/plan.py",
    "repair/steps.py",
    "overview/waiting.py",
    "repair/waiting_records.py",
    "budget/windows.py",
    "retry",
    "stream/ledger.py",
    "stream/resume.py",
    "stream/topics.py",
    "outcomes.py",
    "waiting_page.py",
    "images/rules.py",
    "webhooks/canonical.py",
    "webhooks/events.py",
    "webhooks/memory.py",
    "webhooks/signatures.py",
    "simulator/accounts.py",
    "simulator/applications.py",
    "simulator/behaviour.py",
    "simulator/checks",
    "simulator/decisions.py",
    "simulator/endpoints",
    "simulator/exchange.py",
    "simulator/features.py",
    "simulator/limits.py",
    "simulator/multipart.py",
    "simulator/options.py",
    "simulator/report.py",
    "simulator/routes.py",
    "simulator/scenarios.py",
    "simulator/session.py",
    "simulator/sessions.py",
    "simulator/stamps.py",
    "simulator/state.py",
    "simulator/statuses.py",
    "simulator/tokens.py",
    "simulator/validation.py",
    "simulator/webhooks.py",
    "local/judge.py",
    "local/load.py",
]
IMPURE_CALLS = re.compile(
    r"time\.(time|monotonic|sleep)|asyncio\.sleep|random\.(random|uniform|choice)\(|datetime\.now|open\(|get_running_loop"
)
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}


def _room(path: Path) -> str:
    parts = path.relative_to(ROOT / "processor").with_suffix("").parts
    return parts[0]


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "processor":
            names = [node.module]
        found |= {[*name.split("."), ""][1] for name in names if name.split(".")[0] == "processor"}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards_only(path: Path) -> None:
    assert _imports(path) <= MAY_IMPORT[_room(path)], f"{path}: {_imports(path) - MAY_IMPORT[_room(path)]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= 70, f"{path}:{node.lineno} {node.name}"
    assert path.stem not in BANNED_NAMES


def test_pure_modules_have_no_clock_no_draw_and_no_io() -> None:
    for name in PURE:
        target = ROOT / "processor" / name
        assert target.exists(), name
        for path in [target] if target.is_file() else sorted(target.glob("*.py")):
            if path.name == "schemas.py":
                continue  # reads its schemas, once
            assert not IMPURE_CALLS.search(path.read_text()), path


def test_no_task_is_fired_and_forgotten() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func)
                assert not called.endswith(("create_task", "ensure_future")), f"{path}:{node.lineno}"


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
            if "# noqa" in line and "PLC0415" not in line:
                assert " - " in line.split("# noqa", 1)[1], f"{path}:{number}: a noqa without its reason"
