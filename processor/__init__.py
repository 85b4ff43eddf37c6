"""Verification Processor: pushes identity verifications from Kafka through Didit's HTTP API.

Rooms, lowest first; a room imports only what stands above it here (``LAYERS`` in tests/house/test_house_rules.py)::

    bounds/      what a process may hold or compute at once: bytes, turns of the event loop
    clock        the wall clock and the budget's clock
    settings/    every setting, one module a group, read from the environment once
    contract/    what crosses topics: records, headers, schemas, codes, digests; how times are written
    observe/     metrics, health, traces, logs
    didit/       Didit's operations, calls, answers and what they mean
    budget/      permits over all replicas, the call journal, breakers
    retry/       when to try again; the queue of records that are not yet due
    files/       files that requests name: what may be read, and reading it
    stream/      Kafka: lanes, offsets, transactions, topics
    engine/      a record becomes outputs
    client/      for callers: ask and wait for answers (public)
    repair/      dead letters and delayed records: read, plan, redrive, discard, release
    monitoring/  all replicas together: backlog, owners, drain time, diagnosis
    console/     the operators' page
    verify/      the audit of an installation from its topics: records in, findings out
    runtime/     what every long-running process of ours needs
    webhooks/    the receiver of Didit's webhooks
    worker/      the processor process
    devkit/      a local Kafka and the demo
    simulator/   Didit as documented, for tests; imports nothing of ours
    cli/         commands, and how they print

The way of a record:

1. ``stream``    a *lane* owns one input partition: it reads a record and hands it to the engine;
2. ``contract``  bytes become a ``Request`` and a ``Hop``, or a ``Rejected`` that says what is wrong and where;
3. ``retry``     a record that is not yet due waits in the lane's delay queue and holds nothing else;
4. ``budget``    the request waits for a permit in every scope that its call counts in;
5. ``didit``     the call is made, and its answer becomes a verdict;
6. ``engine``    a verdict becomes a final result, a retry record with a due time, or a dead letter;
7. ``stream``    the lane publishes these outputs and the input offset in one Kafka transaction.

Read ``contract/records.py``, ``engine/engine.py``, ``stream/lane.py`` and ``stream/group_member.py`` in this order; the rest is detail.
docs/glossary.md defines the terms.
"""

__version__ = "0.3.0.dev0"
