"""`python -m testbed.gpus --port 9400 --nodes 4 --gpus 8`: the pool as a process."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys

from testbed.gpus.exposition import GENERATIONS
from testbed.gpus.server import SimulatedPool


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testbed.gpus", description=__doc__)
    parser.add_argument("--port", type=int, default=9400)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--gpus", type=int, default=8, help="per node")
    parser.add_argument("--pool", default="h100", help="value of the label node-pool")
    parser.add_argument("--generation", choices=GENERATIONS, default="4.8.3")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pool = SimulatedPool(
        options.nodes,
        options.gpus,
        generation=options.generation,
        pool=options.pool,
        port=options.port,
    )
    print(f"simulated GPU pool on {pool.url}/metrics, change it by POST {pool.url}/set", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        pool.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
