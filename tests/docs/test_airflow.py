"""The pages about Airflow say what the product says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from slackwater.core.words import WORDS, Reason

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "airflow"
ROW = re.compile(r"^\| `(\w+)` \| (.*) \| (.*) \|$", re.MULTILINE)


def test_each_error_has_the_sentence_and_the_remedy_of_the_product() -> None:
    rows = ROW.findall((PAGES / "errors.md").read_text())
    assert len(rows) > 30
    for name, sentence, remedy in rows:
        word = WORDS[Reason(name)]
        assert (sentence, remedy) == (word.sentence, word.remedy or "-"), name


def test_every_reason_about_airflow_has_its_row() -> None:
    told = {Reason(name) for name, _, _ in ROW.findall((PAGES / "errors.md").read_text())}
    about = {
        reason
        for reason in Reason
        if reason.value.startswith(("Airflow", "Dag", "Run", "IdentityNot", "IdentityUn"))
    }
    about -= {Reason.RUNNING, Reason.DAG_USABLE}
    assert about <= told


def test_the_five_lines_of_the_page_are_those_of_the_example() -> None:
    example = (ROOT / "examples/window-ready/dags/shard_llm.py").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", (PAGES / "windows.md").read_text(), re.DOTALL)
    wanted = ast.unparse(ast.parse(block))
    found = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.If) and "trainingWindow" in ast.unparse(node.test)
    ]
    assert found == [wanted]
    assert len(block.splitlines()) == 5
