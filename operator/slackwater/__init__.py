"""Slackwater starts AI training when the team's calendar says *now* and the GPUs are free."""

__version__ = "0.1.0"
