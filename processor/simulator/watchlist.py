"""One hit of an AML screening, with every documented member. Pure (Didit's OpenAPI 3.0.0, "AML Screening", "Retrieve session")."""

from __future__ import annotations

from typing import Any

HIT_SCORE = 90
_SEEN = {"first_seen": "2025-01-18T00:00:00Z", "last_seen": "2026-06-13T00:00:00Z"}
_SOURCE = "https://lists.example.com/simulated"  # RFC 2606
# of one person in the lists; what is not known is null
_UNKNOWN = (
    *("title", "height", "topics", "weight", "address", "country", "website", "eyeColor", "keywords", "position", "religion", "ethnicity"),
    *("hairColor", "weakAlias", "modifiedAt", "wikidataId", "citizenship", "nationality"),
)


def hit(name: str) -> dict[str, Any]:
    """A politically exposed person under sanctions, with a warning and bad press, whose name is that of the search."""
    first, _, last = name.partition(" ")
    return {
        "id": "sim-hit",
        "url": _SOURCE,
        "match": False,
        "score": 0.9,
        "match_score": 100,
        "risk_score": HIT_SCORE,
        "target": None,
        "caption": name,
        "datasets": ["PEP", "Sanctions", "Adverse Media"],
        "features": None,
        "rca_name": "",
        **_SEEN,
        "properties": {
            **dict.fromkeys(_UNKNOWN),
            "name": [name],
            "alias": [],
            "notes": ["A simulated person"],
            "gender": ["female"],
            "firstName": [first],
            "lastName": [last or first],
            "birthDate": ["1990"],
            "birthPlace": ["Madrid"],
            "education": [],
        },
        "pep_matches": [_pep(name)],
        "sanction_matches": [_sanction(name)],
        "warning_matches": [_warned(name)],
        "adverse_media_matches": [_press(name)],
        "adverse_media_details": {
            "sentiment": "Moderately Negative",
            "entity_type": "person",
            "sentiment_score": -2,
            "adverse_keywords": {"fraud": 1},
        },
        "linked_entities": [{"name": ["Simulated Relative"], "relation": ["family"], "status": [], "details": [], "active": []}],
        "risk_view": {
            "crimes": _risk(0, 20, {}),
            "countries": _risk(0, 30, {}),
            "categories": _risk(100, 50, {"PEP": 100}),
            "custom_list": {},
        },
        "additional_information": {},
        "review_status": "Unreviewed",
        "score_breakdown": _breakdown(),
    }


def _breakdown() -> dict[str, Any]:
    """How the match score comes about: the name alone was given, and fits."""
    absent = ("dob", "country")
    return {
        "name_score": 100,
        "name_weight": 60,
        "name_weight_normalized": 100.0,
        "name_contribution": 100.0,
        **{f"{part}_score": 0 for part in absent},
        **{f"{part}_weight": weight for part, weight in zip(absent, (25, 15), strict=True)},
        **{f"{part}_{name}": 0.0 for part in absent for name in ("weight_normalized", "contribution")},
        "document_number_match_type": "NEUTRAL",
        "document_number_effect": "No document number was screened",
        "total_score": 100,
    }


def _risk(score: int, weightage: int, scores: dict[str, int]) -> dict[str, Any]:
    return {"score": score, "weightage": weightage, "risk_level": "High" if score else "Low", "risk_scores": scores}


def _pep(name: str) -> dict[str, Any]:
    return {
        "list_name": "Simulated PEP list",
        "publisher": "Simulator",
        "source_url": _SOURCE,
        "description": "People who hold a public office in a simulated country",
        "matched_name": name,
        "pep_position": "Simulated Minister",
        "date_of_birth": "1990",
        "place_of_birth": "Madrid",
        "aliases": [],
        "education": [],
        "other_sources": [],
    }


def _sanction(name: str) -> dict[str, Any]:
    return {
        "list_name": ["Simulated sanctions list"],
        "matched_name": name,
        "description": "Sanctions of a simulated country",
        "reason": None,
        "source_url": _SOURCE,
        "other_sources": [],
        "details": [],
        "legal_basis": ["Regulation 1/2025"],
        "listed_on": ["2025-01-18"],
        "sanction_list": ["SIM"],
        "sanction_program": ["SIM"],
        "sanctioning_authority": ["Simulator"],
        "updated_on": ["2025-06-13"],
        "additional_data": {},
    }


def _warned(name: str) -> dict[str, Any]:
    return {
        "list_name": "Simulated warnings",
        "matched_name": name,
        "description": "Warnings of a simulated authority",
        "publisher": "Simulator",
        "source_url": _SOURCE,
        "other_sources": [],
        "countries": ["ES"],
        "created_at": None,
        "updated_at": None,
        "additional_data": {"data": {"case_details": [{"case_type": "Fraud"}]}},
    }


def _press(name: str) -> dict[str, Any]:
    return {
        "headline": f"{name} in a simulated scandal",
        "summary": "An article that the simulator has made up.",
        "sentiment": "moderately negative",
        "sentiment_score": -2,
        "source_url": _SOURCE,
        "thumbnail": _SOURCE,
        "country": "spain",
        "author_name": None,
        "publication_date": "2026-06-10T20:46:38Z",
        "adverse_keywords": ["fraud"],
        "other_sources": [],
    }
