"""The survey of a replica goes on, whatever a look comes to."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from structlog.testing import capture_logs

from processor.overview.lookout import LookError
from processor.surveying import Surveying


class Looks:
    """A lookout whose looks fail in every way."""

    def __init__(self) -> None:
        self.count = 0

    async def backlog(self) -> Any:
        self.count += 1
        await asyncio.sleep(0)
        raise [LookError("no brokers"), RuntimeError("Zoë Müller"), ValueError("x")][self.count % 3]


async def test_no_error_ends_the_survey_and_none_is_quoted() -> None:
    looks = Looks()
    surveying = Surveying(cast("Any", looks), cast("Any", None), 0.0)
    with capture_logs() as logs:
        running = asyncio.create_task(surveying.survey())
        async with asyncio.timeout(5):
            while looks.count < 7:
                await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        await asyncio.wait({running})
    assert {entry["event"] for entry in logs} == {"survey_failed"}
    assert any("RuntimeError at test_surveying.py" in entry["detail"] for entry in logs)
    assert "Zoë" not in str(logs)
