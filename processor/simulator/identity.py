"""The identity document of a simulated person, with every documented member. Pure.

Sources: Didit's OpenAPI 3.0.0, "ID Verification" and "Retrieve session"; the machine-readable zone by ICAO 9303, parts 3 to 5.
"""

from __future__ import annotations

from typing import Any

_STATE, _BIRTH, _EXPIRY, _SEX = "ESP", "900101", "300821", "F"
_WEIGHTS = (7, 3, 1)
MEDIA = "https://media.example.com"  # reserved (RFC 2606)
_LOCATION = {"latitude": 40.4155, "longitude": -3.7074}
QUALITY = {
    "focus_score": 92.5,
    "brightness_score": 88.0,
    "brightness_issue": "ok",
    "is_document_fully_visible": True,
    "resolution_score": 95.0,
    "overall_score": 91.75,
}


def media_url(session_id: str, name: str) -> str:
    """Where a file of a session is. Answers have the simulator's own address instead, and a time (``media.linked``)."""
    return f"{MEDIA}/{session_id}/{name}"


def parsed_address() -> dict[str, Any]:
    """The address of every simulated person, in its parts."""
    return {
        "street_1": "Calle Mayor 10",
        "street_2": None,
        "city": "Madrid",
        "region": "Comunidad de Madrid",
        "country": "ES",
        "postal_code": "28013",
        "address_type": "Calle",
        "formatted_address": ADDRESS,
        "document_location": dict(_LOCATION),
        "label": "Spain Identity Card Address",
        "is_verified": True,
        "category": "Residential",
    }


ADDRESS = "Calle Mayor 10, 28013 Madrid, Spain"


def document(number: str, first_name: str, last_name: str, *, passport: bool = False) -> dict[str, Any]:
    """What is read from the document: the members that "ID Verification" and a decision have both, but for images and warnings."""
    return {
        "document_type": "Passport" if passport else "Identity Card",
        "document_subtype": "PASSPORT_GENERIC" if passport else "ID_CARD_GENERIC",
        "document_number": number,
        "personal_number": "00000014Z",
        "first_name": first_name,
        "last_name": last_name,
        "full_name": f"{first_name} {last_name}",
        "date_of_birth": "1990-01-01",
        "age": 34,
        "expiration_date": "2030-08-21",
        "date_of_issue": "2020-08-21",
        "issuing_state": _STATE,
        "issuing_state_name": "Spain",
        "nationality": _STATE,
        "gender": _SEX,
        "marital_status": "UNKNOWN",
        "place_of_birth": "Madrid",
        "address": "Calle Mayor 10, 28013 Madrid",
        "formatted_address": ADDRESS,
        "mrz": _mrz(number, first_name, last_name, passport=passport),
        "front_image_camera_front_face_match_score": None,
        "back_image_camera_front_face_match_score": None,
        "front_image_quality_score": dict(QUALITY),
        "back_image_quality_score": dict(QUALITY),
    }


def check_digit(text: str) -> str:
    """ICAO 9303, part 3, 4.9: digits as they are, A to Z from 10 on, the filler 0; weights 7, 3, 1."""
    return str(sum((0 if char == "<" else int(char, 36)) * _WEIGHTS[place % 3] for place, char in enumerate(text)) % 10)


def _letters(text: str) -> str:
    """Upper-case letters without accents; anything else is the filler."""
    plain = text.upper().translate(str.maketrans("ÁÉÍÓÚÑ", "AEIOUN"))
    return "".join(char if char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" else "<" for char in plain)


def _mrz(number: str, first_name: str, last_name: str, *, passport: bool) -> dict[str, Any]:
    surname, name, kind = _letters(last_name), _letters(first_name), "P" if passport else "ID"
    filled = _letters(number).ljust(9, "<")[:9]
    number_digit, birth_digit, expiry_digit = map(check_digit, (filled, _BIRTH, _EXPIRY))
    number_part, dates = filled + number_digit, f"{_BIRTH}{birth_digit}{_SEX}{_EXPIRY}{expiry_digit}"
    key = number_part + _BIRTH + birth_digit + _EXPIRY + expiry_digit
    names = f"{surname}<<{name}"
    if passport:
        final = check_digit(key + 14 * "<" + "0")
        lines = [f"P<{_STATE}{names}".ljust(44, "<")[:44], f"{number_part}{_STATE}{dates}{14 * '<'}0{final}"]
    else:
        final = check_digit(number_part + 15 * "<" + _BIRTH + birth_digit + _EXPIRY + expiry_digit + 11 * "<")
        lines = [f"ID{_STATE}{number_part}{15 * '<'}", f"{dates}{_STATE}{11 * '<'}{final}", names.ljust(30, "<")[:30]]
    return {
        "surname": surname,
        "name": name,
        "country": _STATE,
        "nationality": _STATE,
        "birth_date": _BIRTH,
        "expiry_date": _EXPIRY,
        "sex": _SEX,
        "document_type": kind,
        "document_number": number,
        "optional_data": "",
        "optional_data_2": "",
        "birth_date_hash": birth_digit,
        "expiry_date_hash": expiry_digit,
        "document_number_hash": number_digit,
        "final_hash": final,
        "personal_number": "",
        "warnings": [],
        "errors": [],
        "mrz_type": "TD3" if passport else "TD1",
        "mrz_string": "\n".join(lines),
        "mrz_key": key,
    }
