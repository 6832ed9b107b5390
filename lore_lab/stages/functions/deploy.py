"""Stage `deploy`: a Zipf log replayed against the tiers, under the point's thresholds and under every other split of them.

Metrics are what has no clock in it: quality, cost, shares. Times to an answer are in frontier.csv and report.json.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from lore_lab.data.leaks import normalise_query
from lore_lab.deploy.cache import STATES
from lore_lab.deploy.replay import Judged, Latency, Replay, Traffic, best_good_rate
from lore_lab.deploy.router import Thresholds
from lore_lab.deploy.traffic import stand_ins, zipf_log
from lore_lab.evaluate.metrics import PROBABILITY
from lore_lab.stages.context import StageContext
from lore_lab.stages.functions.common import Pairs
from lore_lab.stages.store import Artifact, write_json

FRONTIER, REPORT, COUNTS = "frontier.csv", "report.json", "counts.json"


def run(context: StageContext) -> dict[str, Any]:
    deploy, tiers = context.settings.deploy, context.inputs["tiers"]
    pairs, table = Pairs.read(tiers), pd.read_parquet(tiers.path / "answers.parquet")
    identity = json.loads((tiers.path / "identity.json").read_text(encoding="utf-8"))
    judged = _judged(table, pairs.grades)
    ranks, seed = identity["ranks"], context.config["seed"]
    before, now = (zipf_log(ranks, deploy.exponent, deploy.requests, _seed(seed, period)) for period in ("before", "now"))
    traffic = Traffic.of(ranks, stand_ins(ranks, table["rank"].unique()), before, now)
    measured = json.loads((tiers.path / "latency.json").read_text(encoding="utf-8"))
    latency = Latency.draw(measured, deploy.requests, deploy.load, _seed(seed, "latency"))
    relevant_from = pairs.source["relevant_from"]
    replay = Replay(judged, traffic, latency, relevant_from, deploy.top, identity["distilled"])
    frontier = pd.DataFrame(replay.frontier()).astype({"hot_from": "Int64", "medium_from": "Int64"})
    frontier.to_csv(context.output / FRONTIER, index=False)
    thresholds = Thresholds(deploy.hot_from, deploy.medium_from)
    states = {state: table[f"cache/{state}"].to_numpy() for state in STATES}
    report = {
        "thresholds": {"hot_from": deploy.hot_from, "medium_from": deploy.medium_from},
        "measured_ms": {tier: _milliseconds(seconds) for tier, seconds in measured.items()},
        "cache": {
            state: {"answered": float(known.mean())} | replay.measures(thresholds, known) | replay.milliseconds(thresholds, known)
            for state, known in states.items()
        },
    }
    write_json(context.output / REPORT, report)
    write_json(context.output / COUNTS, _counts(tiers, pairs, table, before))
    best = best_good_rate(judged, traffic, relevant_from, deploy.top)
    return replay.measures(thresholds) | {"best_good_rate": best, "requests": deploy.requests, "asked_queries": traffic.filled.shape[1]}


def _seed(seed: int, stream: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"deploy/{stream}/{seed}".encode(), digest_size=4).digest(), "big")


def _judged(table: pd.DataFrame, grades: int) -> Judged:
    llm, ranker = (table[[f"{tier}/{PROBABILITY}{grade + 1}" for grade in range(grades)]].to_numpy() for tier in ("llm", "ranker"))
    return Judged(table["query"].to_numpy(), table["gold"].to_numpy(), llm, ranker, table["tokens"].to_numpy())


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(seconds) * 1e3), "p50": float(np.median(seconds) * 1e3), "p99": float(np.percentile(seconds, 99) * 1e3)}


def _counts(tiers: Artifact, pairs: Pairs, table: pd.DataFrame, before: np.ndarray) -> dict[str, int]:
    """Normalised query -> requests in the period before, of the judged queries: what the service routes by."""
    asked = np.bincount(before, minlength=int(table["rank"].max()) + 1)
    counts: Counter[str] = Counter()
    firsts = table.drop_duplicates("query")
    for place, rank in zip(firsts.index, firsts["rank"], strict=True):
        counts[normalise_query(pairs.rows[place][1].query)] += int(asked[rank])
    return dict(sorted(counts.items()))
