"""The examples in docstrings say what is true."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    ["zone", "lex", "match", "prose", "parameters", "params", "conf"],
)
def test_the_examples_of_a_module_hold(name):
    result = doctest.testmod(importlib.import_module(f"slackwater.core.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
