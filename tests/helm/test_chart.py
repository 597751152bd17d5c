"""The chart as Helm renders it and as a real API server takes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import helm
from testbed.kubernetes import ControlPlane

pytestmark = pytest.mark.server

CHART = Path(__file__).parents[2] / "helm" / "slackwater"
RELEASE, HOME = "tide", "slackwater-system"

EVERYTHING = {
    "global": {"imagePullSecrets": [{"name": "shared"}]},
    "fullnameOverride": "sw",
    "image": {"digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "own"}],
    "watchNamespaces": ["research", "demo"],
    "operator": {
        "installation": "lab-7",
        "allowNetworks": ["10.20.0.0/16", "fd00::/8"],
        "publicUrl": "https://slackwater.example/",
        "calendarHosts": ["login.sovereign.example"],
        "identities": [
            {
                "name": "ci",
                "tokenFile": "/var/run/tokens/ci",
                "hosts": ["airflow.example"],
                "namespaces": ["research"],
            }
        ],
        "logFormat": "text",
        "extraArgs": ["--context=a b"],
    },
    "replicas": 2,
    "rbac": {
        "secrets": {"namespaces": ["research"], "names": ["airflow", "calendar"]},
        "extraRules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
    },
    "serviceAccount": {"name": "sailor", "annotations": {"a.example/role": "x"}},
    "windowsFile": {"name": "windows", "namespaces": ["demo", "demo", "research"]},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraEnvFrom": [{"secretRef": {"name": "more"}}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    "podAnnotations": {"note": "1"},
    "podLabels": {"team": "platform"},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "service": {"annotations": {"a": "b"}, "port": 9090},
    "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Training"}},
    "podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"},
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {}}],
        "egress": [{"ports": [{"port": 443}]}],
    },
}
CHOICES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "no accounts": {
        "serviceAccount": {"create": False, "name": "given"},
        "rbac": {"create": False},
        "crds": {"enabled": False},
    },
    "one namespace": {"watchNamespaces": ["research"], "rbac": {"nodes": False}},
    "secrets apart": {"rbac": {"secrets": {"namespaces": ["research"]}}},
    "closed network": {
        "networkPolicy": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
    },
}


@pytest.fixture(scope="module")
def run_helm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    home = tmp_path_factory.mktemp("helm")
    program = helm.find()

    def run(*words: str | Path, values: Mapping[str, Any] | None = None, **env: str) -> str:
        done = subprocess.run(
            [program, *words, *(["--values", "-"] if values is not None else [])],
            input=None if values is None else json.dumps(values),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HELM_CACHE_HOME": str(home), "HELM_CONFIG_HOME": str(home), **env},
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    return run


@pytest.fixture(scope="module")
def render(run_helm: Callable[..., str]) -> Callable[..., list[dict[str, Any]]]:
    def rendered(values: Mapping[str, Any], release: str = RELEASE) -> list[dict[str, Any]]:
        text = run_helm("template", release, CHART, "--namespace", HOME, values=values)
        return [document for document in yaml.safe_load_all(text) if document]

    return rendered


def only(documents: list[dict[str, Any]], kind: str, suffix: str = "") -> dict[str, Any]:
    (found,) = [
        document
        for document in documents
        if document["kind"] == kind and document["metadata"]["name"].endswith(suffix)
    ]
    return found


@pytest.mark.parametrize("choice", CHOICES)
def test_helm_finds_nothing_to_complain_about(run_helm: Callable[..., str], choice: str) -> None:
    said = run_helm("lint", "--strict", CHART, values=CHOICES[choice])
    assert "0 chart(s) failed" in said


def test_helm_refuses_a_typo(run_helm: Callable[..., str]) -> None:
    with pytest.raises(RuntimeError, match="replicsa"):
        run_helm("template", RELEASE, CHART, values={"replicsa": 2})


def test_an_account_that_is_not_created_must_be_named(run_helm: Callable[..., str]) -> None:
    with pytest.raises(RuntimeError, match=r"serviceAccount\.name is required"):
        run_helm("template", RELEASE, CHART, values={"serviceAccount": {"create": False}})


def test_the_pod_says_what_the_values_say(render: Callable[..., list[dict[str, Any]]]) -> None:
    documents = render(EVERYTHING)
    deployment = only(documents, "Deployment")["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "ghcr.io/slackwater-dev/slackwater@sha256:" + "0" * 64
    assert container["args"] == [
        "operator",
        "--namespace=research",
        "--namespace=demo",
        "--installation=lab-7",
        "--allow-networks=10.20.0.0/16",
        "--allow-networks=fd00::/8",
        "--public-url=https://slackwater.example/",
        "--calendar-host=login.sovereign.example",
        "--identities=/etc/slackwater/identities.json",
        "--metrics-address=0.0.0.0:8080",
        "--windows-config-map=demo/windows",
        "--windows-config-map=research/windows",
        "--log-format=text",
        "--context=a b",
    ]
    assert [variable["name"] for variable in container["env"]] == [
        "POD_NAME",
        "POD_NAMESPACE",
        "HTTPS_PROXY",
    ]
    assert pod["imagePullSecrets"] == [{"name": "own"}, {"name": "shared"}]
    assert pod["serviceAccountName"] == "sailor"
    lent = json.loads(only(documents, "ConfigMap", "-identities")["data"]["identities.json"])
    assert lent == {"identities": EVERYTHING["operator"]["identities"]}
    assert {"name": "identities", "configMap": {"name": "sw-identities"}} in pod["volumes"]
    assert deployment["strategy"]["type"] == "RollingUpdate"
    assert only(documents, "Service")["spec"]["ports"][0]["port"] == 9090
    selector = deployment["selector"]["matchLabels"]
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    assert only(documents, "Service")["spec"]["selector"] == selector
    assert only(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == selector
    assert only(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == selector


def test_by_default_one_pod_is_replaced_and_not_doubled(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    deployment = only(render({}), "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    (container,) = deployment["template"]["spec"]["containers"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert container["image"].endswith(f":{chart['appVersion']}")
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_the_service_monitor_keeps_our_labels(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    values = {"serviceMonitor": {"enabled": True, "labels": {"release": "prom"}}}
    documents = render(values)
    monitor = only(documents, "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["honorLabels"], endpoint["path"]) == (True, "/metrics")
    assert monitor["metadata"]["labels"]["release"] == "prom"
    service = only(documents, "Service")
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert "ServiceMonitor" not in {document["kind"] for document in render({})}


def test_rules_and_dashboard_are_the_charts_files_and_only_where_wanted(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    files = CHART / "files"
    recording, alerts = (
        yaml.safe_load((files / name).read_text())
        for name in ("recording-rules.yaml", "alerts.yaml")
    )
    wanted = {"enabled": True, "interval": "15s", "labels": {"release": "prom"}}
    rule = only(render({"prometheusRule": wanted}), "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prom"
    assert rule["spec"]["groups"] == [
        {"name": "slackwater-gpu", "interval": "15s", "rules": recording},
        {"name": "slackwater", "rules": alerts},
    ]
    alone = only(render({"prometheusRule": {**wanted, "alerts": False}}), "PrometheusRule")
    assert [group["name"] for group in alone["spec"]["groups"]] == ["slackwater-gpu"]

    board = only(render({"dashboard": {"enabled": True}}), "ConfigMap", "-dashboard")
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert board["data"] == {"slackwater.json": (files / "dashboard.json").read_text()}
    kinds = {document["kind"] for document in render({})}
    assert not kinds & {"PrometheusRule", "ConfigMap"}


@pytest.mark.parametrize(("keep", "policy"), [(True, "keep"), (False, None)])
def test_definitions_are_kept_unless_told_otherwise(
    render: Callable[..., list[dict[str, Any]]], keep: bool, policy: str | None
) -> None:
    crds = [
        document
        for document in render({"crds": {"keep": keep}})
        if document["kind"] == "CustomResourceDefinition"
    ]
    assert len(crds) == 4
    for crd in crds:
        written = yaml.safe_load(
            (
                CHART.parents[1] / "crds" / f"slackwater.dev_{crd['spec']['names']['plural']}.yaml"
            ).read_text()
        )
        annotations = crd["metadata"].pop("annotations", {})
        assert annotations.get("helm.sh/resource-policy") == policy
        assert crd == written


def test_names_stay_within_what_kubernetes_takes(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    for release in ("slackwater", "a" * 53):
        for document in render({}, release):
            if document["kind"] in {"Deployment", "Service", "ServiceAccount", "Role"}:
                assert len(document["metadata"]["name"]) <= 63
    assert only(render({}, "slackwater"), "Deployment")["metadata"]["name"] == "slackwater"


# --- a real API server


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.create_namespace(HOME, {"pod-security.kubernetes.io/enforce": "restricted"})
        for name in ("research", "demo", "other"):
            plane.create_namespace(name)
        yield plane


@pytest.mark.parametrize("choice", CHOICES)
def test_the_api_server_takes_every_object_as_written(
    plane: ControlPlane, run_helm: Callable[..., str], choice: str
) -> None:
    text = run_helm("template", RELEASE, CHART, "--namespace", HOME, values=CHOICES[choice])
    said = plane.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", input=text)
    assert "deployment.apps/" in said
    assert "Warning" not in said


@pytest.mark.parametrize("choice", ["defaults", "everything"])
def test_the_pod_obeys_the_restricted_security_standard(
    plane: ControlPlane, render: Callable[..., list[dict[str, Any]]], choice: str
) -> None:
    template = only(render(CHOICES[choice]), "Deployment")["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator", "namespace": HOME},
        "spec": {
            name: value
            for name, value in template["spec"].items()
            if name != "priorityClassName"  # may be used in kube-system only
        },
    }
    assert "created" in plane.kubectl("create", "--dry-run=server", "-f", "-", input=pod)
    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = {}
    with pytest.raises(RuntimeError, match="PodSecurity"):
        plane.kubectl("create", "--dry-run=server", "-f", "-", input=pod)


# --- rights

OBJECTS = ["airflowinstances", "calendars", "gpupools", "trainingwindows"]
WORK = {
    *((verb, f"{kind}.slackwater.dev") for kind in OBJECTS for verb in ("get", "list", "watch")),
    *(("patch", f"{kind}.slackwater.dev/status") for kind in OBJECTS),
    ("patch", "trainingwindows.slackwater.dev"),
    ("create", "events.events.k8s.io"),
    ("patch", "events.events.k8s.io"),
}
SECRETS = {("get", "secrets")}
MAPS = {("create", "configmaps")}  # and patch, of one name
LEASES = {(verb, "leases.coordination.k8s.io") for verb in ("get", "create", "update")}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
RESOURCES = {
    *(resource for _, resource in WORK | SECRETS | LEASES),
    "pods",
    "configmaps",
    "serviceaccounts",
    "namespaces",
    "nodes",
    "deployments.apps",
    "roles.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
}


def may(
    plane: ControlPlane, account: str, namespace: str, verb: str, resource: str, name: str = ""
) -> bool:
    """Whether a service account may do something: with one object, or (no name) with any."""
    kind, _, subresource = resource.partition("/")
    plural, _, group = kind.partition(".")
    spec = {
        "resourceAttributes": {
            "namespace": namespace,
            "verb": verb,
            "group": group,
            "resource": plural,
            "subresource": subresource,
            "name": name,
        },
        "user": f"system:serviceaccount:{HOME}:{account}",
        "groups": ["system:serviceaccounts", "system:authenticated"],
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    allowed: bool = plane.request("POST", path, {"spec": spec})["status"]["allowed"]
    return allowed


def rights(plane: ControlPlane, account: str, namespace: str) -> set[tuple[str, str]]:
    """What it may do with any object of a namespace, of what is asked about."""
    return {
        (verb, resource)
        for verb in VERBS
        for resource in RESOURCES
        if may(plane, account, namespace, verb, resource)
    }


def may_get(plane: ControlPlane, account: str, resource: str, namespace: str, name: str) -> bool:
    return may(plane, account, namespace, "get", resource, name)


@pytest.fixture
def granted(
    plane: ControlPlane, render: Callable[..., list[dict[str, Any]]]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Applies the roles of a choice of values, and takes them away afterwards."""
    applied: list[dict[str, Any]] = []

    def grant(values: Mapping[str, Any]) -> None:
        applied.extend(
            document for document in render(values) if document["apiVersion"].startswith("rbac.")
        )
        plane.apply(applied)

    yield grant
    plane.kubectl("delete", "-f", "-", input=applied)


def test_the_operators_rights_are_what_it_uses_and_no_more(
    plane: ControlPlane, granted: Callable[[Mapping[str, Any]], None]
) -> None:
    granted({})
    account = f"{RELEASE}-slackwater"
    everywhere = WORK | SECRETS | {("get", "namespaces"), ("list", "nodes")}
    assert rights(plane, account, "other") == everywhere
    assert rights(plane, account, HOME) == everywhere | LEASES | MAPS
    assert may(plane, account, HOME, "patch", "configmaps", "tide-slackwater-windows")
    assert not may(plane, account, HOME, "patch", "configmaps", "other")


def test_named_namespaces_bound_the_rights(
    plane: ControlPlane, granted: Callable[[Mapping[str, Any]], None]
) -> None:
    granted({"watchNamespaces": ["research", "demo"], "rbac": {"nodes": False}})
    account = f"{RELEASE}-slackwater"
    for namespace in ("research", "demo"):
        assert rights(plane, account, namespace) == WORK | SECRETS
        assert may_get(plane, account, "namespaces", namespace, namespace)
    assert rights(plane, account, "other") == set()
    assert rights(plane, account, HOME) == LEASES | MAPS
    assert may_get(plane, account, "namespaces", "kube-system", "kube-system")
    assert not may_get(plane, account, "namespaces", "other", "other")


def test_secrets_can_be_bounded_by_namespace_and_name(
    plane: ControlPlane, granted: Callable[[Mapping[str, Any]], None]
) -> None:
    granted({"rbac": {"secrets": {"namespaces": ["research"], "names": ["airflow"]}}})
    account = f"{RELEASE}-slackwater"
    assert may_get(plane, account, "secrets", "research", "airflow")
    assert not may_get(plane, account, "secrets", "research", "other")
    assert not may_get(plane, account, "secrets", "demo", "airflow")
    assert all(may(plane, account, "demo", verb, resource) for verb, resource in WORK)


# --- a life of the release


def test_an_upgrade_renews_the_definitions_and_uninstalling_keeps_them(
    plane: ControlPlane, run_helm: Callable[..., str], tmp_path: Path
) -> None:
    older = tmp_path / "slackwater"
    shutil.copytree(CHART, older)
    definition = older / "templates" / "crds" / "slackwater.dev_trainingwindows.yaml"
    short_names = "    shortNames:\n      - tw\n"
    assert short_names in definition.read_text()
    definition.write_text(definition.read_text().replace(short_names, ""))
    env = {"KUBECONFIG": str(plane.kubeconfig), "NO_PROXY": "127.0.0.1"}
    crd = "trainingwindows.slackwater.dev"

    said = run_helm("install", RELEASE, older, "--namespace", HOME, values={}, **env)
    assert f"rollout status deployment/{RELEASE}-slackwater" in said
    assert "all namespaces" in said
    plane.kubectl("wait", "--for=condition=Established", "crd", crd, "--timeout=30s")
    window = {
        "apiVersion": "slackwater.dev/v1alpha1",
        "kind": "TrainingWindow",
        "metadata": {"name": "nightly", "namespace": "research"},
        "spec": {
            "windows": [
                {
                    "name": "nights",
                    "effect": "Trigger",
                    "schedule": "0 22 * * *",
                    "durationSeconds": 3600,
                }
            ],
            "dag": {"airflowRef": {"name": "default"}, "dagId": "train"},
        },
    }
    plane.apply(window)
    held = json.loads(plane.kubectl("get", "crd", crd, "-o", "json"))
    assert "shortNames" not in held["spec"]["names"]

    run_helm("upgrade", RELEASE, CHART, "--namespace", HOME, values={}, **env)
    held = json.loads(plane.kubectl("get", "crd", crd, "-o", "json"))
    assert held["spec"]["names"]["shortNames"] == ["tw"]

    run_helm("uninstall", RELEASE, "--namespace", HOME, **env)
    assert "nightly" in plane.kubectl("get", "trainingwindows", "-n", "research")
    assert "No resources" in plane.kubectl("get", "deployments", "-n", HOME, check=False)

    run_helm("install", RELEASE, CHART, "--namespace", HOME, values={}, **env)
    run_helm("uninstall", RELEASE, "--namespace", HOME, **env)
