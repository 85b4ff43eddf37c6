"""The planted faults of `make mutants` fit the product: each text stands where it is to be changed, and its tests are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tools.mutants.fault import Fault, Stale, planted
from tools.mutants.faults import FAULTS

ROOT = Path(__file__).parent.parent.parent
FAST = ("tests/unit/", "tests/property/", "tests/cases/")
PROMISES = set(re.findall(r"^## (G\d+)\.", (ROOT / "docs/guarantees.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_planted_fault_can_still_be_planted(fault: Fault) -> None:
    path = ROOT / "processor" / fault.file
    changed = planted(path.read_text(), fault)
    assert not isinstance(changed, Stale), f"the old text of {fault.id} stands {changed.found} times in {fault.file}: make it fit"
    ast.parse(changed)
    assert fault.old != fault.new
    assert fault.promise in PROMISES


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_the_tests_that_shall_see_it_are_there_and_fast(fault: Fault) -> None:
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert file.startswith(FAST)
        assert not name or re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_names_are_unique_and_who_is_called_equivalent_says_why() -> None:
    assert len({fault.id for fault in FAULTS}) == len(FAULTS) >= 62
    assert all(len(fault.equivalent) > 40 for fault in FAULTS if fault.equivalent)


def test_a_text_that_is_gone_or_there_twice_is_stale() -> None:
    fault = FAULTS[0]
    for text, count in (("", 0), (2 * fault.old, 2)):
        assert planted(text, fault) == Stale(fault, count)
    assert planted(f"x{fault.old}y", fault) == f"x{fault.new}y"
