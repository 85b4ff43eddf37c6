"""How long tries to sign in wait, and for whom."""

from __future__ import annotations

from processor.console.sign_in_tries import SignInTries


def wrong(tries: SignInTries, key: str, now: float) -> float | None:
    wait_s = tries.begin(key, now)
    if wait_s is not None:
        tries.failed(key, now)
    if wait_s:
        tries.end_wait(key)
    return wait_s


def test_a_few_are_free_then_each_wrong_one_makes_the_wait_longer_and_time_makes_it_shorter() -> None:
    tries = SignInTries()
    assert [wrong(tries, "a", 0.0) for _ in range(10)] == [0.0] * 5 + [0.5, 1.0, 2.0, 4.0, 4.0]
    assert wrong(tries, "a", 6.0) == 0.0, "one a second comes back"
    assert wrong(tries, "a", 6.0) == 0.5


def test_wrong_tokens_of_one_browser_cost_another_one_nothing_and_those_of_all_together_some_seconds_at_most() -> None:
    tries = SignInTries()
    for _ in range(15):
        wrong(tries, "stranger", 0.0)
    assert tries.begin("operator", 0.0) == 0.0
    for n in range(1000):
        assert wrong(tries, f"invented {n}", 0.0) is not None
    assert tries.begin("operator", 0.0) == 4.0, "not refused: it waits, and gets in"


def test_no_more_than_a_few_wait_so_guesses_are_a_handful_a_second() -> None:
    tries = SignInTries()
    for n in range(30):
        wrong(tries, "a" if n < 10 else f"k{n}", 0.0)
    assert [tries.begin("a", 0.0) for _ in range(5)] == [4.0] * 4 + [None]
    assert [tries.begin(f"k{n}", 0.0) for n in range(17)] == [4.0] * 16 + [None]
    tries.end_wait("a")
    assert tries.begin("late", 0.0) == 4.0


def test_what_is_remembered_is_bounded() -> None:
    tries = SignInTries()
    for n in range(1000):
        wrong(tries, str(n), float(n))
    assert len(vars(tries)["_left"]) == 256
    assert not vars(tries)["_waiting"]
