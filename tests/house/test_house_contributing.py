"""CONTRIBUTING.md and SECURITY.md name files, make targets, tests and names that exist; the README leads to them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
SECURITY = (ROOT / "SECURITY.md").read_text()
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"\.?[\w.-]+(?:/[\w.-]*)+|[\w-]+\.(?:md|toml|py|json|yml|yaml)")
PRETENDED = {"schemas/input.iban.risk.v1.json", "dist/sbom.json"}  # an example; made by `make sbom`
NAMES = {  # what it calls by name, and where that stands
    "LAYERS": "tests/house/test_house_rules.py",
    "PURE": "tests/house/test_house_rules.py",
    "UNSHOWN": "tests/house/test_house_grafana.py",
    "PUBLISHED": "tests/unit/test_contract_codes.py",
    "CHECKS": "processor/simulator/checks/screening.py",
    "Idempotency": "processor/didit/operation.py",
    "carries_id": "processor/didit/operation.py",
    "LOOKUPS": "processor/didit/lookups.py",
    "Inputs.of": "tests/integration/test_integration_operations.py",
    "inputs": "tests/integration/test_integration_privacy.py",
    "_check()": "processor/didit/catalog.py",
    "_message()": "processor/didit/catalog.py",
    "_counter": "processor/observe/metrics.py",
    "_gauge": "processor/observe/metrics.py",
    "_histogram": "processor/observe/metrics.py",
    "run_virtual()": "tests/virtual_time.py",
    "running()": "tests/rig.py",
    "rig.until(...)": "tests/rig.py",
    "rig.judge()": "tests/rig.py",
    "full(n)": "tests/effort.py",
    "__version__": "processor/__init__.py",
}


def _code() -> set[str]:
    return set(CODE.findall(CONTRIBUTING))


def _paths() -> set[str]:
    blocks = " ".join(re.findall(r"```\n(.*?)```", CONTRIBUTING, re.DOTALL))
    return {word for word in [*_code(), *re.findall(r"tests/\S+\.py", blocks)] if PATH.fullmatch(word)}


def test_every_file_that_it_names_exists() -> None:
    found = _paths()
    assert len(found) > 40, "the pattern finds little"
    for name in found - PRETENDED:
        assert (ROOT / name).exists(), f"CONTRIBUTING.md names {name}"


def test_every_make_target_that_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for text in (CONTRIBUTING, SECURITY):
        named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
        assert named
        for target in named:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"there is no `make {target}`"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_it_uses_stands_where_it_says(name: str) -> None:
    assert f"`{name}`" in CONTRIBUTING, f"{name} is no longer named there: take it out of this list"
    bare = re.sub(r"\(.*", "", name).rpartition(".")[2]
    assert re.search(rf"\b{bare}\b\s*(?:\(|=|:)|class {bare}\b", (ROOT / NAMES[name]).read_text()), f"{name} is not in {NAMES[name]}"


def test_every_test_option_that_it_shows_selects_something() -> None:
    for path, word in re.findall(r"(tests/\S+\.py) -k (\w+)", CONTRIBUTING):
        assert re.search(rf"def test_\w*{word}", (ROOT / path).read_text()), f"-k {word} selects nothing of {path}"


def test_the_readme_leads_to_what_a_maintainer_needs() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in ("CONTRIBUTING.md", "SECURITY.md", "LICENSE", "CHANGELOG.md"):
        assert f"]({name})" in readme, name
