"""The topics: their names, what they must be like, and what is wrong with them. Pure; ``topics_admin`` acts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from processor.contract.amounts import count
from processor.contract.records import Output, OutputKind
from processor.contract.times import is_duration, short_duration
from processor.settings import DEFAULT_APPLICATION, Settings

_DAY_S = 86_400
_REQUEST_BYTES_MAX = 1_048_588  # Kafka's default of max.message.bytes
_DEAD_LETTER_RETENTION_S = 14 * _DAY_S
_SEGMENT_S = _DAY_S  # Kafka deletes whole segments: a record is there for so much longer than its retention
_DEAD_LETTER_RETENTION_S_MIN = 3 * _DAY_S  # somebody must be able to look after a weekend
_CODECS = frozenset({"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"})  # what our readers read
_CLOCK_MS_MIN = 3_600_000  # Kafka's default of message.timestamp.after.max.ms
_LOG_ENTRY_BYTES_MAX = 131_072  # of the budget log: records that are sent together, and the last one of them
PAUSES_PARTITION = 0  # of the controls topic: no other is written or read, so that pauses are one order also after one was added
_MARGIN_BYTES = 65_536  # our headers, beside the original record


@dataclass(frozen=True)
class TopicNames:
    """All names, from the prefix. Each record asks for some: they are made once."""

    prefix: str
    delays_s: tuple[int, ...]
    budget: str  # the budget log: shared by everything that uses the same API key
    own_results: str | None = None  # where results go, if not to the topic of that name
    applications: tuple[str, ...] = ()  # whose requests come by the common topic, and are handed on

    @cached_property
    def requests(self) -> str:
        """What callers publish to."""
        return f"{self.prefix}.requests"

    @cached_property
    def results(self) -> str:
        """What callers read from."""
        return self.own_results or f"{self.prefix}.results"

    @cached_property
    def dead_letters(self) -> str:
        """What cannot succeed, with the reason in the headers."""
        return f"{self.prefix}.dead-letters"

    @cached_property
    def events(self) -> str:
        """What Didit's webhooks say, keyed by session."""
        return f"{self.prefix}.events"

    @cached_property
    def repairs(self) -> str:
        """What people have done about dead letters and waiting requests; one partition."""
        return f"{self.prefix}.repairs"

    @cached_property
    def controls(self) -> str:
        """What operators have paused; one partition, kept for ever."""
        return f"{self.prefix}.controls"

    def requests_of(self, application: str) -> str:
        """What requests of another application are handed on to."""
        return f"{self.prefix}.{application}.requests"

    def retry(self, delay_s: int) -> str:
        """The delay topic of a tier."""
        return f"{self.prefix}.retry.{short_duration(delay_s)}"

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Every topic that lanes read."""
        return (self.requests, *(self.retry(delay_s) for delay_s in self.delays_s))

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Every topic that lanes write to and do not read, but for the repairs."""
        return (self.results, self.dead_letters)

    @property
    def records_kept(self) -> tuple[str, ...]:
        """What the work needs beside them: the budget log, and what people have done."""
        return (self.budget, self.repairs, self.controls)

    def of(self, output: Output) -> str:
        """Where an output goes.

        Raises:
            ValueError: for a retry output without a tier of ours, or an application that is not known.
        """
        if output.kind is OutputKind.FORWARD:
            if output.application not in self.applications:
                raise ValueError("no such application")
            return self.requests_of(str(output.application))
        if output.kind is OutputKind.RESULT:
            return self.results
        if output.kind is OutputKind.DEAD_LETTER:
            return self.dead_letters
        if output.kind is OutputKind.REPAIR:
            return self.repairs
        if output.delay_s not in self.delays_s:
            raise ValueError(f"there is no delay topic of {output.delay_s} s")
        return self.retry(output.delay_s)


def topic_names(settings: Settings) -> TopicNames:
    """The names under these settings."""
    return TopicNames(
        settings.kafka.topic_prefix,
        settings.retry.delays_s,
        settings.budget_topic,
        settings.kafka.results_topic,
        tuple(settings.applications),
    )


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What one topic must be like. ``configs`` are set when it is created."""

    name: str
    partitions: int
    configs: Mapping[str, str]
    retention_s_min: int = 0
    message_bytes_min: int = 0
    message_bytes_max: int | None = None
    may_compact: bool = False
    size_setting: str = "VP_LANES__OUTPUT_BYTES_MAX"  # what ``message_bytes_min`` follows from
    keeps_all: bool = False  # nothing of it may ever be deleted
    is_log: bool = False  # the budget log: one partition, the broker's time, nothing less than what inputs keep


@dataclass(frozen=True, slots=True)
class TopicFound:
    """What a topic is like."""

    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict)
    replication: int = 1


def topic_specs(settings: Settings, *, partitions: int, replication: int) -> tuple[TopicSpec, ...]:
    """Every topic that the processor needs, in the order in which they are created."""
    names, output_max, event_max = topic_names(settings), settings.lanes.output_bytes_max, settings.webhooks.event_bytes_max
    wait_s_max = max(settings.retry.delays_s[-1], int(settings.retry.backoff_max_s), int(settings.retry.retry_after_max_s))
    # stamped by the broker: the wrong clock of a caller or a replica would make records unpublishable, or let retention delete them early
    # and by time alone: brokers may have a size of their own (log.retention.bytes), by which what still waits would be deleted
    common = {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime", "retention.bytes": "-1"}
    common |= {"min.insync.replicas": "2"} if replication >= 3 else {}  # noqa: PLR2004 - Kafka's usual pair

    def spec(name: str, count: int, retention_s: int, retention_s_min: int, bytes_max: int, **rest: object) -> TopicSpec:
        times = {"retention.ms": str(retention_s * 1000), "segment.ms": str(_SEGMENT_S * 1000)}
        configs = common | times | {"max.message.bytes": str(bytes_max)}
        return TopicSpec(name, count, configs, retention_s_min, **rest)  # type: ignore[arg-type]

    # what is handed on to an application has headers more than its caller's record
    handed_on = settings.application != DEFAULT_APPLICATION
    request_max = _REQUEST_BYTES_MAX + (_MARGIN_BYTES if handed_on else 0)
    return (
        spec(
            names.requests,
            partitions,
            7 * _DAY_S,
            3600,
            request_max,
            message_bytes_min=request_max if handed_on else 0,
            message_bytes_max=output_max - _MARGIN_BYTES,
            size_setting="",
        ),
        spec(names.results, partitions, 7 * _DAY_S, 3600, output_max, message_bytes_min=output_max, may_compact=True),
        spec(
            names.events, partitions, 7 * _DAY_S, 3600, event_max, message_bytes_min=event_max, size_setting="VP_WEBHOOKS__BODY_BYTES_MAX"
        ),
        spec(
            names.dead_letters, partitions, _DEAD_LETTER_RETENTION_S, _DEAD_LETTER_RETENTION_S_MIN, output_max, message_bytes_min=output_max
        ),
        # a dead letter whose repair is forgotten could be redriven twice: keep it longer, and by more than a segment
        spec(names.repairs, 1, 2 * _DEAD_LETTER_RETENTION_S, _DEAD_LETTER_RETENTION_S_MIN, _REQUEST_BYTES_MAX),
        _controls_spec(names.controls, common),
        *(
            spec(
                names.retry(delay_s),
                settings.retry.partitions,
                max(7 * _DAY_S, 2 * wait_s_max),
                wait_s_max + _DAY_S,  # a record must outlive the longest wait and a day without processors
                output_max,
                message_bytes_min=output_max,
            )
            for delay_s in settings.retry.delays_s
        ),
        _log_spec(settings, common, max(8 * _DAY_S, 2 * wait_s_max + _DAY_S)),
    )


def _controls_spec(name: str, common: Mapping[str, str]) -> TopicSpec:
    """A few records a month; what is paused today may have been paused long ago."""
    return TopicSpec(name, 1, {**common, "retention.ms": "-1"}, keeps_all=True)


def _log_spec(settings: Settings, common: Mapping[str, str], retention_s: int) -> TopicSpec:
    configs = {**common, "retention.ms": str(retention_s * 1000), "segment.ms": str(_SEGMENT_S * 1000)}
    configs["max.message.bytes"] = str(_REQUEST_BYTES_MAX)
    least_s = int(2 * settings.budget.memory_s) + 3600
    return TopicSpec(
        topic_names(settings).budget, 1, configs, least_s, message_bytes_min=_LOG_ENTRY_BYTES_MAX, size_setting="", is_log=True
    )


def all_faults(specs: Iterable[TopicSpec], found: Mapping[str, TopicFound]) -> list[str]:
    """What is wrong with the topics, each with what to do."""
    return [fault for spec in specs for fault in topic_faults(spec, found.get(spec.name))]


def memory_warnings(settings: Settings, found: Mapping[str, TopicFound]) -> list[str]:
    """Inputs that keep records for longer than the budget log keeps calls: what is replayed from there may be called again."""
    names = topic_names(settings)
    log_ms = _retention_ms(found.get(names.budget))
    return [
        f"{name}: retention.ms is {_retention_ms(found.get(name))}, that of {names.budget} {log_ms}: a record that is processed later than "
        f"that is not remembered as called; raise retention.ms of {names.budget}"
        for name in names.inputs
        if log_ms >= 0 and not 0 <= _retention_ms(found.get(name)) <= log_ms
    ]


def repair_warnings(settings: Settings, found: Mapping[str, TopicFound]) -> list[str]:
    """A repairs topic that forgets sooner than the dead letters do: what was redriven already would be taken for open again."""
    names = topic_names(settings)
    repairs_ms, dead_letters_ms = _retention_ms(found.get(names.repairs)), _retention_ms(found.get(names.dead_letters))
    if names.repairs not in found or repairs_ms < 0 or 0 <= dead_letters_ms < repairs_ms:
        return []
    text = f"{names.repairs}: retention.ms is {repairs_ms}, that of {names.dead_letters} {dead_letters_ms}: a dead letter whose repair is "
    return [f"{text}forgotten could be redriven twice; raise retention.ms of {names.repairs} above that"]


def config_warnings(specs: Iterable[TopicSpec], found: Mapping[str, TopicFound]) -> list[str]:
    """What lets a topic work today and lose, refuse or hide records on a bad day, each with what to do."""
    return [
        f"{spec.name}: {text}"
        for spec in specs
        if spec.name in found
        for text in (
            *_partition_warnings(spec, found[spec.name]),
            *_size_warnings(spec, found[spec.name]),
            *_codec_warnings(found[spec.name]),
            *_clock_warnings(spec, found[spec.name]),
            *_replica_warnings(spec, found[spec.name]),
        )
    ]


def _partition_warnings(spec: TopicSpec, found: TopicFound) -> list[str]:
    if found.partitions == 1 or not (spec.is_log or spec.keeps_all):
        return []
    what = "calls" if spec.is_log else "pauses"
    return [
        f"has {found.partitions} partitions; {what} are one order, in the first. The others are neither written nor read: leave them empty"
    ]


def _size_warnings(spec: TopicSpec, found: TopicFound) -> list[str]:
    size = found.configs.get("retention.bytes", "-1")
    if size == "-1" or spec.keeps_all:  # a fault there
        return []
    what = "calls" if spec.is_log else "records"
    return [f"retention.bytes is {size}, for each partition: {what} can be deleted before their time; set it to -1"]


def _codec_warnings(found: TopicFound) -> list[str]:
    codec = found.configs.get("compression.type", "producer")
    return [] if codec in _CODECS else [f"compression.type is {codec}, which cannot be read here; set it to producer"]


def _clock_warnings(spec: TopicSpec, found: TopicFound) -> list[str]:
    if spec.is_log or (stamp := found.configs.get("message.timestamp.type", "CreateTime")) == "LogAppendTime":
        return []  # the broker's clock stamps, and refuses nothing; of the log it is a fault
    limits = ((name, found.configs.get(name, "")) for name in ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms"))
    too_small = [f"{name} is {value}" for name, value in limits if value.isdecimal() and int(value) < _CLOCK_MS_MIN]
    what = " and ".join([f"message.timestamp.type is {stamp}", *too_small])
    return [
        f"{what}: a record of a machine whose clock is wrong can be refused, or deleted early; set message.timestamp.type to LogAppendTime"
    ]


def _replica_warnings(spec: TopicSpec, found: TopicFound) -> list[str]:
    wanted = int(found.configs.get("min.insync.replicas", "1"))
    texts = []
    if wanted > found.replication:
        texts.append(f"min.insync.replicas is {wanted}, with {count(found.replication, 'replica')}: nothing can be written; lower it")
    elif wanted == found.replication > 1:
        texts.append(f"min.insync.replicas is {wanted}, as many as there are replicas: one broker away stops all writing; lower it by one")
    if spec.is_log:
        return texts  # the rest is a fault there
    if found.replication >= 3 and wanted < 2:  # noqa: PLR2004 - Kafka's usual pair
        texts.append("min.insync.replicas is 1: the loss of one broker can lose acknowledged records; set it to 2")
    if found.configs.get("unclean.leader.election.enable", "false") == "true":
        texts.append("unclean.leader.election.enable is true: a broker that comes back can undo acknowledged records; set it to false")
    return texts


def unread_topics(settings: Settings, existing: Iterable[str]) -> list[str]:
    """Delay topics of ours that exist and are not configured: what still waits in them is read by nobody."""
    names = topic_names(settings)
    prefix = f"{names.prefix}.retry."
    return [
        f"{name}: is a delay topic that VP_RETRY__DELAYS_S does not name: what waits in it is read by nobody. Name it again until it is "
        "empty, then delete it; docs/upgrading.md says how"
        for name in sorted(existing)
        if name.startswith(prefix) and is_duration(name.removeprefix(prefix)) and name not in names.inputs
    ]


def _retention_ms(found: TopicFound | None) -> int:
    return int(found.configs.get("retention.ms", "-1")) if found is not None else 0


def topic_faults(spec: TopicSpec, found: TopicFound | None) -> list[str]:
    """What is wrong with a topic, each with what to do. Empty when it will do."""
    if found is None:
        return [f"{spec.name}: does not exist; create it with `processor topics apply`"]
    faults = _log_faults(spec, found) if spec.is_log else _controls_faults(spec, found) if spec.keeps_all else []
    policy = found.configs.get("cleanup.policy", "delete")
    if "compact" in policy and not spec.may_compact:
        faults.append(f"{spec.name}: cleanup.policy is {policy}; records with equal keys would replace each other; set it to delete")
    retention_ms = int(found.configs.get("retention.ms", "-1"))
    if 0 <= retention_ms < spec.retention_s_min * 1000:
        faults.append(
            f"{spec.name}: retention.ms is {retention_ms}; records could vanish before they are dealt with; at least "
            f"{spec.retention_s_min * 1000}"
        )
    size = int(found.configs.get("max.message.bytes", str(_REQUEST_BYTES_MAX)))
    if size < spec.message_bytes_min:
        instead = f" or lower {spec.size_setting}" if spec.size_setting else ""
        faults.append(f"{spec.name}: max.message.bytes is {size}; raise it to {spec.message_bytes_min}{instead}")
    if spec.message_bytes_max is not None and size > spec.message_bytes_max:
        faults.append(
            f"{spec.name}: max.message.bytes is {size}; a dead letter of such a record would be cut; at most {spec.message_bytes_max}, "
            f"or raise VP_LANES__OUTPUT_BYTES_MAX and max.message.bytes of the other topics"
        )
    return faults


def _controls_faults(spec: TopicSpec, found: TopicFound) -> list[str]:
    limits = ((name, found.configs.get(name, "-1")) for name in ("retention.ms", "retention.bytes"))
    return [f"{spec.name}: {name} is {value}; a pause could be forgotten: set it to -1" for name, value in limits if value != "-1"]


def _log_faults(spec: TopicSpec, found: TopicFound) -> list[str]:
    faults = []
    stamp = found.configs.get("message.timestamp.type", "CreateTime")
    if stamp != "LogAppendTime":
        faults.append(f"{spec.name}: message.timestamp.type is {stamp}; set it to LogAppendTime, or newcomers misjudge the past")
    if found.replication >= 3 and int(found.configs.get("min.insync.replicas", "1")) < 2:  # noqa: PLR2004 - Kafka's usual pair
        faults.append(f"{spec.name}: min.insync.replicas is 1; set it to 2, or the loss of one broker can make calls forgotten")
    if found.configs.get("unclean.leader.election.enable", "false") == "true":
        faults.append(f"{spec.name}: unclean.leader.election.enable is true; set it to false, or calls can be forgotten")
    return faults
