"""Who an application is to Microsoft Entra, and everything that can be wrong with it."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from string import Formatter
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError

from slackwater.calendars.microsoft_graph import MicrosoftGraphConfig
from slackwater.core.access_words import ACCESS
from slackwater.core.gaps import fault_gaps
from slackwater.core.spec import Privacy
from slackwater.core.words import WORDS, Reason
from slackwater.errors import ConfigError
from slackwater.net import Identities, OperatorIdentity
from tests.calendars.graph_rig import SECRET, events, look, refused
from tests.calendars.support import CANARY
from tests.fakes.graph import GraphError
from tests.fakes.graph_entra import CLIENT, EXCHANGE, TENANT, Federation, Refusal
from tests.fakes.graph_tls import client_certificate, pem_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUNDLE = {"clientSecretRef": None, "certificateSecretRef": {"name": "entra", "key": "pem"}}
IDENTITY = {"clientSecretRef": None, "identity": "azure"}
ISSUER, SUBJECT = "https://issuer.example", "system:serviceaccount:slackwater:slackwater"


# --- tokens ---


async def test_one_token_serves_many_looks(graph) -> None:
    source = graph.open()
    state = (await look(source)).state
    for _ in range(3):
        state = (await look(source, state)).state
    assert graph.fake.entra.asked == [
        f"GET /{TENANT}/v2.0/.well-known/openid-configuration",
        f"POST /{TENANT}/oauth2/v2.0/token",
    ]


async def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over(graph) -> None:
    source = graph.open()
    await look(source)
    graph.clock.seconds = 0.79 * 3599
    await look(source)
    assert len(graph.fake.entra.tokens) == 1
    graph.clock.seconds = 0.81 * 3599
    await look(source)
    assert len(graph.fake.entra.tokens) == 2


async def test_a_renewal_that_fails_leaves_the_token_that_still_holds(graph) -> None:
    source = graph.open()
    await look(source)
    graph.clock.seconds = 0.9 * 3599
    graph.fake.entra.fail = [web.Response(status=503) for _ in range(9)]
    await look(source)
    await look(source)
    assert len(graph.fake.entra.fail) == 8, "and it is not tried at every look"
    graph.clock.seconds = 3599
    assert (await refused(source)).reason is Reason.UNAVAILABLE


async def test_a_token_that_graph_refuses_is_replaced_once(graph) -> None:
    source = graph.open()
    await look(source)
    graph.fake.entra.revoke()
    await look(source)
    assert len(graph.fake.entra.tokens) == 1
    graph.fake.asked.clear()
    graph.fake.fail = [GraphError(401, "InvalidAuthenticationToken") for _ in range(9)]
    assert (await refused(source)).reason is Reason.UNAUTHORIZED
    assert len(graph.fake.asked) == 2


async def test_a_changed_secret_counts_at_once(graph) -> None:
    app = graph.fake.entra.apps[CLIENT]
    app.secrets = {"new"}
    source = graph.open()
    assert (await refused(source)).reason is Reason.UNAUTHORIZED
    graph.secrets.values[SECRET] = "new\n"
    await look(source)


async def test_a_secret_that_is_missing_is_named(graph) -> None:
    error = await refused(graph.open(clientSecretRef={"name": "other", "key": "secret"}))
    assert error.reason is Reason.SECRET_NOT_FOUND
    assert error.gaps["ref"] == "research/other"


# --- what Entra says ---


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        (7000215, "invalid_client", Reason.UNAUTHORIZED),
        (7000222, "invalid_client", Reason.CREDENTIALS_EXPIRED),
        (90002, "invalid_tenant", Reason.TENANT_NOT_FOUND),
        (900023, "invalid_request", Reason.TENANT_NOT_FOUND),
        (900382, "invalid_request", Reason.TENANT_NOT_FOUND),
        (700016, "unauthorized_client", Reason.APPLICATION_NOT_FOUND),
        (7000229, "unauthorized_client", Reason.APPLICATION_NOT_FOUND),
        (65001, "invalid_grant", Reason.CONSENT_REQUIRED),
        (700213, "invalid_client", Reason.IDENTITY_REFUSED),
        (70021, "invalid_client", Reason.IDENTITY_REFUSED),
        (53003, "access_denied", Reason.FORBIDDEN),
        (7000112, "unauthorized_client", Reason.FORBIDDEN),
        (500011, "invalid_resource", Reason.BAD_REQUEST),
        (90033, "temporarily_unavailable", Reason.UNAVAILABLE),
        (12345678, "temporarily_unavailable", Reason.UNAVAILABLE),
        (12345678, "something_new", Reason.UNAUTHORIZED),
    ],
)
@pytest.mark.parametrize("at", ["discovery", "token"])
async def test_each_refusal_of_entra_has_its_reason_and_a_remedy(
    graph, code, error, reason, at
) -> None:
    source = graph.open()
    refusal = Refusal(code, error, f"{CANARY} was not accepted.", 400 if at == "discovery" else 401)
    if at == "token":
        graph.fake.entra.token_faults = [refusal]
    else:
        graph.fake.entra.fail = [refusal]
    caught = await refused(source)
    assert caught.reason is reason
    assert WORDS[reason].remedy
    assert caught.sentence.startswith("Calendar research/team ")
    await look(source)  # it is not remembered


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"tenantId": "nobody.example"}, Reason.TENANT_NOT_FOUND),
        ({"clientId": CLIENT[:-1] + "0"}, Reason.APPLICATION_NOT_FOUND),
    ],
)
async def test_what_does_not_exist_is_told_apart(graph, over, reason) -> None:
    assert (await refused(graph.open(**over))).reason is reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 429, "headers": {"Retry-After": "17"}}, Reason.THROTTLED),
        ({"status": 503, "headers": {"Retry-After": "17"}}, Reason.UNAVAILABLE),
        ({"status": 504}, Reason.TIMEOUT),
        ({"status": 302, "headers": {"Location": "https://evil.example/"}}, Reason.REDIRECTED),
        ({"text": f"<html>{CANARY}</html>"}, Reason.MALFORMED),
        ({"text": "[]"}, Reason.MALFORMED),
        ({"status": 400, "text": "<html>"}, Reason.MALFORMED),
        ({"status": 404}, Reason.NOT_FOUND),
    ],
)
@pytest.mark.parametrize("at", ["discovery", "token"])
async def test_an_answer_that_is_none_of_entras_is_told(graph, answer, reason, at) -> None:
    fault = web.Response(**answer)
    if at == "token":
        graph.fake.entra.token_faults = [fault]
    else:
        graph.fake.entra.fail = [fault]
    error = await refused(graph.open())
    assert error.reason is reason
    if "Retry-After" in fault.headers:
        assert error.retry_after == timedelta(seconds=17)


@pytest.mark.parametrize(
    "answer",
    [
        {"token_type": "Bearer"},
        {"access_token": ""},
        {"access_token": "x"},
        {"access_token": "x", "expires_in": "soon"},
        {"access_token": 3, "expires_in": 3599},
    ],
)
async def test_a_token_answer_without_a_token_is_no_token(graph, answer) -> None:
    graph.fake.entra.token_faults = [web.json_response(answer)]
    assert (await refused(graph.open())).reason is Reason.MALFORMED
    assert graph.fake.asked == []


@pytest.mark.parametrize("answer", [{}, {"token_endpoint": 3}, {"token_endpoint": "/token"}])
async def test_a_discovery_document_of_another_kind_is_told(graph, answer) -> None:
    graph.fake.entra.fail = [web.json_response(answer)]
    assert (await refused(graph.open())).reason is Reason.MALFORMED
    assert graph.fake.entra.asked == [f"GET /{TENANT}/v2.0/.well-known/openid-configuration"]


@pytest.mark.parametrize("codes", [3, "7000222", [], None, [{}]])
async def test_codes_in_another_form_are_no_surprise(graph, codes) -> None:
    answer = {"error": "x", "error_description": "AADSTS7000222: Expired.", "error_codes": codes}
    graph.fake.entra.token_faults = [web.json_response(answer, status=401)]
    assert (await refused(graph.open())).reason is Reason.CREDENTIALS_EXPIRED


async def test_what_the_sentences_about_credentials_need_is_known_to_windows_too() -> None:
    needed = {
        name
        for reason in (Reason.IDENTITY_NOT_LENT, Reason.IDENTITY_UNREADABLE, *ACCESS)
        for _, name, _, _ in Formatter().parse(WORDS[reason].sentence)
        if name
    }
    assert needed <= fault_gaps("Calendar research/team").keys()


async def test_credentials_go_to_the_authority_alone(graph) -> None:
    asked: list[str] = []
    graph.fake.entra.token_origin = graph.origin.replace("127.0.0.1", "localhost")
    error = await refused(graph.open())
    assert error.reason is Reason.BLOCKED_TARGET
    assert [one for one in graph.fake.entra.asked if one.startswith("POST")] == asked


async def test_neither_secret_nor_token_is_logged_at_any_level(graph, caplog) -> None:
    graph.secrets.values[SECRET] = f"{CANARY}-secret"
    graph.fake.entra.apps[CLIENT].secrets = {f"{CANARY}-secret"}
    with caplog.at_level(logging.DEBUG):
        await look(graph.open(Privacy.DETAILS))
    assert next(iter(graph.fake.entra.tokens)).startswith(CANARY)
    assert CANARY not in caplog.text


# --- certificates ---


@pytest.fixture(scope="module")
def certificate() -> Any:
    return client_certificate()


def bundle(certificate: Any, key: str) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode() + key


async def test_a_certificate_proves_who_an_application_is(graph, certificate) -> None:
    made, key = certificate
    app = graph.fake.entra.apps[CLIENT]
    app.certificates = [made]
    for pem in (bundle(made, pem_of(key)), pem_of(key) + bundle(made, "")):
        graph.secrets.values["research", "entra", "pem"] = pem
        await look(graph.open(**BUNDLE))
    assert len(graph.fake.entra.assertions) == 2


async def test_a_certificate_that_is_not_the_applications_is_refused(graph, certificate) -> None:
    made, key = certificate
    graph.secrets.values["research", "entra", "pem"] = bundle(made, pem_of(key))
    assert (await refused(graph.open(**BUNDLE))).reason is Reason.UNAUTHORIZED


async def test_a_certificate_that_has_expired_is_not_even_sent(graph, certificate) -> None:
    made, key = client_certificate(days=-400)
    graph.secrets.values["research", "entra", "pem"] = bundle(made, pem_of(key))
    assert (await refused(graph.open(**BUNDLE))).reason is Reason.CREDENTIALS_EXPIRED
    assert graph.fake.entra.asked == []


async def test_an_expired_key_of_entras_word_is_expired(graph) -> None:
    text = "Client assertion contains an invalid signature. [Reason - The key used is expired.]"
    graph.fake.entra.token_faults = [Refusal(700027, "invalid_client", text, 401)]
    assert (await refused(graph.open())).reason is Reason.CREDENTIALS_EXPIRED


@pytest.mark.parametrize(
    "what", ["nothing", "words", "key", "certificate", "locked", "another's", "another kind"]
)
async def test_a_secret_that_holds_no_certificate_with_its_key_is_told(
    graph, certificate, what
) -> None:
    made, key = certificate
    graph.secrets.values["research", "entra", "pem"] = {
        "nothing": "",
        "words": CANARY,
        "key": pem_of(key),
        "certificate": bundle(made, ""),
        "locked": bundle(made, pem_of(key, "password")),
        "another kind": pem_of(ec.generate_private_key(ec.SECP256R1())) + bundle(made, ""),
        "another's": bundle(made, pem_of(rsa.generate_private_key(65537, 2048))),
    }[what]
    error = await refused(graph.open(**BUNDLE))
    assert error.reason is Reason.CERTIFICATE_UNREADABLE
    assert graph.fake.entra.asked == []


# --- the operator's own identity ---


@pytest.fixture(scope="module")
def issuer() -> Any:
    return rsa.generate_private_key(65537, 2048)


def lent(graph: Any, at: Path, **over: Any) -> Identities:
    host = graph.origin.removeprefix("https://")
    given = {"hosts": frozenset({host}), "namespaces": frozenset({"research"}), **over}
    return Identities([OperatorIdentity(name="azure", token_file=at / "token", **given)])


def token(key: Any, subject: str = SUBJECT, audience: str = EXCHANGE) -> str:
    return jwt.encode({"iss": ISSUER, "sub": subject, "aud": audience}, key, algorithm="RS256")


async def test_an_application_can_trust_the_operators_identity(graph, tmp_path, issuer) -> None:
    app = graph.fake.entra.apps[CLIENT]
    app.federations = [Federation(ISSUER, SUBJECT, issuer.public_key())]
    (tmp_path / "token").write_text(f"{token(issuer)}\n")
    graph.box.create("2026-04-01T10:00", "2026-04-01T11:00")
    source = graph.open(identities=lent(graph, tmp_path), **IDENTITY)
    assert len(await events(source)) == 1
    assert graph.fake.entra.assertions == [token(issuer)]
    second = token(rsa.generate_private_key(65537, 2048))
    (tmp_path / "token").write_text(second)
    graph.clock.seconds = 3599
    assert (await refused(source)).reason is Reason.IDENTITY_REFUSED
    assert graph.fake.entra.assertions[-1] == second, "the file is read for each token"


@pytest.mark.parametrize(
    "wrong", [{"subject": "system:serviceaccount:evil:evil"}, {"audience": "api://other"}]
)
async def test_a_token_that_the_application_does_not_trust_is_told(
    graph, tmp_path, issuer, wrong
) -> None:
    app = graph.fake.entra.apps[CLIENT]
    app.federations = [Federation(ISSUER, SUBJECT, issuer.public_key())]
    (tmp_path / "token").write_text(token(issuer, **wrong))
    error = await refused(graph.open(identities=lent(graph, tmp_path), **IDENTITY))
    assert error.reason is Reason.IDENTITY_REFUSED


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
async def test_a_token_file_that_cannot_be_read_is_told(graph, tmp_path, content) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    error = await refused(graph.open(identities=lent(graph, tmp_path), **IDENTITY))
    assert error.reason is Reason.IDENTITY_UNREADABLE
    assert str(tmp_path) not in str(error)


@pytest.mark.parametrize(
    "over",
    [
        {"namespaces": frozenset({"other"})},
        {"hosts": frozenset({"login.microsoftonline.com"})},
        {"hosts": frozenset({"127.0.0.1"}), "namespaces": frozenset()},
    ],
)
async def test_an_identity_is_for_whom_the_operator_lends_it_to(graph, tmp_path, over) -> None:
    with pytest.raises(ConfigError) as caught:
        graph.open(identities=lent(graph, tmp_path, **over), **IDENTITY)
    assert caught.value.reason is Reason.IDENTITY_NOT_LENT
    with pytest.raises(ConfigError):
        graph.open(**IDENTITY)


# --- where credentials may go (R14) ---


@pytest.mark.parametrize(
    ("authority", "endpoint"),
    [
        (None, None),
        (None, "https://graph.microsoft.com/"),
        ("https://login.microsoftonline.us", None),
        ("https://login.microsoftonline.us/", "https://dod-graph.microsoft.us"),
        ("https://Login.PARTNER.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"),
    ],
)
async def test_microsofts_clouds_may_be_named(graph, authority, endpoint) -> None:
    graph.open(authority=authority, endpoint=endpoint, hosts=frozenset())


@pytest.mark.parametrize(
    ("authority", "endpoint", "field"),
    [
        ("https://login.evil.example", None, "endpoint"),
        ("https://login.evil.example", "https://graph.microsoft.com", "authority"),
        (None, "https://graph.evil.example", "endpoint"),
        (None, "https://graph.microsoft.com:8443", "endpoint"),
        (None, "https://graph.microsoft.us", "endpoint"),
        ("https://login.microsoftonline.us", "https://graph.microsoft.com", "endpoint"),
        ("https://login.microsoftonline.com.evil.example", None, "endpoint"),
    ],
)
async def test_nobody_else_is_shown_a_credential(graph, authority, endpoint, field) -> None:
    with pytest.raises(ConfigError) as caught:
        graph.open(authority=authority, endpoint=endpoint, hosts=frozenset())
    assert caught.value.reason is Reason.INVALID_SPEC
    assert f"microsoftGraph.{field} " in caught.value.sentence


async def test_hosts_that_the_operator_names_may_be_named(graph) -> None:
    own = frozenset({"login.sovereign.example", "graph.sovereign.example:8443"})
    here = {
        "authority": "https://login.sovereign.example",
        "endpoint": "https://graph.sovereign.example:8443",
    }
    graph.open(hosts=own, **here)
    for missing in own:
        with pytest.raises(ConfigError):
            graph.open(hosts=own - {missing}, **here)


async def test_free_busy_of_an_object_id_is_refused_with_a_remedy(graph) -> None:
    with pytest.raises(ConfigError, match="mailbox must be an address"):
        graph.open(Privacy.FREE_BUSY, mailbox=TENANT)
    graph.open(Privacy.BASIC, mailbox=TENANT)


@pytest.mark.parametrize(
    "over",
    [
        {"identity": "azure"},
        {"clientSecretRef": None},
        {"tenantId": "common"},
        {"tenantId": "contoso.example/../x"},
        {"clientId": "not-a-guid"},
        {"mailbox": "team@contoso.example/../boss"},
        {"authority": "http://login.microsoftonline.com"},
        {"authority": "https://user@login.microsoftonline.com"},
        {"authority": "https://login.microsoftonline.com/tenant"},
        {"endpoint": "https://graph.microsoft.com/beta"},
        {"calendarId": "../../me"},
    ],
)
async def test_a_configuration_that_cannot_work_is_refused(graph, over) -> None:
    with pytest.raises(ValidationError):
        MicrosoftGraphConfig.model_validate(graph.config(**over))
