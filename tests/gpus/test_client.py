"""The client against a server that does everything wrong that servers do."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from datetime import timedelta

import pytest
from aiohttp import web

from slackwater.core.words import Reason
from slackwater.errors import PoolError
from slackwater.gpus.answer import Row
from slackwater.gpus.config import Basic, Bearer, SecretKey
from slackwater.net import NetPolicy
from tests.gpus.fake_prometheus import SERVER_NOW, failure, row, success, vector

CANARY = "c4n4ry"


async def refused(awaitable) -> PoolError:
    with pytest.raises(PoolError) as caught:
        await awaitable
    assert CANARY not in repr(caught.value) + str(caught.value) + caught.value.sentence
    return caught.value


async def test_rows_carry_labels_the_servers_time_and_a_number(fake, connect):
    fake.reply = lambda asked: vector(row("1.5", node="a"), row(-2, node="b"))
    assert await connect().query("up") == (
        Row({"node": "a"}, SERVER_NOW, 1.5),
        Row({"node": "b"}, SERVER_NOW, -2.0),
    )


async def test_a_scalar_is_one_row(fake, connect):
    fake.reply = lambda asked: success("scalar", [SERVER_NOW, "7"])
    assert await connect().query("7") == (Row({}, SERVER_NOW, 7.0),)


async def test_no_rows_are_no_rows(fake, connect):
    assert await connect().query("absent_metric") == ()


async def test_the_server_decides_what_now_is_and_stops_when_we_do(fake, connect):
    await connect(timeout=timedelta(seconds=2.5)).query('up{a="+&=%;/ü"}')
    (asked,) = fake.asked
    assert asked.method == "GET"
    assert asked.path == "/api/v1/query"
    assert asked.url_parameters == {"query": 'up{a="+&=%;/ü"}', "timeout": "2.5"}
    assert asked.form == {}


async def test_long_queries_are_posted_with_the_users_parameters_in_the_url(fake, connect):
    text = "up or " * 300 + "up"
    client = connect(query_parameters=(("dedup", "true"), ("namespace", "a b&c")))
    await client.query(text)
    (asked,) = fake.asked
    assert asked.method == "POST"
    assert asked.form == {"query": text, "timeout": "10"}
    assert asked.url_parameters == {"dedup": "true", "namespace": "a b&c"}


async def test_a_path_prefix_and_parameters_of_the_address_are_kept(fake, connect):
    await connect(server_address=f"{fake.url}/prom/?tenant=x").query("up")
    (asked,) = fake.asked
    assert asked.path == "/prom/api/v1/query"
    assert asked.url_parameters["tenant"] == "x"


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
async def test_what_is_no_number_blocks(fake, connect, value):
    fake.reply = lambda asked: vector(row(1, node="a"), row(value, node="b"))
    assert (await refused(connect().query("up"))).reason is Reason.NOT_A_NUMBER


@pytest.mark.parametrize(
    "answer",
    [
        success("matrix", [{"metric": {}, "values": [[1, "1"]]}]),
        success("string", [SERVER_NOW, "text"]),
        vector({"metric": {}, "histogram": [SERVER_NOW, {"count": "1", "sum": "1"}]}),
    ],
    ids=["matrix", "string", "native histogram"],
)
async def test_a_result_of_the_wrong_type_blocks(fake, connect, answer):
    fake.reply = lambda asked: answer
    assert (await refused(connect().query("up"))).reason is Reason.BAD_RESULT_TYPE


async def test_warnings_mean_a_partial_answer(fake, connect):
    fake.reply = lambda asked: vector(row(1), warnings=[f"store {CANARY} did not answer"])
    assert (await refused(connect().query("up"))).reason is Reason.PARTIAL_RESPONSE


@pytest.mark.parametrize(
    "remarks",
    [
        {"infos": ["PromQL info: metric might not be a counter"]},
        {"warnings": ["PromQL info: metric might not be a counter"]},
        {"warnings": []},
        {"warnings": None},
    ],
    ids=["3.x", "2.5x", "empty", "null"],
)
async def test_remarks_about_the_query_do_not_block(fake, connect, remarks):
    fake.reply = lambda asked: vector(row(1), **remarks)
    assert len(await connect().query("up")) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (failure(400, "bad_data", f"parse error near {CANARY}"), Reason.BAD_QUERY),
        (failure(422, "execution", f"many-to-one: {{a={CANARY}}}"), Reason.BAD_QUERY),
        (web.Response(status=400, text=f"<h1>Bad {CANARY}</h1>"), Reason.NOT_PROMETHEUS),
        (web.Response(status=413), Reason.BAD_QUERY),
        (web.Response(status=401, text=CANARY), Reason.UNAUTHORIZED),
        (web.Response(status=403, text=CANARY), Reason.FORBIDDEN),
        (web.Response(status=404, text="not here"), Reason.NOT_PROMETHEUS),
        (web.Response(status=405), Reason.NOT_PROMETHEUS),
        (web.Response(status=408), Reason.TIMEOUT),
        (failure(503, "timeout", "query timed out"), Reason.TIMEOUT),
        (web.Response(status=503, text="starting"), Reason.UNAVAILABLE),
        (web.Response(status=500), Reason.UNAVAILABLE),
        (web.Response(status=502), Reason.UNAVAILABLE),
        (web.Response(status=504), Reason.TIMEOUT),
        (web.Response(status=204), Reason.NOT_PROMETHEUS),
        (web.Response(status=302, headers={"Location": f"/login?{CANARY}"}), Reason.REDIRECTED),
        (web.Response(status=304), Reason.REDIRECTED),
        (web.Response(text="<html>Log in</html>", content_type="text/html"), Reason.NOT_PROMETHEUS),
        (web.Response(text=""), Reason.NOT_PROMETHEUS),
        (web.Response(text="[" * 100_000), Reason.NOT_PROMETHEUS),
        (web.Response(body=b"\xff\xfe\x00"), Reason.NOT_PROMETHEUS),
        (web.Response(body=b"x", headers={"Content-Encoding": "gzip"}), Reason.NOT_PROMETHEUS),
        (web.json_response([1]), Reason.NOT_PROMETHEUS),
        (web.json_response({"status": "success"}), Reason.NOT_PROMETHEUS),
        (web.json_response({"status": "ok", "data": {}}), Reason.NOT_PROMETHEUS),
        (web.json_response(vector({"value": [1, "1"]})), Reason.NOT_PROMETHEUS),
        (web.json_response(vector({"metric": {}, "value": [1]})), Reason.NOT_PROMETHEUS),
        (web.json_response(vector(row("many"))), Reason.NOT_PROMETHEUS),
        (web.json_response(vector(row(1, at=1e300))), Reason.NOT_PROMETHEUS),
    ],
    ids=lambda value: value.name if isinstance(value, Reason) else "",
)
async def test_every_failure_has_one_reason_and_quotes_nothing(fake, connect, answer, reason):
    fake.reply = lambda asked: answer
    error = await refused(connect().query("up"))
    assert error.reason is reason
    assert error.gaps == {"what": "Prometheus of pool research/h100"}


async def test_a_throttling_server_says_for_how_long(fake, connect):
    fake.reply = lambda asked: web.Response(status=429, headers={"Retry-After": "7"})
    error = await refused(connect().query("up"))
    assert error.reason is Reason.THROTTLED
    assert error.retry_after == timedelta(seconds=7)


async def test_a_redirect_is_not_followed(fake, connect):
    fake.reply = lambda asked: web.Response(
        status=307, headers={"Location": f"{fake.url}/elsewhere"}
    )
    assert (await refused(connect().query("up"))).reason is Reason.REDIRECTED
    assert len(fake.asked) == 1


async def test_a_server_that_drips_is_given_up(fake, connect):
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.005)

    fake.handle_raw = drip
    client = connect(timeout=timedelta(seconds=0.1))
    assert (await refused(client.query("up"))).reason is Reason.TIMEOUT


async def test_an_endless_answer_is_cut_off(fake, connect, monkeypatch):
    monkeypatch.setattr("slackwater.gpus.client.BODY_LIMIT", 1000)
    fake.reply = lambda asked: vector(*(row(1, node=str(i)) for i in range(100)))
    assert (await refused(connect().query("up"))).reason is Reason.TOO_LARGE


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http:///prometheus", "http://a:b"])
async def test_an_address_where_nobody_is_is_unreachable(connect, address):
    client = connect(server_address=address)
    assert (await refused(client.query("up"))).reason is Reason.UNREACHABLE


async def test_an_address_that_the_policy_forbids_is_not_asked(fake, connect):
    client = connect(policy=NetPolicy(private=True))
    assert (await refused(client.query("up"))).reason is Reason.BLOCKED_TARGET
    assert fake.asked == []


async def test_the_one_to_blame_can_be_named(fake, connect):
    fake.reply = lambda asked: failure(400, "bad_data", "no")
    error = await refused(connect().query("up", what="Query x"))
    assert error.sentence == "Query x cannot evaluate the query."


# --- range queries -----------------------------------------------------------------------------


async def test_a_range_query_gives_points_by_the_servers_clock(fake, connect):
    values = [[100, "0.5"], [115, "NaN"], [130.5, "0.75"]]
    fake.reply = lambda asked: success("matrix", [{"metric": {"a": "b"}, "values": values}])
    (series,) = await connect().query_range("up", 100.0, 130.9, 15)
    assert series.points == ((100.0, 0.5), (130.5, 0.75))
    (asked,) = fake.asked
    assert asked.path == "/api/v1/query_range"
    assert asked.url_parameters | {"timeout": ""} == {
        "query": "up",
        "start": "100.000",
        "end": "130.900",
        "step": "15.000",
        "timeout": "",
    }


@pytest.mark.parametrize(
    "answer",
    [vector(row(1)), success("matrix", [{"metric": {}, "histograms": [[1, {}]]}])],
    ids=["vector", "native histograms"],
)
async def test_a_range_query_takes_series_of_numbers_only(fake, connect, answer):
    fake.reply = lambda asked: answer
    error = await refused(connect().query_range("up", 0, 10, 1))
    assert error.reason is Reason.BAD_RESULT_TYPE


# --- credentials -------------------------------------------------------------------------------


async def test_a_token_is_read_again_for_each_request(fake, connect, secrets):
    client = connect(auth=Bearer(SecretKey("prom", "token")))
    for token in ("one", "two\n"):
        secrets.values["research", "prom", "token"] = token
        await client.query("up")
    sent = [asked.headers["Authorization"] for asked in fake.asked]
    assert sent == ["Bearer one", "Bearer two"]


async def test_a_user_and_password_are_sent_as_basic(fake, connect, secrets):
    secrets.values["research", "prom", "user"] = "ada\n"
    secrets.values["research", "prom", "password"] = "pässword:1"
    await connect(auth=Basic(SecretKey("prom", "user"), SecretKey("prom", "password"))).query("up")
    kind, _, value = fake.asked[0].headers["Authorization"].partition(" ")
    assert kind == "Basic"
    assert base64.b64decode(value).decode() == "ada:pässword:1"


async def test_headers_come_from_secrets(fake, connect, secrets):
    secrets.values["research", "tenant", "id"] = "team-a"
    await connect(headers=(("X-Scope-OrgID", SecretKey("tenant", "id")),)).query("up")
    assert fake.asked[0].headers["X-Scope-OrgID"] == "team-a"


async def test_a_missing_secret_says_which(fake, connect):
    error = await refused(connect(auth=Bearer(SecretKey("prom", "token"))).query("up"))
    assert error.reason is Reason.SECRET_NOT_FOUND
    assert error.sentence == "Secret research/prom does not exist or cannot be read."
    assert fake.asked == []


@pytest.mark.parametrize("value", [f"a\r\nX-Admin: {CANARY}", f"{CANARY}\x00", f"{CANARY}ü"])
async def test_a_secret_that_no_header_can_hold_is_not_sent(fake, connect, secrets, value):
    secrets.values["research", "prom", "token"] = value
    error = await refused(connect(auth=Bearer(SecretKey("prom", "token"))).query("up"))
    assert error.reason is Reason.UNAUTHORIZED
    assert fake.asked == []


async def test_no_secret_is_seen_in_anything_printed(fake, connect, secrets, caplog):
    caplog.set_level(logging.DEBUG)
    for key in ("token", "header"):
        secrets.values["research", "prom", key] = CANARY
    client = connect(
        server_address=f"{fake.url}/{CANARY}",
        auth=Bearer(SecretKey("prom", "token")),
        headers=(("X-Key", SecretKey("prom", "header")),),
        query_parameters=(("key", CANARY),),
        ca_bundle=None,
    )
    printed = [repr(client), repr(client._access), repr(client._config)]
    for answer in (vector(), failure(400, "bad_data", CANARY), web.Response(status=401)):
        fake.reply = lambda asked, answer=answer: answer
        try:
            await client.query("up")
        except PoolError as error:
            printed += [
                repr(error),
                str(error),
                repr(error.__context__),
                json.dumps(dict(error.gaps)),
            ]
    printed += [repr(client._access._opened), caplog.text]
    assert CANARY in fake.asked[0].headers["Authorization"] + fake.asked[0].path
    assert CANARY not in "".join(printed)
