"""The pages about GPU pools say what the product says."""

from __future__ import annotations

import re
from pathlib import Path

from slackwater.core.words import WORDS, Reason

PAGES = Path(__file__).parents[2] / "docs" / "gpu"
ROW = re.compile(r"^\| `(\w+)` \| (.*) \| (.*) \|$", re.MULTILINE)


def test_each_error_has_the_sentence_and_the_remedy_of_the_product() -> None:
    rows = ROW.findall((PAGES / "errors.md").read_text())
    assert len(rows) > 30
    for name, sentence, remedy in rows:
        word = WORDS[Reason(name)]
        assert (sentence, remedy) == (word.sentence, word.remedy or "-"), name


def test_every_reason_that_a_prometheus_can_give_has_its_row() -> None:
    told = {name for name, _, _ in ROW.findall((PAGES / "errors.md").read_text())}
    client = (PAGES.parents[1] / "operator/slackwater/gpus/client.py").read_text()
    (listed,) = re.findall(r"PoolError: (NOT_A_NUMBER.*?), or a secret's reason", client, re.DOTALL)
    reasons = {Reason[name].value for name in re.findall(r"[A-Z_]+", listed)}
    assert len(reasons) > 10
    assert reasons <= told
