"""How a partition is worked on."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from processor.settings.base import Group, Seconds

_HEADER_NAME = re.compile(r"[!-~]{1,64}")
_NOT_COPIED = ("vp-", "ce_", "kafka_", "__connect", "traceparent", "tracestate", "content-type")  # they have a meaning of their own


def _copied_name(name: str) -> str:
    low = name.lower()
    if not _HEADER_NAME.fullmatch(name) or low.startswith(_NOT_COPIED):
        raise ValueError(f"a header to copy is 1 to 64 visible ASCII characters, and begins with none of {', '.join(_NOT_COPIED)}")
    return low


class LaneSettings(Group):
    """How a partition is worked on, and how long everything may take. The defaults are derived in docs/architecture.md."""

    work_max: int = Field(
        200, ge=1, le=10_000, description="requests of one partition that are worked on at once: waiting for a permit, or in a call"
    )
    ahead_max: int = Field(20_000, ge=1, le=24_000, description="offsets read beyond the oldest unfinished one")
    ahead_bytes_max: int = Field(
        16 * 1024 * 1024,
        ge=65_536,
        description="memory for records that are read and not done, of one partition; a small one takes about 3 kB",
    )
    publish_pause_s: float = Field(
        0.1,
        ge=0,
        le=5,
        description="pause between two transactions of a partition, in which results are gathered, at 250 results a second or"
        " more; shorter at lower rates, and none up to 25 a second. Where transactions take longer than 10 ms the"
        " pause is about as long as they take",
    )
    publish_max: int = Field(500, ge=1, le=5000, description="most requests completed in one transaction")
    output_bytes_max: int = Field(
        2_000_000, ge=100_000, description="largest record that is published; at most max.message.bytes of the output topics"
    )
    answer_again: bool = Field(
        default=True,
        description="a duplicate of a request gets the known result once more, marked as a copy by the header `vp-copy-for`",
    )
    cloudevents_source: str = Field(
        "",
        pattern=r"^[!-~]{0,200}$",
        description="publish results as CloudEvents too (binary mode of the Kafka binding), with this text as `ce_source`: a "
        "URI reference that names this installation, e.g. `/kyc/eu`. Empty: no such headers",
    )
    dead_letter_headers: tuple[Literal["spring", "connect"], ...] = Field(
        (),
        description="JSON array of `spring`, `connect`: dead letters carry their reason under the header names of these tools"
        " too, beside `vp-...`",
    )
    copy_headers: tuple[Annotated[str, AfterValidator(_copied_name)], ...] = Field(
        (),
        max_length=10,
        description='JSON array of header names, e.g. `["correlation-id"]`: these headers of a request are copied to its '
        "results, retries and dead letters, up to 256 bytes each. They must hold no personal data: whoever reads "
        "these topics sees them",
    )
    session_timeout_s: Seconds = Field(
        10.0, description="session.timeout.ms: without heartbeats for this long Kafka assigns our partitions to other members"
    )
    heartbeat_s: Seconds = Field(2.0, description="interval of heartbeats")
    drain_s: Seconds = Field(10.0, description="how long a revoke or a stop waits for calls in flight")
    flush_s: Seconds = Field(5.0, description="how long it then waits for the last transactions")
    close_s: Seconds = Field(3.0, description="how long it then waits for each client to close")
    transaction_s: Seconds = Field(25.0, description="deadline of one transaction; the broker's own is 15 s later")
    restore_s: Seconds = Field(
        25.0, description="deadline of fencing the former owner, and of reading its offset once the partition has a leader"
    )
    start_s: Seconds = Field(60.0, description="deadline of joining the group")
    stall_s: Seconds = Field(120.0, description="if no poll has returned for this long, the Kafka clients are created again")

    @property
    def rebalance_timeout_s(self) -> float:
        """How long the broker must wait for our revoke: its parts, and a margin."""
        return self.heartbeat_s + self.drain_s + self.flush_s + self.close_s + 10.0

    @property
    def shutdown_s(self) -> float:
        """Hard limit of a stop after SIGTERM: the process exits by then, whatever hangs."""
        return self.drain_s + self.flush_s + 3 * self.close_s + 7.0
