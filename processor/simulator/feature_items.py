"""One result of each feature, as an item of a decision's array, with every documented member. Pure (OpenAPI 3.0.0, "Retrieve session").

Some scores are whole floats on purpose: ``97.0`` on the wire is ``97`` in the canonical form that is signed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from processor.simulator import identity, watchlist
from processor.simulator.session import Session
from processor.simulator.timestamps import iso

_IMAGES = (
    "portrait_image",
    "front_image",
    "back_image",
    "full_front_image",
    "full_back_image",
    "front_image_camera_front",
    "back_image_camera_front",
)
_BAD, _LIKE, _LIVE = 12.5, 96.25, 97.0
_NO_ACCOUNT = ("account_number", "iban", "sort_code", "routing_number", "swift_bic", "branch_name", "branch_address")


def _person(session: Session) -> tuple[str, str]:
    return "Simulated", f"Pérson {session.session_number}"


def _identity(session: Session, _bad: bool) -> dict[str, Any]:
    urls = {name: identity.media_url(session.session_id, f"{name}.jpg") for name in _IMAGES}
    videos = {name: identity.media_url(session.session_id, f"{name}.mp4") for name in ("front_video", "back_video")}
    absent = ("wallet_provider", "fallback_from", "id_lookup", "wallet_verification", "document_liveness")
    address = identity.parsed_address()
    return {
        "verification_method": "document",
        "assurance": "documentary",
        **dict.fromkeys(absent),
        **identity.document(f"P{session.session_number:08d}", *_person(session), passport=True),
        "parsed_address": address | {"raw_results": _geocoded(address)},
        **urls,
        **videos,
        "extra_fields": {"dl_categories": [], "blood_group": None, **_other_script(*_person(session))},
        "extra_files": [],
        "matches": [],
        **session.corrections,
    }


def _other_script(first_name: str, last_name: str) -> dict[str, str]:
    address, place = identity.ADDRESS, "Madrid"
    named = {"first_name": first_name, "last_name": last_name, "middle_name": "", "full_name": f"{first_name} {last_name}"}
    return {
        f"{name}_{kind}": text
        for kind in ("non_latin", "latin")
        for name, text in (*named.items(), ("address", address), ("place_of_birth", place))
    }


def _geocoded(address: Mapping[str, Any]) -> dict[str, Any]:
    place = {"lat": address["document_location"]["latitude"], "lng": address["document_location"]["longitude"]}
    return {
        "types": ["street_address"],
        "geometry": {"location": place, "viewport": {"northeast": place, "southwest": place}, "location_type": "ROOFTOP"},
        "place_id": "simulated-place",
        "formatted_address": address["formatted_address"],
        "navigation_points": [{"location": address["document_location"]}],
        "address_components": [{"types": ["locality"], "long_name": address["city"], "short_name": address["city"]}],
    }


def _chip(session: Session, bad: bool) -> dict[str, Any]:
    first_name, last_name = _person(session)
    return {
        "is_nfc_skipped": False,
        "skip_reason": None,
        "portrait_image": identity.media_url(session.session_id, "chip_portrait.jpg"),
        "signature_image": identity.media_url(session.session_id, "signature.jpg"),
        "chip_data": {
            "document_type": "P",
            "issuing_country": "ESP",
            "document_number": f"P{session.session_number:08d}",
            "expiration_date": "2030-08-21",
            "first_name": first_name,
            "last_name": last_name,
            "birth_date": "1990-01-01",
            "gender": "F",
            "nationality": "ESP",
            "address": identity.ADDRESS,
            "place_of_birth": "Madrid",
        },
        "authenticity": {"sod_integrity": not bad, "dg_integrity": not bad},
        "certificate_summary": {
            "issuer": "Simulated CSCA",
            "subject": "Simulated Document Signer",
            "serial_number": "1",
            "not_valid_after": "2035-01-01T00:00:00Z",
            "not_valid_before": "2020-01-01T00:00:00Z",
        },
    }


def _liveness(session: Session, bad: bool) -> dict[str, Any]:
    return {
        "method": "PASSIVE",
        "score": _BAD if bad else _LIVE,
        "reference_image": identity.media_url(session.session_id, "reference.jpg"),
        "video_url": identity.media_url(session.session_id, "liveness.mp4"),
        "age_estimation": 34.25,
        "face_quality": 85.0,
        "face_luminance": 50.0,
        "matches": [],
    }


def _faces(session: Session, bad: bool) -> dict[str, Any]:
    return {
        "score": _BAD if bad else _LIKE,
        "source_image_session_id": None,
        "source_image": identity.media_url(session.session_id, "source.jpg"),
        "target_image": identity.media_url(session.session_id, "target.jpg"),
    }


def _address(session: Session, _bad: bool) -> dict[str, Any]:
    address = identity.parsed_address()
    parsed = {name: address[name] for name in ("address_type", "street_1", "street_2", "city", "region", "country", "postal_code")}
    return {
        **proof(" ".join(_person(session))),
        "poa_parsed_address": {**parsed, "document_location": address["document_location"]},
        "expected_details_parsed_address": {},
        "name_match_score_expected_details": None,
        "name_match_score_id_verification": None,
        "document_file": identity.media_url(session.session_id, "proof.pdf"),
        "document_metadata": None,
        "extra_files": [],
        **session.poa_corrections,
    }


def proof(name: str) -> dict[str, Any]:
    """What is read from a proof of address: the members that "Proof of Address" and a decision have both."""
    return {
        "issuing_state": "ESP",
        "document_type": "UTILITY_BILL",
        "document_subtype": "ELECTRICITY_BILL",
        "document_language": "es",
        "issuer": "Simulated Power",
        "issue_date": "2026-09-01",
        "expiration_date": None,
        "poa_address": "Calle Mayor 10, 28013 Madrid",
        "poa_formatted_address": identity.ADDRESS,
        "name_on_document": name,
        "expected_details_address": None,
        "expected_details_formatted_address": None,
        "extra_fields": {**{f"bank_{part}": None for part in _NO_ACCOUNT}, "document_phone_number": None, "additional_names": []},
        "detected_codes": [],
    }


def _screening(session: Session, bad: bool) -> dict[str, Any]:
    name = " ".join(_person(session))
    return {
        "total_hits": int(bad),
        "entity_type": "person",
        "hits": [watchlist.hit(name)] if bad else [],
        "score": float(watchlist.HIT_SCORE) if bad else 0.0,
        "screened_data": {"full_name": name, "nationality": "ES", "date_of_birth": "1990-01-01", "document_number": None},
        "is_ongoing_monitoring_enabled": False,
        "next_ongoing_monitoring_bill_date": None,
        "last_ongoing_screening_at": None,
        "last_ongoing_screening_datasets_updated_at": None,
    }


def _network(_session: Session, bad: bool) -> dict[str, Any]:
    place = {"location": dict(identity.parsed_address()["document_location"])}
    return {
        "device_brand": "Simulated",
        "device_model": "Phone",
        "browser_family": "Firefox",
        "os_family": "Android",
        "platform": "mobile",
        "device_fingerprint": None,
        **located(),
        "ip_address": "192.0.2.10",  # RFC 5737
        "is_vpn_or_tor": bad,
        "is_data_center": bad,
        "ip": {**place, "distance_from_id_document": 0.0, "distance_from_poa_document": None},
        "id_document": {**place, "distance_from_ip": 0.0, "distance_from_poa_document": None},
        "poa_document": {"location": None, "distance_from_ip": None, "distance_from_id_document": None},
        "matches": [],
    }


def located() -> dict[str, Any]:
    """Where every address is: in Madrid."""
    place = identity.parsed_address()
    return {
        "ip_country": "Spain",
        "ip_country_code": "ES",
        "ip_state": place["region"],
        "ip_city": place["city"],
        **place["document_location"],
        "isp": "Simulated Telecom",
        "organization": "Simulated Telecom",
        "time_zone": "Europe/Madrid",
        "time_zone_offset": "+0200",
    }


def _database(session: Session, bad: bool) -> dict[str, Any]:
    first_name, last_name = _person(session)
    match = "no_match" if bad else "full_match"
    return {
        "issuing_state": "ESP",
        "validation_type": "one_by_one",
        "screened_data": {
            "first_name": first_name,
            "last_name": last_name,
            "tax_number": "00000014Z",
            "personal_number": "00000014Z",
            "document_number": f"P{session.session_number:08d}",
            "date_of_birth": "1990-01-01",
            "document_type": "P",
            "expiration_date": "2030-08-21",
        },
        "validations": [validation("esp_dni", match)],
        "errors": [],
        "match_type": match,
    }


def validation(service: str, match: str) -> dict[str, Any]:
    """What one government service says."""
    return {
        "service_id": service,
        "service_name": f"Simulated {service}",
        "validation": dict.fromkeys(("full_name", "date_of_birth", "identification_number"), match),
        "outcome_code": {"full_match": "MATCH"}.get(match, match.upper()),
        "outcome_detail": "200",
        "source_data": {},
    }


def _phone(session: Session, _bad: bool) -> dict[str, Any]:
    return {
        "phone_number_prefix": "+34",
        "phone_number": "600000000",
        "full_number": "+34600000000",
        "country_code": "ES",
        "country_name": "Spain",
        "carrier": {"name": "Simulated Mobile", "type": "mobile"},
        "is_virtual": False,
        "verification_method": "sms",
        **_verified(session),
    }


def _email(session: Session, _bad: bool) -> dict[str, Any]:
    facts = {"email": "person@example.com", "is_breached": False, "breaches": [], "is_undeliverable": False}
    return {**facts, **_verified(session)}


def _verified(session: Session) -> dict[str, Any]:
    at = iso(session.changed_at)
    return {"is_disposable": False, "verification_attempts": 1, "verified_at": at, "lifecycle": [], "matches": []}


def _extracted(session: Session, _bad: bool) -> dict[str, Any]:
    return {
        "items": [
            {
                "uuid": session.session_id,
                "node_id": None,
                "document_key": "document",
                "original_filename": "document.pdf",
                "file_size": 1024,
                "file_url": identity.media_url(session.session_id, "document.pdf"),
                "status": session.status if session.status in {"Approved", "Declined", "In Review"} else "Approved",
                "extracted_data": {},
                "detected_codes": [],
                "fields": [],
                "document_metadata": None,
                "cross_check_result": None,
                "created_at": iso(session.created_at),
            }
        ]
    }


_ITEMS: Mapping[str, Callable[[Session, bool], dict[str, Any]]] = {
    "id_verifications": _identity,
    "nfc_verifications": _chip,
    "liveness_checks": _liveness,
    "face_matches": _faces,
    "poa_verifications": _address,
    "aml_screenings": _screening,
    "ip_analyses": _network,
    "database_validations": _database,
    "phone_verifications": _phone,
    "email_verifications": _email,
    "document_ai_documents": _extracted,
}


def item(array: str, session: Session, *, bad: bool) -> dict[str, Any]:
    """The result of a feature without status, node and warnings; ``bad``: it is why the session is not approved."""
    return _ITEMS[array](session, bad) if array in _ITEMS else {}
