"""Checks of a face: liveness, match, search, age. Pure; markers in the bytes decide (docs/simulator.md).

Sources: Didit, "Passive Liveness", "Face Match", "Face Search", "Age Estimation". Images are at most 5 MB.
"""

from __future__ import annotations

from typing import Any

from processor.simulator.checks.model import Check, Inputs, choice_fault, file_fault, first, number_fault
from processor.simulator.features import warning

_IMAGE_MB = 5
_MATCHES_MAX = 5


def _one_image(threshold: str) -> Any:
    def fault(inputs: Inputs) -> Any:
        return first(file_fault(inputs, "user_image", _IMAGE_MB), number_fault(inputs.fields, threshold, 0, 100))

    return fault


def _face(inputs: Inputs, file: str) -> dict[str, Any]:
    if inputs.marked(b"NOFACE", file):
        return {"entities": [], "best_angle": 0}
    return {"entities": [{"age": inputs.age(file), "bbox": [40, 40, 120, 120], "confidence": 0.95, "gender": "female"}], "best_angle": 0}


def _liveness(inputs: Inputs) -> dict[str, Any]:
    return _live(inputs, "face_liveness_score_decline_threshold", 30.0)


def _live(inputs: Inputs, threshold: str | None, default: float) -> dict[str, Any]:
    base = {"method": "PASSIVE", "user_image": _face(inputs, "user_image")}
    if inputs.marked(b"NOFACE"):
        nobody = warning("LIVENESS", "NO_FACE_DETECTED", "error", None)
        return base | {"status": "Declined", "score": None, "face_quality": None, "face_luminance": None, "warnings": [nobody]}
    score = inputs.score("user_image")
    low = score < (inputs.number(threshold, default) if threshold else default)
    warnings = [warning("LIVENESS", "LOW_LIVENESS_SCORE", "error", None)] if low else []
    return base | {
        "status": "Declined" if low else "Approved",
        "score": score,
        "face_quality": 85.0,
        "face_luminance": 50.0,
        "warnings": warnings,
    }


def _age(inputs: Inputs) -> dict[str, Any]:
    """A liveness check too; too young is a decline."""
    found = _live(inputs, None, 30.0)
    if found["score"] is None:
        return found | {"age_estimation": None}
    age = inputs.age("user_image")
    if age < inputs.number("age_estimation_decline_threshold", 18):
        found |= {"status": "Declined", "warnings": [*found["warnings"], warning("LIVENESS", "AGE_BELOW_MINIMUM", "error", None)]}
    return found | {"age_estimation": age, "reference_image": None, "video_url": None}


def _match_fault(inputs: Inputs) -> Any:
    files = (file_fault(inputs, name, _IMAGE_MB) for name in ("user_image", "ref_image"))
    return first(*files, number_fault(inputs.fields, "face_match_score_decline_threshold", 0, 100))


def _match(inputs: Inputs) -> dict[str, Any]:
    """Approved only strictly above the threshold."""
    faces = {name: _face(inputs, name) for name in ("user_image", "ref_image")}
    if inputs.marked(b"NOFACE"):
        nobody = warning("FACE_MATCH", "NO_FACE_DETECTED", "error", None)
        return {"status": "Declined", "score": None, **faces, "warnings": [nobody]}
    score = min(inputs.score("user_image"), inputs.score("ref_image"))
    alike = score > inputs.number("face_match_score_decline_threshold", 30)
    warnings = [] if alike else [warning("FACE_MATCH", "LOW_FACE_MATCH_SIMILARITY", "error", None)]
    return {"status": "Approved" if alike else "Declined", "score": score, **faces, "warnings": warnings}


def _search_fault(inputs: Inputs) -> Any:
    kinds = ("most_similar", "blocklisted_or_approved")
    return first(file_fault(inputs, "user_image", _IMAGE_MB), choice_fault(inputs.fields, "search_type", kinds))


def _search(inputs: Inputs) -> dict[str, Any]:
    """``MATCH`` once for each face that is known already, ``BLOCKLISTED`` for one on the blocklist."""
    listed = inputs.marked(b"BLOCKLISTED")
    count = 0 if inputs.sandbox else min(_MATCHES_MAX, inputs.files["user_image"].count(b"MATCH") + listed)
    matches = [
        {
            "session_id": f"00000000-0000-4000-8000-{number:012d}",
            "session_number": number,
            "similarity_percentage": 95.0 - number,
            "vendor_data": f"known-{number}",
            "status": "Approved",
            "is_blocklisted": listed and number == 1,
        }
        for number in range(1, count + 1)
    ]
    status = "Declined" if listed else "In Review" if matches else "Approved"
    warnings = [warning("FACE_SEARCH", "FACE_IN_BLOCKLIST", "error", None)] if listed else []
    return {"status": status, "total_matches": count, "matches": matches, "user_image": _face(inputs, "user_image"), "warnings": warnings}


CHECKS = (
    Check(
        "passive_liveness",
        "liveness",
        "PASSIVE_LIVENESS",
        "liveness_checks",
        _one_image("face_liveness_score_decline_threshold"),
        _liveness,
    ),
    Check("face_match", "face_match", "FACE_MATCH", "face_matches", _match_fault, _match),
    Check("face_search", "face_search", "FACE_SEARCH", "face_searches", _search_fault, _search),
    Check("age_estimation", "age_estimation", "AGE_ESTIMATION", "liveness_checks", _one_image("age_estimation_decline_threshold"), _age),
)
