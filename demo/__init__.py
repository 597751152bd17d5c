"""The story of Slackwater, played with real servers on loopback: `make demo`.

It needs this repository and the package registries, no cluster and no GPU. Nothing here ships.
"""
