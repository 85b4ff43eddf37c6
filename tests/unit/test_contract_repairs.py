"""Records of the repairs topic."""

from __future__ import annotations

import orjson
from dead_letters import NOW

from processor.contract import schemas
from processor.contract.repairs import Repair, RepairKind, Target, read_repair, repair_value

SESSION = "11111111-2222-4333-8444-555555555555"


def test_a_repair_record_fits_its_schema_and_is_read_back() -> None:
    target = Target("v.dead-letters", 1, 2, 3)
    repair = Repair(RepairKind.REDRIVEN, SESSION, NOW, "ann@host", target, "Null", "aml", "http_503", 1, NOW + 5, "Didit is back")
    value = repair_value(repair)
    assert schemas.faults("repair.v1", orjson.loads(value)) == []
    assert read_repair(value) == repair
    released = Repair(RepairKind.RELEASED, SESSION, NOW, "x" * 300, Target("v.retry.10s", 0, 9), note="\udcff" + "n" * 600)
    found = read_repair(repair_value(released))
    assert found is not None
    assert (found.kind, len(found.by), len(found.note or "")) == (RepairKind.RELEASED, 200, 500)
    for foreign in (b"", b"{}", b"[1]", None, b'{"kind": "redriven"}'):
        assert read_repair(foreign) is None
    for path, number in [("replay", 2**31), ("due_ms", 2**63), ("at_ms", 1e3), ("partition", 2**31), ("offset", 1e3), ("failed_ms", 2**63)]:
        document = orjson.loads(value)
        (document if path in document else document["target"])[path] = number
        assert read_repair(orjson.dumps(document)) is None, f"{path}: JSON Schema takes it, and Kafka holds no such number"
