"""Verification Processor.

The flow, in the order in which a record meets the code:

1. ``stream``    a *lane* owns one input partition: it reads a record and hands it to the engine;
2. ``contract``  bytes become a ``Request`` and a ``Hop``, or a ``Rejected`` that says what is wrong and where;
3. ``retry``     a record that is not yet due waits in the lane's delay queue and holds nothing else;
4. ``budget``    the request waits for a permit in every scope that its call counts in;
5. ``didit``     the call is made, and its answer becomes a verdict;
6. ``retry``     a verdict becomes a final result, a retry record with a due time, or a dead letter;
7. ``stream``    the lane publishes these outputs and the input offset in one Kafka transaction.

Beside this flow ``webhooks`` takes what Didit tells by itself, and publishes it to the events topic. For people there are
``observe`` (metrics, health, traces, logs), ``overview`` (how all replicas together stand), ``repair`` (dead letters get a new round,
which begins at 1) and ``page``, which shows both.

Read ``contract/records.py``, ``engine/engine.py``, ``stream/lane.py`` and ``stream/group_member.py`` in this order; the rest is detail.
Modules import downwards only: contract < didit, budget, retry < stream < engine < service < cli (tests/house holds it).
"""

__version__ = "0.1.0"
