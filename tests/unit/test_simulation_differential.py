"""Random client programs: drawn alike each time, covering what is said of them, and compared step by step."""

from __future__ import annotations

from collections import Counter

from simulation.differential.compare import compare
from simulation.differential.program import draw_program


def test_a_seed_draws_the_same_program_each_time() -> None:
    assert draw_program(3) == draw_program(3) != draw_program(4)


def test_programs_do_everything_that_a_client_can() -> None:
    verbs = Counter(step.verb for seed in range(60) for step in draw_program(seed))
    assert set(verbs) == {
        "init", "append", "enlist", "enlist group", "offsets in transaction", "end", "look", "fetch", "by time", "delete records",
        "recreate", "round", "heartbeat", "commit", "leave", "replace", "committed", "describe", "sync", "send", "transact", "read",
        "fence",
    }  # fmt: skip
    assert set(Counter(step.verb for seed in range(60) for step in draw_program(seed, slow=True))) - set(verbs) == {"expire", "silence"}


def test_the_first_step_that_differs_is_named_with_those_before_it() -> None:
    real = {1: [["look", [1, 2]], ["end", (0, "x")], ["fetch", 3]], 2: [["look", 1]]}
    model = {"1": [["look", [1, 2]], ["end", [1, "x"]], ["fetch", 4]], "2": [["look", 1]]}
    first, second = compare([1, 2], real, model)
    assert (first.differs, second.differs) == (True, False)
    assert first.difference().splitlines() == [
        "seed 1, step 1:", '    ["look", [1, 2]]', '  real  ["end", [0, "x"]]', '  model ["end", [1, "x"]]',
    ]  # fmt: skip
    assert second.difference() == ""
    assert first.whole().count("\nR ") == 2


def test_a_program_that_ends_early_differs() -> None:
    [one] = compare([1], {1: [["look", 1], ["end", 0]]}, {"1": [["look", 1]]})
    assert "model null" in one.difference()
