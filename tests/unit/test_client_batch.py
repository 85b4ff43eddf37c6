"""Files of requests: what they may look like, which ids they get, and how long they take."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from processor.cli.batch import _tell
from processor.client.batch import Batch, BatchError, BatchProgress, final_result, open_private, write_answers
from processor.client.batch_rows import BatchRows, Item, LeftRows
from processor.client.batch_source import read_batch
from processor.client.estimate import estimate, time_left_s
from processor.client.topics import RequestsFileError
from processor.contract.encode import result_output
from processor.contract.records import Result, Source, Status
from processor.settings import load_settings
from processor.stream.errors import KafkaFailedError

WORKFLOW = "9f9b1234-0000-4000-8000-1234567890ab"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_of_json_are_requests_or_inputs(tmp_path: Path) -> None:
    whole = '{"request_id":"a","operation":"aml","input":{"full_name":"Ann","vendor_data":"u-1"}}\n\n'
    (item,) = read_batch(written(tmp_path, "a.jsonl", whole), None)
    assert (item.request_id, item.operation, item.key) == ("a", "aml", b"u-1")
    first, second = read_batch(written(tmp_path, "b.jsonl", '{"full_name":"Ann"}\n{"full_name":"Bob"}\n'), "aml")
    assert json.loads(first.value)["input"] == {"full_name": "Ann"}
    assert first.request_id != second.request_id
    assert first.key == first.request_id.encode()


def test_a_line_without_an_id_always_gets_the_same_one(tmp_path: Path) -> None:
    one = read_batch(written(tmp_path, "a.jsonl", '{"full_name":"Ann","nationality":"ES"}\n'), "aml")
    other = read_batch(written(tmp_path, "b.jsonl", '{"nationality":"ES","full_name":"Ann"}\n'), "aml")
    assert [i.request_id for i in one] == [i.request_id for i in other]


def test_numbers_of_a_line_and_of_a_column_of_json_go_out_with_every_digit(tmp_path: Path) -> None:
    metadata = '{"n":118059162071741130342400,"x":0.12345678901234567890123}'
    (line,) = read_batch(written(tmp_path, "a.jsonl", f'{{"full_name":"Ann","metadata":{metadata}}}'), "aml")
    table = 'input.full_name,input.metadata:json\nAnn,"{}"\n'.format(metadata.replace('"', '""'))
    (row,) = read_batch(written(tmp_path, "b.csv", table), "aml")
    assert metadata.encode() in line.value
    assert metadata.encode() in row.value


def test_a_table_is_taken_as_text(tmp_path: Path) -> None:
    """J13: names that look like nothing are names."""
    table = (
        "\ufeffrequest_id,operation,priority,input.full_name,input.vendor_data,input.include_adverse_media:json\n"
        "a,aml,urgent,Null,007,true\n"
        'b,aml,,"No, ""Nan""",,\n'
    )
    first, second = (json.loads(i.value) for i in read_batch(written(tmp_path, "a.CSV", table), None))
    assert first == {
        "request_id": "a",
        "operation": "aml",
        "priority": "urgent",
        "input": {"full_name": "Null", "vendor_data": "007", "include_adverse_media": True},
    }
    assert second == {"request_id": "b", "operation": "aml", "input": {"full_name": 'No, "Nan"'}}
    (only,) = read_batch(written(tmp_path, "b.csv", "input.email\na@example.com\n"), "email.send")
    assert only.operation == "email.send"


def test_every_fault_is_said_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RequestsFileError) as caught:
        read_batch(written(tmp_path, "a.jsonl", '{"full_name":"Ann"}\n{"x":1}\nno json\n{"full_name":"Ann"}\n'), "aml")
    text = str(caught.value)
    for said in ("line 2: missing_field at input.full_name", "line 3: not_json", "line 4: has the request_id of line 1"):
        assert said in text, text
    with pytest.raises(RequestsFileError, match=r"line 2: input\.save_api_request:json is neither true nor false"):
        read_batch(written(tmp_path, "a.csv", "input.full_name,input.save_api_request:json\nAnn,yes\n"), "aml")
    with pytest.raises(RequestsFileError, match=r"and 5 more$") as caught:
        read_batch(written(tmp_path, "c.jsonl", "no json\n" * 25), "aml")
    assert len(str(caught.value).splitlines()) == 21


def test_the_scarcest_scope_says_how_long_it_takes() -> None:
    limits = {"session-create": (600, 60.0), "generic-write": (300, 60.0), "session-decision": (100, 60.0), "generic-get": (600, 60.0)}
    assert time_left_s({}, limits) == 0
    assert time_left_s({"verification": 300}, limits) == 60
    assert time_left_s({"session.create": 100, "aml": 200}, limits) == 60
    assert time_left_s({"session.decision": 100, "aml": 10}, limits) == 60


def test_a_dry_run_counts_what_is_billed_and_its_price() -> None:
    limits = {"session-create": (600, 60.0), "generic-write": (300, 60.0), "session-decision": (100, 60.0), "generic-get": (600, 60.0)}
    asked = {"verification": 3, "aml": 10, "email.send": 2, "session.add_review": 5, "user.get": 7}
    found = estimate(asked, {"aml": Decimal("0.20"), "verification": Decimal("0.33"), "user.get": Decimal(9)}, limits)
    assert (found.billed, found.cost, found.unpriced) == (15, Decimal("2.99"), ("email.send",))
    assert found.time_s == time_left_s(asked, limits)
    assert estimate({}, {}, limits).cost == 0


def test_rows_are_found_by_their_ids_and_those_that_have_a_result_are_left_out() -> None:
    rows = BatchRows()
    for number in range(3000):
        rows.append(Item(f"r-{number}", f"c-{number}", "aml" if number % 3 else "verification", b"k", b"v" * number), number + 1)
    rows.append(Item("r-7", "other", "aml", b"", b""), 4000)
    rows.append(Item("r-7", "other", "aml", b"", b""), 5000)
    assert sorted(rows.seal()) == [(4000, 8), (5000, 8)]
    assert [rows.row_of(f"r-{number}") for number in (0, 7, 2999)] == [0, 7, 2999]
    assert rows.row_of("r-3000") is None
    assert rows[2999] == Item("r-2999", "c-2999", "aml", b"k", b"v" * 2999)
    assert rows.left == {"aml": 2002, "verification": 1000}
    left = LeftRows(rows)
    assert left["r-5"] == "c-5"
    assert rows.finish(5)
    assert not rows.finish(5), "each once"
    assert "r-5" not in left
    assert "r-6" in left
    assert len(left) == rows.left.total() == 3001


async def test_a_target_of_another_batch_is_left_alone(tmp_path: Path) -> None:
    source = written(tmp_path, "a.jsonl", '{"full_name":"Ann"}\n')
    items, target = read_batch(source, "aml"), written(tmp_path, "out.jsonl", "{}\n")
    with pytest.raises(BatchError, match="name another file"):
        await Batch(load_settings(), target, items).run(lambda _: None)
    written(tmp_path, "out.jsonl.state", '{"input_sha256":"other","published":0,"positions":{}}')
    with pytest.raises(BatchError, match="another input"):
        await Batch(load_settings(), target, items).run(lambda _: None)
    for broken in ("", "[]", "{}", '{"input_sha256":"x","published":0,"positions":[1]}'):
        written(tmp_path, "out.jsonl.state", broken)
        with pytest.raises(BatchError, match="cannot be read"):
            await Batch(load_settings(), target, items).run(lambda _: None)
    assert target.read_text() == "{}\n"


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"\xff", b"[]", b'{"kind":"final"}', b'{"kind":"final","status":[]}', b'{"kind":"progress","status":"x"}']
)
def test_what_is_no_final_result_ends_no_batch(value: bytes | None) -> None:
    assert final_result(value) is None


def test_results_are_for_their_owner_alone(tmp_path: Path) -> None:
    old = written(tmp_path, "old.jsonl", "{}\n")
    old.chmod(0o644)
    for path, mode, then in ((tmp_path / "new.jsonl", "wb", b"x"), (old, "ab", b"{}\nx"), (old, "wb", b"x")):
        with open_private(path, mode) as file:  # type: ignore[arg-type]
            assert path.stat().st_mode & 0o777 == 0o600, "from its first byte on"
            file.write(b"x")
        assert path.read_bytes() == then


GROWTH = """
import resource, sys
from pathlib import Path
from processor.client.batch import write_answers
from processor.client.batch_source import read_batch
from processor.contract.encode import result_output
from processor.contract.records import Result, Source, Status

def peak_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def through(name, rows):
    source, results, table = (Path(sys.argv[1]) / f"{name}.{end}" for end in ("csv", "jsonl", "done.csv"))
    with source.open("w") as file:
        file.write("input.full_name,input.vendor_data\\n")
        file.writelines(f"{'Ann Example ' * 20}{n},user-{n}\\n" for n in range(rows))
    read = read_batch(source, "aml")
    with results.open("wb") as file:
        for item in read:
            output = result_output(Result(item.request_id, "aml", Status.SUCCEEDED, Source("t", 0, 1), 1, 0, 0, output={"a": "b" * 300}))
            file.write((output.value or b"") + b"\\n")
    write_answers(read, results, table)

through("few", 300)
before = peak_kb()
through("many", 10_000)
print(peak_kb() - before)
"""


def test_a_long_file_needs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Its rows and results are 13 MB; bench/spreadsheet.py has the figures of 300 000 rows."""
    done = subprocess.run([sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4_000, "kB"


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_table_that_could_not_be_written_to_its_end_is_not_there(tmp_path: Path, ending: str) -> None:
    source, results, table = written(tmp_path, "a.csv", "input.full_name\nAnn\nBob\n"), tmp_path / "r.jsonl", tmp_path / f"done.{ending}"
    rows = read_batch(source, "aml")
    outputs = [result_output(Result(i.request_id, "aml", Status.SUCCEEDED, Source("t", 0, n), 1, 0, 0)) for n, i in enumerate(rows)]
    results.write_bytes(b"".join((output.value or b"") + b"\n" for output in outputs[:1]) + b'{"request_id":"gone"')
    with pytest.raises(ValueError, match="unexpected end"):
        write_answers(rows, results, table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "r.jsonl"]
    results.write_bytes(b"".join((output.value or b"") + b"\n" for output in outputs))
    write_answers(rows, results, table)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", table.name, "r.jsonl"]


def state_of(rows: BatchRows) -> str:
    digest = hashlib.sha256(b"".join(item.value + b"\n" for item in rows)).hexdigest()
    return json.dumps({"input_sha256": digest, "published": len(rows), "positions": {}})


async def test_a_batch_that_ended_before_it_had_tidied_up_goes_on(tmp_path: Path) -> None:
    """With its table written, and its results and its state still there, or only the latter."""
    source = written(tmp_path, "a.csv", "input.full_name\nAnn\n")
    target = written(tmp_path, "done.csv", "request_id\n")
    state = state_of(read_batch(source, "aml"))
    with pytest.raises(BatchError, match="is there already"):
        await Batch(load_settings(), target, read_batch(source, "aml")).run(lambda _: None)
    written(tmp_path, "done.csv.state", state)
    settings = load_settings(kafka={"bootstrap": "127.0.0.1:1"})
    with pytest.raises(KafkaFailedError):
        await Batch(settings, target, read_batch(source, "aml")).run(lambda _: None)


async def test_a_batch_is_known_by_its_requests(tmp_path: Path) -> None:
    """And not by its file: with another --operation or --sheet, others counted as published, and were waited for without end."""
    source, target = written(tmp_path, "a.csv", "input.full_name\nAnn\n"), tmp_path / "done.csv"
    begun = read_batch(source, "aml")
    written(tmp_path, "done.csv.state", state_of(begun))
    written(tmp_path, "done.csv.jsonl", "")
    settings = load_settings(kafka={"bootstrap": "127.0.0.1:1"})
    with pytest.raises(KafkaFailedError):
        await Batch(settings, target, begun).run(lambda _: None)
    with pytest.raises(BatchError, match="another input"):
        await Batch(settings, target, read_batch(written(tmp_path, "a.csv", "input.full_name\nBob\n"), "aml")).run(lambda _: None)
    source.write_text("input.full_name\n  Ann\n")  # saved again
    with pytest.raises(KafkaFailedError):
        await Batch(settings, target, read_batch(source, "aml")).run(lambda _: None)


async def test_two_batches_do_not_write_one_file(tmp_path: Path) -> None:
    """They cut each other's lines, and the first to end took the results of both away."""
    source, target = written(tmp_path, "a.jsonl", '{"full_name":"Ann"}\n'), tmp_path / "out.jsonl"
    rows, settings = read_batch(source, "aml"), load_settings(kafka={"bootstrap": "127.0.0.1:1"})
    with open_private(target, "ab") as begun:
        fcntl.flock(begun, fcntl.LOCK_EX)
        for part in (b"", b'{"request_id":'):
            begun.write(part)
            begun.flush()
            with pytest.raises(BatchError, match="another `processor batch`"):
                await Batch(settings, target, rows).run(lambda _: None)
            written(tmp_path, "out.jsonl.state", state_of(rows))
    assert target.read_bytes() == b'{"request_id":'
    with pytest.raises(KafkaFailedError):
        await Batch(settings, target, rows).run(lambda _: None)


def test_results_that_are_gone_are_looked_for_again(tmp_path: Path) -> None:
    """A state beside no results said that all is published, and what had been answered before was waited for without end."""
    rows, target = read_batch(written(tmp_path, "a.jsonl", '{"full_name":"Ann"}\n'), "aml"), tmp_path / "out.jsonl"
    written(tmp_path, "out.jsonl.state", state_of(rows))
    assert (Batch(load_settings(), target, rows)._resume() or {})["published"] == 0  # noqa: SLF001 - what it goes on from
    written(tmp_path, "out.jsonl", "")
    assert (Batch(load_settings(), target, rows)._resume() or {})["published"] == 1  # noqa: SLF001 - as above


def test_a_program_is_told_how_requests_ended_that_were_done_before(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Their statuses are members of ``Status``, which JSON took for no keys: a batch that was done ended with a traceback."""
    done = Counter(dict.fromkeys(Status, 2))
    _tell(BatchProgress(2, done=Counter[str](done)), Path("done.jsonl"), as_json=True)
    sys.stdout.flush()
    assert json.loads(capfdbinary.readouterr().out)["by_status"] == {status.value: 2 for status in Status}


@pytest.mark.parametrize("compares", [True, False])
def test_a_program_is_told_too_that_results_were_not_compared(compares: bool, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Another's answer under an id of ours may be among them: the sentence that says so is left out with --json."""
    _tell(BatchProgress(2, done=Counter(succeeded=2), compares=compares), Path("done.jsonl"), as_json=True)
    sys.stdout.flush()
    assert json.loads(capfdbinary.readouterr().out)["compared"] is compares
