"""Small client programs, drawn from a seed: what several clients do one after the other. Pure.

A program knows nothing of what the broker answers: who, what and which arguments. So it is the same against the model and against Kafka,
and what it leads to is left to them. Most of it is what clients rightly do; about a fifth is what they must not do.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

PARTITIONS = (("create", 0), ("create", 1), ("append", 0))  # topic (by the kind of its stamps) and partition
TRANSACTIONAL = {"former": "one", "heir": "one", "other": "two"}  # producer -> transactional id
GROUPS = ("dynamic", "static", "mixed")  # what their members are
BEYOND = 10_000  # an offset, or a stamp, past all that there is
FROM_END = -100  # FROM_END + n: n after the end
_HOW = ("again", "third last", "sixth last", "gap", "former epoch", "later epoch")  # what no producer that goes on does
_STAMPS = 60  # of records with the producer's time: 1 000 ms and up


class Step(NamedTuple):
    """Who does what. ``args``: numbers and words, so that a program can be printed and read back."""

    verb: str
    who: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.verb, self.who, *self.args))


def draw_program(seed: int, *, slow: bool = False) -> list[Step]:
    """The program of a seed. ``slow``: with what takes a broker seconds, as the time-out of a transaction or of a session."""
    program = _Program(random.Random(seed), slow=slow)
    lanes: list[tuple[Callable[[], None], int]] = [
        (program.transaction, program.draw.choice((1, 3, 6))),
        (program.sequence, program.draw.choice((0, 1, 3))),
        (program.group, program.draw.choice((0, 1, 3))),
        (program.log, program.draw.choice((1, 2))),
        (program.client, program.draw.choice((0, 1))),
    ]
    for _ in range(program.draw.randint(20, 45)):
        program.draw.choices([lane for lane, _ in lanes], [weight for _, weight in lanes])[0]()
    for partition in range(len(PARTITIONS)):
        program.add("fetch", "reader", partition, 0, 0)
        program.add("fetch", "reader", partition, 0, 1)
    program.add("look", "reader")
    return program.steps


class _Program:
    def __init__(self, draw: random.Random, *, slow: bool) -> None:
        self.draw, self.steps = draw, list[Step]()
        self._slow = slow
        self._begun: set[str] = set()

    def add(self, verb: str, who: str, *args: Any) -> None:
        self.steps.append(Step(verb, who, args))

    def _pick(self, *choices: tuple[str, int]) -> str:
        return self.draw.choices([name for name, _ in choices], [weight for _, weight in choices])[0]

    def _partition(self) -> int:
        return self.draw.randrange(len(PARTITIONS))

    def _stamp(self) -> int:
        return 1_000 + self.draw.randrange(_STAMPS)

    def _offset(self) -> int:
        return self.draw.choice((self.draw.randrange(12), self.draw.randrange(40), FROM_END + self.draw.randint(-6, 1), BEYOND))

    def transaction(self) -> None:
        """Part of a transaction or the whole of one."""
        who = self.draw.choice(sorted(TRANSACTIONAL))
        if who not in self._begun:
            self._init(who)
            return
        verb = self._pick(
            ("whole", 8), ("init", 2), ("stale", 1), ("enlist", 3), ("append", 4), ("enlist group", 1), ("offsets", 2), ("end", 4),
            ("expire", 1),
        )  # fmt: skip
        whole = {"whole": self._whole, "init": self._init, "stale": self._stale}
        if verb in whole:
            whole[verb](who)
        elif verb == "enlist":
            self.add("enlist", who, self._partition(), *([BEYOND] if self.draw.random() < 0.1 else []))
        elif verb == "append":
            self._append(who, self._partition())
        elif verb == "enlist group":
            self.add("enlist group", who, self.draw.choice(GROUPS))
        elif verb == "offsets":
            self.add("offsets in transaction", who, self.draw.choice(GROUPS), self._partition(), self.draw.randrange(40))
        elif verb == "end":
            self.add("end", who, self.draw.choice(("commit", "abort")))
        elif self._slow:
            self.add("expire", who, self._partition())

    def _init(self, who: str) -> None:
        self._begun.add(who)
        self.add("init", who)

    def _whole(self, who: str) -> None:
        chosen = self.draw.sample(range(len(PARTITIONS)), self.draw.randint(1, 2))
        for partition in chosen:
            self.add("enlist", who, partition)
        for partition in chosen:
            self._append(who, partition)
        if self.draw.random() < 0.4:
            group = self.draw.choice(GROUPS)
            self.add("enlist group", who, group)
            self.add("offsets in transaction", who, group, self._partition(), self.draw.randrange(40))
        if self.draw.random() < 0.3:
            self.add("look", "reader")
        self.add("end", who, self._pick(("commit", 2), ("abort", 1)))

    def _stale(self, who: str) -> None:
        """A batch of a transaction that has ended comes again, and then the next transaction."""
        partition = self._partition()
        for how in ("next", "again"):
            self.add("enlist", who, partition)
            self.add("append", who, partition, how, 1, self._stamp())
            self.add("end", who, self._pick(("commit", 1), ("abort", 1)))
            self.add("append", who, partition, self.draw.choice(_HOW), 1, self._stamp())
        self.add("enlist", who, partition)
        self.add("append", who, partition, "next", 1, self._stamp())

    def _append(self, who: str, partition: int) -> None:
        how = self._pick(("next", 8), *((how, 1) for how in _HOW))
        self.add("append", who, partition, how, self.draw.randint(1, 3), self._stamp())

    def sequence(self) -> None:
        """Appends of a producer that has no transactions."""
        who = self.draw.choice(("idempotent", "second", "plain"))
        if who != "plain" and who not in self._begun:
            self._init(who)
        partition = self._partition()
        for _ in range(self.draw.choice((1, 1, 3, 6))):
            self._append(who, partition)

    def group(self) -> None:
        """Something that a group or one of its members does."""
        group = self.draw.choice(GROUPS)
        member = f"{group}/{self.draw.randrange(3)}"
        verb = self._pick(
            ("round", 5), ("heartbeat", 3), ("commit", 4), ("leave", 2), ("replace", 2), ("committed", 2), ("describe", 2), ("sync", 1),
            ("silence", 1),
        )  # fmt: skip
        if verb == "round":
            count = self.draw.randint(1, 2)
            self.add("round", group, *sorted(self.draw.sample(range(3), count)))
        elif verb in ("heartbeat", "sync"):
            self.add(verb, member, self._whose())
        elif verb == "commit":
            self.add("commit", member, self._whose(), self._partition(), self.draw.randrange(40))
        elif verb in ("leave", "replace"):
            self.add(verb, member)
        elif verb in ("committed", "describe"):
            self.add(verb, group)
        elif self._slow:
            self.add("silence", group)

    def _whose(self) -> str:
        return self._pick(("own", 6), ("former generation", 2), ("former id", 1), ("nobody", 1))

    def log(self) -> None:
        """Something about offsets, times and topics."""
        partition = self._partition()
        verb = self._pick(("look", 4), ("fetch", 5), ("by time", 6), ("delete records", 2), ("recreate", 1), ("delete records to end", 1))
        if verb == "look":
            self.add("look", "reader")
        elif verb == "fetch":
            self.add("fetch", "reader", partition, self._offset(), self.draw.randrange(2))
        elif verb == "by time":
            self.add("by time", "reader", self.draw.randrange(2), self.draw.choice((self._stamp(), 0, BEYOND)), self.draw.randrange(2))
        elif verb == "delete records":
            self.add("delete records", "admin", partition, self._offset())
        elif verb == "delete records to end":
            self.add("delete records", "admin", partition, -1)
        else:
            self.add("recreate", "admin", self.draw.choice(("create", "append")))

    def client(self) -> None:
        """Something that aiokafka's own producer or consumer does."""
        verb = self._pick(("send", 4), ("transact", 4), ("read", 3), ("fence", 2))
        if verb == "send":
            self.add("send", self.draw.choice(("aiokafka plain", "aiokafka idempotent")), self._partition(), self._stamp())
        elif verb == "transact":
            self.add("transact", "aiokafka", self._partition(), self._stamp(), self._pick(("commit", 2), ("abort", 1), ("offsets", 1)))
        elif verb == "read":
            where = self.draw.choice(("earliest", "latest", "none"))
            self.add("read", "aiokafka", self._partition(), self._offset(), where, self.draw.randrange(2))
        else:
            self.add("fence", "aiokafka", self._partition(), self._stamp())
