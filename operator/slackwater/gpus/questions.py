"""All that one sample asks, as one query: the numbers of `queries`, and how old they are. Pure text."""

from __future__ import annotations

from collections.abc import Mapping

from slackwater.gpus.queries import (
    DEVICE_PERCENT,
    DEVICE_RATIO,
    HOSTS,
    LOAD_SAMPLED_SERIES,
    NODES_SAMPLED_SERIES,
    PROFILING,
    WHAT,
    Scope,
    allocatable,
    capacity,
    held,
    labelled,
    ready,
    reports,
    requested,
    visible,
)

# --- age ---------------------------------------------------------------------------------------


def ages_of_load(scope: Scope) -> dict[str, str]:
    """Seconds since the oldest samples of the GPUs' loads were taken; none where none reports."""
    if scope.recorded:
        times = list(scope.hosted(LOAD_SAMPLED_SERIES))
    else:
        times = [f"timestamp({one})" for one in _load_selectors(scope)]
    return {f"age.load.{i}": _age(one, scope, HOSTS) for i, one in enumerate(times)}


def ages_of_nodes(scope: Scope) -> dict[str, str]:
    """Seconds since the oldest samples of the nodes, and of requests bound to them, were taken."""
    times = {name: f"timestamp({one})" for name, one in _node_selectors(scope).items()}
    if scope.recorded_nodes:
        times = {of: f'{NODES_SAMPLED_SERIES}{{of="{of}", {scope.on_node}}}' for of in times}
    return {f"age.{name}": _age(one, scope, "node") for name, one in times.items()}


def load_sampled(scope: Scope) -> str:
    """When the oldest sample of each host's loads was taken, as Unix time."""
    selectors = {str(i): one for i, one in enumerate(_load_selectors(scope))}
    return f"min by ({HOSTS}) ({_oldest(HOSTS, selectors)})"


def nodes_sampled(scope: Scope) -> str:
    """The same of each node, by the label `of`: its GPUs, its state, requests bound to it."""
    return _oldest("node", _node_selectors(scope))


def _load_selectors(scope: Scope) -> list[str]:
    names = (*PROFILING, DEVICE_RATIO, DEVICE_PERCENT)
    return [one for name in names for one in scope.hosted(name)]


def _node_selectors(scope: Scope) -> dict[str, str]:
    here = f"{{{scope.of_resource}, {scope.on_node}}}"
    return {
        "nodes": f"kube_node_status_allocatable{here}",
        "ready": ready(scope),
        "requests": f"kube_pod_container_resource_requests{here}",
    }


def _oldest(labels: str, selectors: Mapping[str, str]) -> str:
    return " or ".join(
        f'label_replace(min by ({labels}) (timestamp({one})), "of", "{name}", "", "")'
        for name, one in selectors.items()
    )


def _age(times: str, scope: Scope, labels: str) -> str:
    # By the server's clock alone. timestamp() gives the time of the raw sample only for a bare
    # selector, and drops its name, so that each series name needs a question of its own.
    by = f" by ({labels}) " if scope.nodes is None else ""
    return f"time() - min{by}({times})"


# --- one request -------------------------------------------------------------------------------


def kubernetes(scope: Scope) -> dict[str, str]:
    """What a sample asks in mode Kubernetes, by the names that `slackwater.gpus.reading` knows."""
    return {
        **ages_of_load(scope),
        **ages_of_nodes(scope),
        "capacity": capacity(scope),
        "allocatable": allocatable(scope),
        "requested": requested(scope),
        "labelled": labelled(),
        "visible": visible(scope),
        "reports": reports(scope),
    }


def exporter(scope: Scope, busy: float) -> dict[str, str]:
    """What a sample asks in mode Exporter."""
    return {**ages_of_load(scope), "held": held(scope, busy), "reports": reports(scope)}


def union(questions: Mapping[str, str]) -> str:
    """All questions in one query; each row of the answer tells by `what` which one it answers.

    Each `or` goes through all rows to its left: questions with few rows come first.
    """
    return "\nor ".join(
        f'label_replace({text}, "{WHAT}", "{name}", "", "")' for name, text in questions.items()
    )
