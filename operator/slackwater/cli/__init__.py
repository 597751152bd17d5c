"""The commands: one module each, with `add_parser(subparsers)` and `execute(args) -> int`.

`main` imports a module only when its command is chosen, so that help and mistakes answer at once.
Exit codes: 0, it went well; 1, what was asked about is not well, or it failed; 2, the command or
what it was given cannot be used.
"""
