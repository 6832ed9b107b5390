"""How fast the world makes examples on one core, and the hash of what it makes.

    python benchmarks/world_speed.py [--profile small|full] [--count 20000]

Prints examples per CPU second (the bar is 10,000), images per CPU second, and a SHA-256 over the examples: two runs, on any two
machines, print the same hash.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import yaml

from lore_lab.config.world import WorldConfig
from lore_lab.data.world import WorldSource

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="small", choices=("small", "full"))
    parser.add_argument("--count", type=int, default=20_000)
    options = parser.parse_args()
    settings = yaml.safe_load((ROOT / "conf/data/world.yaml").read_text())
    settings.pop("defaults", None)
    source = WorldSource(WorldConfig(**(settings | {"profile": options.profile, "size": options.count})))
    start = time.process_time()
    for _ in source.examples("train"):
        pass
    text = time.process_time() - start
    start = time.process_time()
    for index in range(500):
        source.image(f"train-{index}")
    images = time.process_time() - start
    digest = hashlib.sha256()
    for example in source.examples("train"):
        digest.update(repr(example).encode())
    print(f"{options.profile}: {options.count / text:,.0f} examples/s, {500 / images:,.0f} images/s, sha256 {digest.hexdigest()[:16]}")


if __name__ == "__main__":
    main()
