"""What a producer has packed is unpacked up to a bound, whatever the codec; what is not of its codec is told."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable

import cramjam
import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from hypothesis import given
from hypothesis import strategies as st

from processor.stream.unpacking import UnpackError, UnpackTooLargeError, unpack

Pack = Callable[[bytes], bytes]
PACK: dict[str, tuple[int, Pack]] = {
    "gzip": (1, gzip_encode),
    "snappy": (2, snappy_encode),
    "snappy raw": (2, lambda data: bytes(snappy_encode(data, xerial_compatible=False))),
    "lz4": (3, lz4_encode),
    "zstd": (4, zstd_encode),
}
EACH = pytest.mark.parametrize(("codec", "pack"), PACK.values(), ids=PACK)


@EACH
@given(data=st.binary(min_size=1, max_size=100_000))
def test_what_was_packed_comes_back(codec: int, pack: Pack, data: bytes) -> None:
    assert unpack(codec, pack(data)) == data


@EACH
def test_a_content_of_the_bound_is_unpacked_and_one_byte_more_is_not(codec: int, pack: Pack) -> None:
    data = b"x" * 100_000
    assert unpack(codec, pack(data), 100_000) == data
    with pytest.raises(UnpackTooLargeError):
        unpack(codec, pack(data), 99_999)


@EACH
@given(cut=st.integers(min_value=1, max_value=99), noise=st.binary(max_size=50))
def test_what_is_cut_or_foreign_is_told(codec: int, pack: Pack, cut: int, noise: bytes) -> None:
    packed = pack(bytes(range(256)) * 40)
    for broken in (packed[: len(packed) * cut // 100], b"\x01\x02" + noise, packed[:20] + noise + packed[20:]):
        try:
            assert len(unpack(codec, broken, 100_000)) <= 100_000  # noise can be of the codec
        except UnpackError:
            continue


def test_several_members_of_gzip_are_one_content() -> None:
    assert unpack(1, gzip.compress(b"one") + gzip.compress(b"two") + b"\0\0") == b"onetwo"
    with pytest.raises(UnpackTooLargeError):
        unpack(1, gzip.compress(b"x" * 60) * 2, 100)


def test_a_codec_of_the_future_is_told() -> None:
    with pytest.raises(UnpackError, match="codec 5 is not known"):
        unpack(5, b"")


BOMB = """
import pathlib, sys
from processor.stream.unpacking import UnpackTooLargeError, unpack
peak = lambda: next(int(line.split()[1]) for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:")
before = peak()
try:
    unpack(int(sys.argv[1]), sys.stdin.buffer.read())
except UnpackTooLargeError:
    print(peak() - before)
"""


@EACH
def test_a_bomb_costs_no_more_memory_than_the_bound(codec: int, pack: Pack) -> None:
    packed = pack(b" " * 300_000_000) if codec == 4 else pack(b" " * 100_000_000)
    done = subprocess.run([sys.executable, "-c", BOMB, str(codec)], input=packed, capture_output=True, check=True)
    assert int(done.stdout) < 48 * 1024, "KiB beyond what the interpreter has"


def test_cramjam_says_still_so_that_its_room_is_full() -> None:
    with pytest.raises(cramjam.DecompressionError, match="failed to write whole buffer"):
        cramjam.lz4.decompress_into(lz4_encode(b"x" * 100), bytearray(10))
