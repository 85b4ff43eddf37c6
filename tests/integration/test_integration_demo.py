"""The demo as a new user runs it: it proves its promises, and stays up for the commands and the page when it is asked to."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys

import pytest

pytestmark = pytest.mark.broker


async def shell(line: str) -> str:
    child = await asyncio.create_subprocess_exec("bash", "-c", line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    async with asyncio.timeout(60):
        out, _ = await child.communicate()
    assert child.returncode == 0, out.decode()
    return out.decode()


async def test_a_new_user_sees_the_proof_and_repairs_a_dead_letter() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("VP_")}
    env["COLUMNS"] = "80"  # nothing that is to be copied may be wrapped
    words = ("demo", "--requests", "40", "--stay", "--json")
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "processor", *words, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert demo.stderr is not None
    try:
        said = ""
        async with asyncio.timeout(150):
            while "until Ctrl-C" not in said:
                line = await demo.stderr.readline()
                assert line, said
                said += line.decode()
        (page,) = re.findall(r"http://127\.0\.0\.1:\d+/", said)
        (source,) = re.findall(r"(source \S+)", said)
        processor = f"{sys.executable} -m processor"
        assert "session-create" in await shell(f"{source}; {processor} status")
        dead_letters = (await shell(f"{source}; {processor} deadletters list --json --reason request_refused")).splitlines()
        assert dead_letters
        redriven = await shell(f"{source}; {processor} deadletters redrive --reason request_refused --yes")
        assert str(len(dead_letters)) in redriven
        assert "Dead letters" in await shell(f"{sys.executable} -c 'import urllib.request as u; print(u.urlopen(\"{page}\").read())'")
        await shell(f"{source}; {processor} pause --operation aml --reason 'a look' --yes")  # and a visitor's own request waits at the end
        mine = '{"request_id": "mine", "operation": "aml", "input": {"full_name": "Ann Example"}}'
        await shell(f"{source}; echo '{mine}' | {processor} publish -")
        demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            out, _ = await demo.communicate()
    finally:
        if demo.returncode is None:
            demo.kill()
    report = json.loads(out)
    assert demo.returncode == 0, report
    assert report["missing"] == report["duplicated"] == 0
    assert report["killed"] == 1
