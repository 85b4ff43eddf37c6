"""What a world is made of: how many of everything, and how its processors are configured."""

from __future__ import annotations

from dataclasses import dataclass

_OPERATIONS = ("session.create", "session.create", "aml", "ip.risk", "email.send", "database_validation")


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a world. Times in seconds."""

    brokers: int = 3
    replicas: int = 3
    partitions: int = 3
    requests: int = 40
    every_s: float = 1.0  # between two requests, in the mean
    limit: int = 12
    window_s: float = 10.0
    memory_s: float = 3600.0
    drain_s: float = 10.0
    transaction_s: float = 25.0
    latency_s: float = 0.1  # of the API, in the median
    late_reply: float = 0.01  # rate of answers that come after ``hang_s``
    lost: float = 0.05  # rate of calls without an answer, or with a 503
    read_lag_s: float = 5.0
    timeout_s: float = 10.0  # of a call
    margin_s: float = 10.0  # Didit counts a call so long after its end at most
    wait_s: float = 15.0  # a call starts so long after its ask at most
    skew_s: float = 10.0  # the largest step of a broker's clock
    operations: tuple[str, ...] = _OPERATIONS
    caller_ahead_s: float = 0.0  # so far the caller's clock is ahead, which stamps the requests then (CreateTime)
    deadlines: float = 0.0  # rate of requests that expire, some of them soon
    theme: str = "mixed"
    installations: int = 1  # each with topics and a group of its own, on one key and one budget log
    beside: tuple[str, ...] = ()  # applications beside the default one, for which the same processors work
    one_name: bool = False  # all replicas have the same instance id, by mistake
    bulk: float = 0.0  # rate of requests that may wait
    queue_max: int = 100  # requests of an operation that wait in a process
    idle_s: float = 0.0  # between the first half of the requests and the second
    renew_s: float = 1200.0  # an idle lane commits again so often
    log_kept_s: float = 604_800.0  # what is older goes from the budget log when the brokers look
    bound_s: float = 300.0  # after the last disturbance every request has ended; `plan_of` adds what its calls may take
    receivers: int = 0  # of webhooks; with them people use their links
    attempts_max: int = 6
    delays_s: tuple[int, ...] = (1, 5, 20)  # of the delay topics
    certain: bool = False  # nothing in it is a reason for a doubt: all requests succeed
    steady: bool = False  # nothing in it is a reason for the end of a life
    mixed: bool = False  # each process has settings of its own, where they may differ
    vary: bool = False  # callers ask again, take back, have doubts repeated, break the contract
    client: bool = False  # the caller waits for its results, through the product's own client
    answer_again: bool = True  # processors publish a known result once more for who asks again
