"""The examples in docstrings say what is true."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        *(f"slackwater.core.{name}" for name in ("zone", "lex", "match", "params", "conf")),
        *(f"slackwater_windows.{name}" for name in ("prose", "parameters")),
    ],
)
def test_the_examples_of_a_module_hold(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
