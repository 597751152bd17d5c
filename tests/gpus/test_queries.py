from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from slackwater.gpus import queries, questions
from slackwater.gpus.config import Toleration
from slackwater.gpus.queries import Scope

POOL = Scope(nodes="gpu-.*")


def test_a_resource_is_spelt_as_kube_state_metrics_spells_it():
    scope = Scope(nodes="n", resource="nvidia.com/mig-1g.10gb")
    assert 'resource="nvidia_com_mig_1g_10gb"' in queries.capacity(scope)


def test_a_pattern_that_matches_nothing_at_all_takes_no_series_without_a_node():
    # node=~".*" alone would also take pods that are bound nowhere.
    for text in questions.kubernetes(Scope(nodes=".*")).values():
        for matchers in re.findall(r'\{[^}]*node=~"\.\*"[^}]*\}', text):
            assert 'node!=""' in matchers
        for label in queries.HOST_LABELS:
            assert text.count(f'{label}=~".*"') == text.count(f'{label}!="", {label}=~')


def test_a_pattern_cannot_leave_its_quotes():
    scope = Scope(nodes='x"} or vector(1e9) or up{a="\\')
    wanted = r'node=~"x\"} or vector(1e9) or up{a=\"\\"'
    assert wanted in queries.capacity(scope)


@given(st.lists(st.text(min_size=1), min_size=1), st.text())
def test_a_list_of_names_matches_these_names_and_no_other(names, other):
    pattern = queries.one_of(names)
    assert all(re.fullmatch(pattern, name) for name in names)
    assert bool(re.fullmatch(pattern, other)) == (other in names)


def test_names_stay_plain_so_that_prometheus_needs_no_automaton():
    assert queries.one_of({"gpu-2", "gpu-1"}) == "gpu-1|gpu-2"


def test_taints_are_foreign_unless_tolerated():
    scope = Scope(
        nodes="n",
        tolerations=(
            Toleration(key="dedicated", value="ai", effect="NoSchedule"),
            Toleration(key="spot"),
        ),
    )
    text = queries.foreign_taints(scope)
    assert text.startswith('(kube_node_spec_taint{effect=~"NoSchedule|NoExecute"')
    dedicated = 'key="dedicated", value="ai", effect="NoSchedule"'
    assert f"unless kube_node_spec_taint{{{dedicated}, effect=~" in text
    assert 'unless kube_node_spec_taint{key="spot", effect=~' in text
    assert 'unless kube_node_spec_taint{key="nvidia.com/gpu", effect="NoSchedule"' in text
    assert text.count("unless") == 3


def test_every_question_is_marked_in_the_union():
    asked = questions.kubernetes(POOL) | questions.exporter(POOL, 0.05)
    text = questions.union(asked)
    for name in asked:
        assert text.count(f'"what", "{name}"') == 1


def test_without_a_pattern_ages_are_asked_by_node_so_that_others_do_not_count():
    narrow, broad = questions.kubernetes(POOL), questions.kubernetes(Scope(nodes=None))
    for name in ("age.nodes", "age.ready", "age.requests"):
        assert "min by (node) (" in broad[name]
        assert "min(" in narrow[name]
    assert all(
        "min by (hostname, Hostname) (" in text
        for name, text in broad.items()
        if name.startswith("age.load")
    )
    assert len(questions.union(broad)) < 6000


def test_ages_are_by_the_servers_clock():
    asked = {**questions.ages_of_load(POOL), **questions.ages_of_nodes(POOL)}
    assert all(
        text.startswith("time() - min(timestamp({") or "kube_" in text for text in asked.values()
    )
    assert all(text.startswith("time() - min(timestamp(") for text in asked.values())


def test_every_generation_of_the_exporter_is_asked_for():
    text = questions.union(questions.exporter(POOL, 0.05))
    for name in (
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO",
        '"DCGM_FI_DEV_GPU_UTIL"',
        '"DCGM_FI_DEV_GPU_UTIL_RATIO"',
        '"DCGM_FI_DEV_FB_USED"',
        '"DCGM_FI_DEV_FB_USED_BYTES"',
        "Hostname=~",
        "hostname=~",
    ):
        assert name in text
    assert "> 500 or" in text
    assert f"> {500 * 1024 * 1024})" in text
    assert "> 0.05" in text


def test_only_pods_of_runs_of_ours_are_told_apart():
    text = queries.visible(POOL)
    assert text.count('kube_pod_labels{label_run_id=~"slackwater[.].+"}') == 3
    assert (
        "group_left (label_run_id, label_slackwater_dev_run) topk by (namespace, pod, uid)" in text
    )
