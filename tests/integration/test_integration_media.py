"""Files of a decision into a folder: through real Kafka, with a link that has ended, and a kill in the middle."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from rig import Rig, create_request, running

from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

SCHEMA = orjson.loads((Path(__file__).parent.parent.parent / "schemas/output.session.media.v1.json").read_bytes())


def asked(request_id: str, session_id: str) -> tuple[bytes, bytes]:
    return b"u", orjson.dumps({"request_id": request_id, "operation": "session.media", "input": {"session_id": session_id}})


def checked(final: dict[str, Any]) -> list[Path]:
    """The files that a result names, each as it says."""
    assert final["status"] == "succeeded", final
    jsonschema_rs.validate(SCHEMA, final["output"])
    assert final["output"]["not_stored"] == []
    found = [Path(row["reference"].removeprefix("file://")) for row in final["output"]["files"]]
    for path, row in zip(found, final["output"]["files"], strict=True):
        content = path.read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (row["size_bytes"], row["sha256"])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {"image/jpeg", "video/mp4"} <= {row["content_type"] for row in final["output"]["files"]}
    return found


def decisions(rig: Rig) -> int:
    return sum(call["route"] == "session.decision" for call in rig.simulator.ledger()["calls"])


async def test_files_of_a_decision_are_stored_renewed_and_fetched_again_after_a_kill(kafka: LocalKafka, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    async with running(kafka, tmp_path, partitions=1, FILES__MEDIA_FOLDER=str(folder)) as rig:
        (first,) = await rig.start("a")
        await rig.publish([create_request(1)])
        await rig.wait_finals(1)
        session_id = rig.finals[0]["output"]["session_id"]
        for status in ("In Progress", "Approved"):
            rig.simulator.post(f"/_sim/sessions/{session_id}/status", {"status": status})

        rig.simulator.post("/_sim/media", {"ended": 2})
        await rig.publish([asked("media-1", session_id)])
        await rig.wait_finals(2)
        paths = checked(rig.finals[1])
        assert decisions(rig) == 2, "one read, and one more for the links that had ended"

        for path in paths:
            path.unlink()
        rig.simulator.post("/_sim/media", {"delay_s": 0.3})
        await rig.publish([asked("media-2", session_id)])
        await rig.until(lambda: any(folder.glob("*/*.jpg")), "a first file")
        await asyncio.to_thread(first.child.kill)
        assert len(list(folder.glob("*/*.jpg"))) < len(paths), "killed in the middle"
        rig.simulator.post("/_sim/media", {"delay_s": 0})
        first.start()
        await rig.wait_finals(3)
        assert sorted(checked(rig.finals[2])) == sorted(paths), "the same content has the same name"
        left = sorted(path for path in folder.glob("*/*") if path not in paths)
        assert left == [], "nothing of the killed attempt is left"

        judged = await rig.judge(["r-000001", "media-1", "media-2"])
        assert (judged.missing, judged.duplicated, judged.billed_twice) == ((), (), 0)
        told = b"".join(record.value or b"" for record in await rig.records("results"))
        assert b"X-Amz" not in told, "no link leaves the processor"
        assert b"X-Amz" not in b"".join(p.log_path.read_bytes() for p in rig.processors)
