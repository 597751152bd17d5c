"""Real servers on loopback, started from nothing, for the demo and the tests.

Nothing here ships in a wheel. The package needs only the standard library, so that it runs
before anything is installed; what the servers need is fetched from package registries into
one cache directory and stays there for the next clone.
"""
