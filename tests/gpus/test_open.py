from __future__ import annotations

from datetime import timedelta

import pytest

from slackwater.api.gpu_pool import GPUPoolSpec
from slackwater.api.pool_source import Queries
from slackwater.core.words import Reason
from slackwater.errors import ConfigError
from slackwater.gpus.client import RESERVED
from slackwater.gpus.config import (
    Basic,
    Bearer,
    ClientCertificate,
    Mode,
    PrometheusConfig,
    SecretKey,
    Toleration,
)
from slackwater.gpus.open import open_pool, pool_config, prometheus_config
from slackwater.gpus.prometheus import PrometheusPool
from slackwater.gpus.static import StaticPool
from slackwater.net import SERVICE_POLICY
from tests.gpus.fake_prometheus import LOOPBACK, REF, row, vector

ADDRESS = "https://prometheus.example/"


def spec(prometheus=None, **fields) -> GPUPoolSpec:
    source = {"prometheus": {"serverAddress": ADDRESS, **(prometheus or {})}}
    if "nodeSelector" not in fields:
        fields = {"nodes": "gpu-.*", **fields}
    return GPUPoolSpec.model_validate({"source": source, **fields})


def config(**prometheus) -> PrometheusConfig:
    source = spec(prometheus).source.prometheus
    assert source is not None
    return prometheus_config(source)


def complaint(**prometheus) -> str:
    with pytest.raises(ConfigError) as caught:
        config(**prometheus)
    assert caught.value.reason is Reason.INVALID_SPEC
    return caught.value.sentence


async def no_nodes(selector):
    return frozenset()


def ref(name: str, key: str = "value") -> dict[str, str]:
    return {"name": name, "key": key}


def test_a_spec_without_extras_has_the_documented_defaults():
    assert config() == PrometheusConfig(server_address=ADDRESS)


def test_every_field_arrives():
    assert config(
        mode="Exporter",
        busyPercent=20,
        headers=[{"name": "X-Scope-OrgID", "valueSecretRef": ref("tenant", "id")}],
        queryParameters={"dedup": "true"},
        timeoutSeconds=7,
        queries={"sampleAge": "time() - x", "utilization": "u"},
    ) == PrometheusConfig(
        server_address=ADDRESS,
        mode=Mode.EXPORTER,
        busy_percent=20,
        headers=(("X-Scope-OrgID", SecretKey("tenant", "id")),),
        query_parameters=(("dedup", "true"),),
        timeout=timedelta(seconds=7),
        queries={"sampleAge": "time() - x", "utilization": "u"},
    )


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"bearerTokenSecretRef": ref("a")}, Bearer(SecretKey("a", "value"))),
        (
            {"basic": {"usernameSecretRef": ref("a", "u"), "passwordSecretRef": ref("a", "p")}},
            Basic(SecretKey("a", "u"), SecretKey("a", "p")),
        ),
        (
            {
                "clientCertificate": {
                    "certificateSecretRef": ref("a", "crt"),
                    "keySecretRef": ref("a", "key"),
                }
            },
            ClientCertificate(SecretKey("a", "crt"), SecretKey("a", "key")),
        ),
    ],
)
def test_every_way_to_log_in_arrives(auth, expected):
    assert config(auth=auth).auth == expected


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_parameter_that_is_ours_to_set_is_refused(name):
    assert complaint(queryParameters={name: "0"}) == (
        f"spec.source.prometheus.queryParameters: {name} is set by Slackwater."
    )


@pytest.mark.parametrize("name", ["Host", "Content-Length", "transfer-encoding"])
def test_a_header_that_is_ours_to_set_is_refused(name):
    told = complaint(headers=[{"name": name, "valueSecretRef": ref("a")}])
    assert told == f"spec.source.prometheus.headers: {name} is set by Slackwater."


@pytest.mark.parametrize("address", ["http:///path", "http://[::1", "https://:9090"])
def test_an_address_without_a_host_is_refused(address):
    told = complaint(serverAddress=address)
    assert told == "spec.source.prometheus.serverAddress: is no address of a server."


def test_a_ca_bundle_that_cannot_be_read_is_refused_at_once():
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert complaint(caBundle=broken) == (
        "spec.source.prometheus.caBundle: holds no certificate that can be read."
    )


def test_nodes_and_taints_arrive():
    found = pool_config(
        REF,
        spec(
            tolerations=[{"key": "spot"}, {"key": "d", "value": "v", "effect": "NoExecute"}],
            resource="amd.com/gpu",
        ),
        no_nodes,
    )
    assert (found.ref, found.nodes, found.select_nodes) == (REF, "gpu-.*", None)
    assert found.resource == "amd.com/gpu"
    assert found.tolerations == (
        Toleration(key="spot"),
        Toleration(key="d", value="v", effect="NoExecute"),
    )


async def test_a_node_selector_is_resolved_at_each_sample():
    seen = []

    async def node_names(selector):
        seen.append(selector)
        return frozenset({f"gpu-{len(seen)}"})

    found = pool_config(REF, spec(nodeSelector={"matchLabels": {"pool": "h100"}}), node_names)
    assert found.nodes is None
    assert found.select_nodes is not None
    assert [await found.select_nodes(), await found.select_nodes()] == [{"gpu-1"}, {"gpu-2"}]
    assert seen == [{"matchLabels": {"pool": "h100"}}] * 2


async def test_a_static_source_opens_without_a_network(clock, secrets):
    static = GPUPoolSpec.model_validate({"source": {"static": {"gpus": 8}}})
    source = open_pool(REF, static, clock=clock, secrets=secrets, node_names=no_nodes)
    assert isinstance(source, StaticPool)
    assert (await source.sample()).capacity == 8


async def test_every_query_that_a_spec_can_replace_is_asked(fake, clock, secrets):
    own = {field.alias: f"own_{field.alias}" for field in Queries.model_fields.values()}
    fake.reply = lambda asked: vector(row(1, node="n"))
    source = open_pool(
        REF,
        spec({"serverAddress": fake.url, "queries": own}),
        clock=clock,
        secrets=secrets,
        node_names=no_nodes,
        policy=LOOPBACK,
    )
    sample = await source.sample()
    await source.aclose()
    assert sorted(asked.query for asked in fake.asked) == sorted(own.values())
    assert (sample.capacity, sample.waiting, sample.coverage) == (1, 1, 1.0)


def test_prometheus_may_be_private_but_not_loopback_unless_the_operator_says_so(clock, secrets):
    source = open_pool(REF, spec(), clock=clock, secrets=secrets, node_names=no_nodes)
    assert isinstance(source, PrometheusPool)
    assert source._client._access._policy == SERVICE_POLICY
