"""The members of request bodies, route by route, as Didit's OpenAPI 3.0.0 describes them: types, choices, bounds and forms. Pure.

What a route requires, and how members depend on each other, its endpoint knows. What is not here is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from processor.simulator.checks.codes import CHANNELS
from processor.simulator.member_rules import (
    Rule,
    choice,
    day,
    email,
    faults_of,
    flag,
    ip_address,
    listed,
    mapping,
    members,
    moment,
    number,
    text,
    uri,
    url,
    uuid,
    whole,
)
from processor.simulator.multipart import MultipartForm
from processor.simulator.validation import ERASURES, LANGUAGES

_ANY_TEXT = text()
_ACTION = choice("NO_ACTION", "DECLINE")
_AI_ACTION = choice("DECLINE", "REVIEW", "NO_ACTION")
_SCORE, _WHOLE_SCORE = number(0, 100), whole(0, 100)
_LANGUAGE = choice(*sorted(LANGUAGES))
_DOCUMENT = choice("P", "DL", "ID", "RP", "SSC", "HIC", "WP", "TC", "VISA", "PSC", "BC", "OTHER")


def _texts(names: str, rule: Rule = _ANY_TEXT) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_ECHOED = {"vendor_data": _ANY_TEXT, "metadata": mapping}  # of what is kept, or told again
_KEPT = {**_ECHOED, "save_api_request": flag}
_ADDRESS = members(**_texts("street_1 street_2 city region postal_code country"))


def _signals(ip: Rule) -> Rule:
    platform = choice("android", "ios", "ipados", "tvos", "web")
    lengths = {"device_id": text(255), "device_model": text(255), "os_version": text(64), "app_version": text(64), "user_agent": text(512)}
    return members(ip=ip, device_platform=platform, **lengths)


_RISK = {"country_code": text(3), "signals": _signals(ip_address), "enable_social": flag, **_ECHOED}
_ERASURE = {
    "retain_face_embeddings": flag,
    "face_retention_days": whole(1, 3650),
    "face_retention_deadline": moment,
    "deletion_instruction": choice(*ERASURES),
    "instruction_id": text(255),
}
_COMPANY = {"kyb_response_id": text(255), **_KEPT}
_NAMED = {"full_name": text(512), "display_name": text(255), **_texts("approved_emails approved_phones issuing_states", listed(_ANY_TEXT))}
_DESTINATION = {"label": text(255), "url": url, "enabled": flag}
_MONITORED = {"is_enabled": flag, "estimate_only": flag, "vendor_data_list": listed(_ANY_TEXT), "didit_internal_id_list": listed(uuid)}
_NETWORK = members(**_texts("ip_address ip_country_code"), **_texts("latitude longitude", number()))
_PARTY = members(
    **_texts("entity_type vendor_data full_name first_name last_name"),
    date_of_birth=day,
    address=mapping,
    institution_details=members(**_texts("name code"), address=mapping),
    device_context=members(
        **_texts(
            "fingerprint persistent_device_id user_agent browser_family browser_version platform os_family "
            "os_version accept_language session_id"
        ),
        session_age_ms=number(),
        network_context=_NETWORK,
    ),
    payment_method=members(**_texts("method_type account_id issuing_country")),
)
_DETAILS = members(
    **_texts("direction currency currency_kind default_currency payment_details payment_reference_id action_type"),
    amount_in_default_currency=number(),
)
_QUESTIONNAIRE = {
    **_texts("title description default_language"),
    "languages": listed(_ANY_TEXT),
    "is_active": flag,
    "status": choice("draft", "published"),
}
_WORKFLOW = {"workflow_label": text(50), "status": _ANY_TEXT}
_RULE_FLAGS = (
    "is_enabled is_discoverable inbound_auto_accept allow_self_declaration allow_screenshot_proof auto_wallet_verification "
    "vasp_attribution_enabled"
)
_EXPECTED = members(
    **_texts("first_name last_name nationality country id_country poa_country address identification_number ip_address"),
    date_of_birth=day,
    gender=choice("M", "F"),
    expected_document_types=listed(choice("P", "ID", "DL", "RP", "HIC", "TC", "SSC")),
    company_name=text(255),
    registry_country=text(10),
    registration_number=text(100),
)
_DATABASE_TEXTS = (
    "validation_type identification_number first_name last_name middle_name full_name personal_number tax_number document_number "
    "nationality address_element_1 address_element_2 address_element_3 address_element_4 address_element_5 postal_code "
    "driver_license_number driver_license_card_number driver_license_state driver_license_version passport_number "
    "passport_file_number passport_issue_country medicare_card_number immi_card_number citizenship_certificate_number "
    "birth_registration_number birth_registration_state marriage_certificate_number change_of_name_certificate_number "
    "first_partner_name last_partner_name voter_id epic_card pan national_id cic identificador_ciudadano ocr voter_number "
    "emission_number bvn bank_card_number ssn phone landline country_of_residence"
)
_DATES = "date_of_birth expiration_date date_of_issue passport_expiration_date immi_card_expiry_date birth_registration_date"
_POA_ACTIONS = (
    "poa_name_mismatch_action poa_document_issues_action poa_document_authenticity_action poa_unsupported_language_action "
    "poa_address_mismatch_action poa_issuer_not_identified_action"
)
_AI_ACTIONS = (
    "document_ai_unreadable_document_action document_ai_missing_required_fields_action document_ai_document_tampering_action "
    "document_ai_name_mismatch_action document_ai_unsupported_file_action"
)
_ID_ACTIONS = (
    "expiration_date_not_detected_action invalid_mrz_action inconsistent_data_action critical_field_occlusion_action "
    "document_or_personal_number_format_mismatch_action"
)


def _one_address(value: Any, form: bool) -> Any:
    """In parts, or as one line."""
    return None if isinstance(value, str) else _ADDRESS(value, form)


# before anything else of the body is looked at
MEMBERS: Mapping[str, Mapping[str, Rule]] = {
    "session.create": {
        **_texts("vendor_data sandbox_scenario"),
        "callback": uri,
        "callback_method": choice("initiator", "completer", "both"),
        "language": _LANGUAGE,
        "contact_details": members(email=email, send_notification_emails=flag, email_lang=_LANGUAGE, phone=_ANY_TEXT),
        "expected_details": _EXPECTED,
        "portrait_image": _ANY_TEXT,
    },
    "session.delete": _ERASURE,
    "session.delete_many": {"delete_all": flag, **_ERASURE},
    "session.import_shared": {**_texts("share_token vendor_data"), "trust_review": flag, "workflow_id": uuid},
    "session.update_feature": {"comment": _ANY_TEXT},
    "session.update_aml_hit": _texts("hit_id node_id"),
    "session.update_aml_hits": {"node_id": _ANY_TEXT},
    "session.add_review": {"new_status": _ANY_TEXT, "comment": _ANY_TEXT},
    "id_verification": {
        **_texts("front_image_password back_image_password"),
        "perform_document_liveness": flag,
        "minimum_age": whole(1, 120),
        **_texts(_ID_ACTIONS, _ACTION),
        "preferred_characters": choice("latin", "non_latin"),
        **_KEPT,
    },
    "passive_liveness": {"face_liveness_score_decline_threshold": _SCORE, "rotate_image": flag, **_KEPT},
    "face_match": {"face_match_score_decline_threshold": _SCORE, "rotate_image": flag, **_KEPT},
    "face_search": {"search_type": choice("most_similar", "blocklisted_or_approved"), "rotate_image": flag, **_KEPT},
    "age_estimation": {
        "face_liveness_score_decline_threshold": _SCORE,
        "age_estimation_decline_threshold": _WHOLE_SCORE,
        "rotate_image": flag,
        **_KEPT,
    },
    "poa": {**_texts(_POA_ACTIONS, _ACTION), **_KEPT},
    "document_ai": {"document_ai_name_match_score_threshold": _WHOLE_SCORE, **_texts(_AI_ACTIONS, _AI_ACTION), **_KEPT},
    "aml": {
        **_texts("full_name nationality document_number sandbox_scenario"),
        "entity_type": choice("person", "company"),
        "date_of_birth": day,
        **_texts("aml_score_approve_threshold aml_score_review_threshold", _SCORE),
        **_texts("aml_name_weight aml_dob_weight aml_country_weight aml_match_score_threshold", _WHOLE_SCORE),
        **_texts("include_adverse_media include_ongoing_monitoring", flag),
        **_KEPT,
    },
    "database_validation": {
        **_texts(_DATABASE_TEXTS),
        **_texts(_DATES, day),
        "consent": flag,
        "document_type": _DOCUMENT,
        "gender": choice("M", "F", "X"),
        "address": _one_address,
        "email": email,
        **_texts("partial_match_action no_match_action", _ACTION),
        **_KEPT,
    },
    "email.send": {
        "email": email,
        "options": members(code_size=whole(4, 8), alphanumeric_code=flag, locale=_LANGUAGE, use_white_label_customization=flag),
        "signals": _signals(_ANY_TEXT),
        **_ECHOED,
    },
    "email.check": {
        "email": email,
        "code": text(10),
        **_texts("duplicated_email_action breached_email_action disposable_email_action email_no_social_presence_action", _ACTION),
        "enable_social": flag,
    },
    "email.risk": {"email": email, **_RISK},
    "phone.send": {
        "phone_number": text(20),
        "options": members(code_size=whole(4, 8), locale=text(5, form=r"[a-z]{2,3}(-[A-Z]{2,3})?"), preferred_channel=choice(*CHANNELS)),
        "signals": _signals(_ANY_TEXT),
        **_ECHOED,
    },
    "phone.check": {
        "phone_number": text(20),
        "code": text(8, 4, r"[0-9]*"),
        **_texts("duplicated_phone_number_action disposable_number_action voip_number_action phone_no_social_presence_action", _ACTION),
        "enable_social": flag,
    },
    "phone.risk": {"phone_number": text(20), **_RISK},
    "ip.risk": {"ip_address": ip_address, "claimed_country": text(3), "user_agent": text(512), **_ECHOED},
    "transaction.create": {
        "transaction_id": text(128),
        "transaction_at": moment,
        "time_zone": _ANY_TEXT,
        "transaction_category": _ANY_TEXT,
        "subject": _PARTY,
        "counterparty": _PARTY,
        "custom_properties": mapping,
        "transaction_details": _DETAILS,
        "travel_rule_details": members(
            **_texts("status protocol"),
            required=flag,
            obligations_count=whole(),
            **_texts("originator_data beneficiary_data metadata", mapping),
        ),
        "network_snapshot": members(**_texts("nodes edges", listed(mapping)), metrics=mapping),
        "include_crypto_screening": flag,
    },
    "transaction.token": {"vendor_data": _ANY_TEXT, "ttl_seconds": whole(None, 86_400), "max_uses": whole()},
    "user.create": {"vendor_data": _ANY_TEXT, **_NAMED},
    "user.update": _NAMED,
    "user.update_status": {"status": _ANY_TEXT},
    "user.delete": {"vendor_data_list": listed(_ANY_TEXT), "delete_all": flag},
    "kyb.search": {
        "country_code": text(10),
        "name": text(255),
        "registration_number": text(100),
        "search_type": choice("contains", "start_with", "fuzzy"),
        "webhook_url": url,
        **_ECHOED,
    },
    **dict.fromkeys(("kyb.select", "kyb.shareholders", "kyb.ubo"), _COMPANY),
    "wallet_screening": _texts("wallet_address blockchain direction"),
    **dict.fromkeys(("aml_monitoring.users", "aml_monitoring.businesses"), _MONITORED),
    **dict.fromkeys(("webhook.create", "webhook.update"), _DESTINATION),
    **dict.fromkeys(("questionnaire.create", "questionnaire.update"), _QUESTIONNAIRE),
    **dict.fromkeys(("workflow.create", "workflow.update"), _WORKFLOW),
    "travel_rule.update": _texts("action payment_txn_id"),
    "travel_rule.ownership": {"confirmed": flag},
    "travel_rule.update_settings": {
        **_texts("legal_name lei threshold_amount"),
        "jurisdiction": text(8),
        "name_matching_strictness": choice("NONE", "STRICT", "DEFAULT", "FUZZY"),
        "confirmation_timeout_hours": whole(1),
        "timeout_outcome": choice("HOLD", "REJECT", "PROCEED"),
        "compliance_email": email,
        **_texts(_RULE_FLAGS, flag),
        "disabled_networks": listed(choice("GTR", "TRUST", "VERIFYVASP", "SYGNA")),
    },
    "travel_rule.add_wallet": {**_texts("address chain holder_vendor_data holder_name entity_type travel_address"), "self_declared": flag},
    "travel_rule.update_wallet": _texts("holder_name holder_vendor_data entity_type travel_address"),
    "travel_rule.inbound": {
        **_texts("chain txid wallet_address currency"),
        **_texts("originator_data beneficiary_data", mapping),
        "originating_vasp": members(**_texts("name lei travel_address")),
    },
    "travel_rule.widget": {
        **_texts("wallet_address chain holder_name vendor_data satoshi_deposit_address callback_url"),
        "transaction_id": uuid,
        "expires_in_minutes": whole(None, 525_600),  # a year, so that a clock can tell the end
    },
    "billing.top_up": _texts("success_url cancel_url", url),
}
# the state of the session is judged first: its endpoint asks for these
OF_STATE: Mapping[str, Mapping[str, Rule]] = {
    "session.update_status": {
        "new_status": _ANY_TEXT,
        **_texts("comment email_language"),
        "send_email": flag,
        "email_address": email,
    },
}


def member_faults(rules: Mapping[str, Rule], body: Any) -> dict[str, Any] | None:
    """What is wrong with each member of a body, an object or a form; None if nothing. A member that is null is not looked at."""
    form = isinstance(body, MultipartForm)
    given = body.fields if isinstance(body, MultipartForm) else body
    return faults_of(rules, given, form) if isinstance(given, dict) else None
