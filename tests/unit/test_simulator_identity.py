"""The machine-readable zone of a simulated document: its lengths, and check digits that a user's parser may verify."""

from __future__ import annotations

import pytest

from processor.simulator.identity import check_digit, document


@pytest.mark.parametrize(("text", "digit"), [("L898902C3", "6"), ("740812", "2"), ("120415", "9"), ("ZE184226B<<<<<", "1")])
def test_check_digits_are_those_of_the_specimen(text: str, digit: str) -> None:
    """ICAO 9303, part 4, appendix B."""
    assert check_digit(text) == digit


@pytest.mark.parametrize(("passport", "kind", "lines"), [(True, "TD3", [44, 44]), (False, "TD1", [30, 30, 30])])
def test_the_lines_have_their_length_and_the_digits_of_their_parts(passport: bool, kind: str, lines: list[int]) -> None:
    mrz = document("P00001001", "Simulated", "Pérson 1001", passport=passport)["mrz"]
    rows = mrz["mrz_string"].split("\n")
    assert (mrz["mrz_type"], [len(row) for row in rows]) == (kind, lines)
    assert (mrz["surname"], mrz["name"]) == ("PERSON<1001", "SIMULATED")
    assert mrz["document_number_hash"] == check_digit("P00001001")
    composite = rows[1][:10] + rows[1][13:20] + rows[1][21:43] if passport else rows[0][5:] + rows[1][:7] + rows[1][8:15] + rows[1][18:29]
    assert rows[1][-1] == mrz["final_hash"] == check_digit(composite)
