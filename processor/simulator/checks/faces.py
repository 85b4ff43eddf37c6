"""Checks of a face: liveness, match, search, age. Pure; markers in the bytes choose the result (docs/simulator.md).

Sources: Didit, "Passive Liveness", "Face Match", "Face Search", "Age Estimation". Images are at most 5 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processor.simulator.checks.model import IMAGES, CheckDefinition, CheckInputs, choice_error, file_error, first_error, number_error
from processor.simulator.features import warning
from processor.simulator.identity import media_url

_IMAGE_MB = 5
_MATCHES_MAX = 5
_BOX = (40, 40, 120, 120)


def _validate_one_image(threshold: str) -> Callable[[CheckInputs], Any]:
    def validate(inputs: CheckInputs) -> Any:
        return first_error(file_error(inputs, "user_image", _IMAGE_MB, IMAGES), number_error(inputs.fields, threshold, 0, 100))

    return validate


def _face(inputs: CheckInputs, file: str) -> dict[str, Any]:
    if inputs.has_marker(b"NOFACE", file):
        return {"entities": [], "best_angle": 0}
    face = {"age": inputs.age(file), "bbox": list(_BOX), "confidence": 0.95, "gender": "female", "race": None}
    return {"entities": [face], "best_angle": 0}


def _liveness(inputs: CheckInputs) -> dict[str, Any]:
    base = {"method": "PASSIVE", "user_image": _face(inputs, "user_image")}
    if inputs.has_marker(b"NOFACE"):
        no_face = warning("LIVENESS", "NO_FACE_DETECTED", "error")
        return base | {"status": "Declined", "score": None, "face_quality": None, "face_luminance": None, "warnings": [no_face]}
    score = inputs.score("user_image")
    low = score < inputs.number("face_liveness_score_decline_threshold", 30.0)
    warnings = [warning("LIVENESS", "LOW_LIVENESS_SCORE", "error")] if low else []
    return base | {
        "status": "Declined" if low else "Approved",
        "score": score,
        "face_quality": 85.0,
        "face_luminance": 50.0,
        "warnings": warnings,
    }


def _age(inputs: CheckInputs) -> dict[str, Any]:
    """Also a liveness check; an age below the threshold is a decline."""
    result = {name: value for name, value in _liveness(inputs).items() if name not in {"face_quality", "face_luminance"}}
    for entity in result["user_image"]["entities"]:
        del entity["race"]
    if result["score"] is None:
        return result | {"age_estimation": None}
    age = inputs.age("user_image")
    if age < inputs.number("age_estimation_decline_threshold", 18):
        result |= {"status": "Declined", "warnings": [*result["warnings"], warning("LIVENESS", "AGE_BELOW_MINIMUM", "error")]}
    return result | {"age_estimation": age}


def _match_error(inputs: CheckInputs) -> Any:
    files = (file_error(inputs, name, _IMAGE_MB, IMAGES) for name in ("user_image", "ref_image"))
    return first_error(*files, number_error(inputs.fields, "face_match_score_decline_threshold", 0, 100))


def _match(inputs: CheckInputs) -> dict[str, Any]:
    """Approved only strictly above the threshold."""
    faces = {name: _face(inputs, name) for name in ("user_image", "ref_image")}
    if inputs.has_marker(b"NOFACE"):
        no_face = warning("FACE_MATCH", "NO_REFERENCE_IMAGE", "error")
        return {"status": "Declined", "score": None, **faces, "warnings": [no_face]}
    score = min(inputs.score("user_image"), inputs.score("ref_image"))
    alike = score > inputs.number("face_match_score_decline_threshold", 30)
    warnings = [] if alike else [warning("FACE_MATCH", "LOW_FACE_MATCH_SIMILARITY", "error")]
    return {"status": "Approved" if alike else "Declined", "score": score, **faces, "warnings": warnings}


def _search_error(inputs: CheckInputs) -> Any:
    kinds = ("most_similar", "blocklisted_or_approved")
    return first_error(file_error(inputs, "user_image", _IMAGE_MB, IMAGES), choice_error(inputs.fields, "search_type", kinds))


def _search(inputs: CheckInputs) -> dict[str, Any]:
    """One match for each ``MATCH`` in the bytes; with ``BLOCKLISTED`` one more, which is on the blocklist: it alone is a decline."""
    listed = inputs.has_marker(b"BLOCKLISTED")
    count = 0 if inputs.sandbox else min(_MATCHES_MAX, inputs.files["user_image"].count(b"MATCH") + listed)
    matches = [_known(number, blocklisted=listed and number == 1) for number in range(1, count + 1)]
    warnings = [warning("FACE_SEARCH", "DUPLICATED_FACE", "information")] if matches else []
    if listed:
        warnings = [warning("FACE_SEARCH", "FACE_IN_BLOCKLIST", "error")]
    return {
        "status": "Declined" if listed else "Approved",
        "total_matches": count,
        "matches": matches,
        "user_image": {"entities": [{"bbox": list(_BOX), "confidence": 0.95}], "best_angle": 0},
        "warnings": warnings,
    }


def _no_face(inputs: CheckInputs) -> tuple[int, Any] | None:
    return (400, {"error": "No face detected in the image"}) if inputs.has_marker(b"NOFACE", "user_image") else None


def _known(number: int, *, blocklisted: bool) -> dict[str, Any]:
    """A person who has been seen before."""
    session_id = f"00000000-0000-4000-8000-{number:012d}"
    return {
        "session_id": session_id,
        "session_number": number,
        "similarity_percentage": 95.0 - number,
        "source": "session",
        "vendor_data": f"known-{number}",
        "vendor_user_id": f"00000000-0000-4000-9000-{number:012d}",
        "biometric_template_id": None,
        "verification_date": "2026-01-01T00:00:00Z",
        "user_details": {"full_name": f"Simulated Pérson {number}", "document_type": "P", "document_number": f"P{number:08d}"},
        "match_image_url": media_url(session_id, "reference.jpg"),
        "status": "Approved",
        "is_blocklisted": blocklisted,
        "is_allowlisted": False,
        "api_service": None,
    }


CHECKS = (
    CheckDefinition(
        "passive_liveness",
        "liveness",
        "PASSIVE_LIVENESS",
        "liveness_checks",
        _validate_one_image("face_liveness_score_decline_threshold"),
        _liveness,
    ),
    CheckDefinition("face_match", "face_match", "FACE_MATCH", "face_matches", _match_error, _match),
    CheckDefinition("face_search", "face_search", "FACE_SEARCH", "liveness_checks", _search_error, _search, fail=_no_face),
    CheckDefinition(
        "age_estimation",
        "age_estimation",
        "AGE_ESTIMATION",
        "liveness_checks",
        _validate_one_image("age_estimation_decline_threshold"),
        _age,
    ),
)
