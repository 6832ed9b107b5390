"""What a sweep of RL arms or curricula comes to: a table with a row per arm, and pictures of its entropy curves, of the entropy law and of the
orders visited. `lore-lab rl` writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lore_lab.analysis.comparison import arm_estimate, by_seed
from lore_lab.analysis.curves import curve_summary, fit_or_nan, law_points
from lore_lab.analysis.figures import plot_curves
from lore_lab.analysis.load import list_sweeps, load_curves, load_manifest, load_order, load_runs, load_sweep, short_names
from lore_lab.analysis.markdown import markdown_table
from lore_lab.analysis.panels import plot_entropy, plot_law, plot_orders
from lore_lab.analysis.realised import Effect, baseline_arm, effects, inert_arms

#: The reward is taken before refills and replays; accuracy is of the batch that is learned from, which they select.
ENTROPY, REWARD = "rl/entropy", "rl/reward"
METRIC = "eval/macro_f1"
#: what a policy keeps of rare things, and how far it went from where RL started (AFRL's mode balance); there where the run probed
BALANCE = tuple(f"rl/lore/probe/{name}" for name in ("accuracy_tail", "accuracy_rule", "kl_forward", "kl_reverse"))


def write_laboratory(root: str | Path = "outputs", sweep: str | None = None, out: str | Path | None = None) -> Path:
    """Writes table.md, table.csv, entropy.png, law.png, order.png and, where runs probed, balance.png; returns their folder: `out`, or
    <root>/sweeps/<sweep>/rl.

    sweep: the newest one when None. Raises FileNotFoundError for a sweep that is not there.
    """
    sweep = sweep or next((record["sweep"] for record in list_sweeps(root)), "")
    record, runs = load_sweep(root, sweep), load_runs(root, sweep)
    done = runs[runs["state"] == "done"]
    folder = Path(out) if out is not None else Path(root) / "sweeps" / sweep / "rl"
    folder.mkdir(parents=True, exist_ok=True)
    labels, curves = option_names(runs["arm"]), load_curves(done, [ENTROPY, REWARD], root)
    facts = arm_facts(runs, root)
    facts.to_csv(folder / "table.csv", index=False)
    text = [f"# RL arms of sweep {sweep}", f"```\n{record['command']}\n```", markdown_table(facts_text(facts)), _READING]
    plot_entropy(curves, ENTROPY, labels, baseline_arm(runs, root)).savefig(folder / "entropy.png")
    plot_law(law_points(curves, ENTROPY, REWARD), labels).savefig(folder / "law.png")
    plot_orders(realised_orders(done, root)).savefig(folder / "order.png")
    pictures = ["entropy", "law", "order"]
    probes = load_curves(done, BALANCE, root)
    if len(probes):
        pictures.append("balance")
        names = [name for name in BALANCE if name in set(probes["name"])]
        plot_curves(probes, names, window=1, labels=labels, title="kept and moved").savefig(folder / "balance.png")
    text += [f"![{name}]({name}.png)" for name in pictures]
    (folder / "table.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    return folder


_READING = """Over finished seeds. macro-F1: mean with 95 % t interval. Entropy: of all completion tokens, nats; plateau: last fifth of the run. Collapse: first step
from which it stays under a fifth of its start; the number in brackets counts the seeds in which it came to that. Gain: of the rollouts' reward; no step where there is none.
Seconds: the RL stage. R², ceiling: R = -a exp(H) + b over all seeds of the arm. Trend: rank correlation of the visited prompts' difficulty with their place.
Acted: the curve by which the arm shows that it did what it is for (`lore-lab arms`)."""


def option_names(arms: Sequence[str] | pd.Series) -> dict[str, str]:
    """Arm -> its name; the option alone where all arms are options of one group (`kl_cov` for `rl/entropy=kl_cov`)."""
    names = short_names(arms)
    keys = {name.partition("=")[0] for name in names.values()}
    single = len(keys) == 1 and not any(" " in name for name in names.values())
    return {arm: name.partition("=")[2] or name for arm, name in names.items()} if single else names


def arm_facts(runs: pd.DataFrame, root: str | Path | None = None) -> pd.DataFrame:
    """One row per arm, over its finished points. nan where nothing is known.

    Columns: arm, seeds, macro_f1 with its t interval over seeds (low, high), plateau_entropy, time_to_collapse (mean over the `collapsed`
    seeds that did), steps_to_90 (mean over the `gained` seeds), gain, seconds (of the RL stage), law_a, law_b, law_r2, law_ceiling (one
    fit over all seeds), order_trend (-1..1), acted (True, False, None: not known) and why.
    """
    root = Path(root if root is not None else runs.attrs.get("root", "outputs"))
    done = runs[runs["state"] == "done"]
    curves = load_curves(done, [ENTROPY, REWARD], root)
    own = curve_summary(curves, ENTROPY, REWARD)
    points = law_points(curves, ENTROPY, REWARD)
    values = by_seed(runs, METRIC) if METRIC in runs else {}
    acted = _acted(runs, root)
    rows = []
    for arm, name in option_names(runs["arm"]).items():
        finished = done[done["arm"] == arm]
        estimate, law = arm_estimate(values.get(arm, {})), fit_or_nan(points[points["arm"] == arm])
        facts = own[own["arm"] == arm] if len(own) else pd.DataFrame(columns=["time_to_collapse", "plateau_entropy", "steps_to_90", "gain"])
        collapsed, gained = (facts[column][np.isfinite(facts[column].astype(float))] for column in ("time_to_collapse", "steps_to_90"))
        rows.append(
            {
                "arm": name,
                "seeds": len(finished),
                "macro_f1": estimate.mean if estimate else math.nan,
                "low": estimate.low if estimate else math.nan,
                "high": estimate.high if estimate else math.nan,
                "plateau_entropy": facts["plateau_entropy"].mean(),
                "time_to_collapse": collapsed.mean(),
                "collapsed": len(collapsed),
                "steps_to_90": gained.mean(),
                "gained": len(gained),
                "gain": facts["gain"].mean(),
                "seconds": _mean(_seconds(root, stages) for stages in finished["stages"]),
                "law_a": law.a,
                "law_b": law.b,
                "law_r2": law.r2,
                "law_ceiling": law.ceiling,
                "order_trend": _mean(_trend(load_order(root, stages)) for stages in finished["stages"]),
                "acted": acted[arm][0],
                "why": acted[arm][1],
            }
        )
    return pd.DataFrame(rows)


def facts_text(facts: pd.DataFrame) -> pd.DataFrame:
    """`arm_facts` as text for people."""
    rows = []
    for row in facts.to_dict("records"):
        seeds = row["seeds"]
        interval = f" [{row['low']:.3f}, {row['high']:.3f}]" if math.isfinite(row["low"]) else ""
        rows.append(
            {
                "arm": row["arm"],
                "seeds": str(seeds),
                "macro-F1": _text(row["macro_f1"], ".3f") + interval,
                "plateau entropy": _text(row["plateau_entropy"], ".3f"),
                "steps to collapse": f"{row['time_to_collapse']:.0f} ({row['collapsed']})"
                if row["collapsed"]
                else "never"
                if seeds
                else "",
                "steps to 90 % of the gain": f"{row['steps_to_90']:.0f} ({row['gained']})" if row["gained"] else "no gain" if seeds else "",
                "seconds": _text(row["seconds"], ".0f"),
                "R²": _text(row["law_r2"], ".2f"),
                "ceiling": _text(row["law_ceiling"], ".3f"),
                "trend": _text(row["order_trend"], "+.2f"),
                "acted": {True: "yes: ", False: "**no**: ", None: ""}[row["acted"]] + row["why"],
            }
        )
    return pd.DataFrame(rows)


def realised_orders(runs: pd.DataFrame, root: str | Path | None = None) -> dict[str, pd.DataFrame]:
    """Title -> step, difficulty of every prompt visited, for the first finished seed; arms that visited the same are one entry.

    The step is that of the update which the prompt's generation batch was made for. Sources without difficulty are left out.
    """
    root = Path(root if root is not None else runs.attrs.get("root", "outputs"))
    names = option_names(runs["arm"])
    steps = load_curves(runs, [REWARD], root).groupby("point", observed=True)["step"].unique()
    shared: dict[tuple[object, ...], tuple[list[str], pd.DataFrame]] = {}
    for row in runs.drop_duplicates("arm").to_dict("records"):
        order = load_order(root, row["stages"])
        if order is None or order["difficulty"].isna().any() or row["point"] not in steps:
            continue
        own = np.sort(steps[row["point"]])
        batch = np.concatenate([np.full(len(part), step) for part, step in zip(np.array_split(order.index, len(own)), own, strict=True)])
        key = (row["seed"], tuple(batch), tuple(order["example"]))
        shared.setdefault(key, ([], order.assign(step=batch)))[0].append(names[row["arm"]])
    return {_together(arms): table for arms, table in shared.values()}


def _together(arms: list[str]) -> str:
    return arms[0] if len(arms) == 1 else f"{arms[0]} and {len(arms) - 1} more"


def _acted(runs: pd.DataFrame, root: Path) -> dict[str, tuple[bool | None, str]]:
    """Arm -> (whether it acted, by what it shows)."""
    baseline = baseline_arm(runs, root)
    inert = inert_arms(runs, baseline) if baseline else {}
    of_arm: dict[str, list[Effect]] = {str(arm): [] for arm in runs["arm"].unique()}
    for effect in effects(runs, root):
        of_arm[effect.arm].append(effect)
    result: dict[str, tuple[bool | None, str]] = {}
    for arm, own in of_arm.items():
        if not (runs.loc[runs["arm"] == arm, "state"] == "done").any():
            result[arm] = (None, "no finished seed")
        elif own:
            result[arm] = _verdict(own)
        else:
            result[arm] = (None, "baseline") if arm == baseline else (True, "other weights than the baseline's")
        if arm in inert:
            result[arm] = (False, "; ".join([inert[arm], *([result[arm][1]] if own else [])]))
    return result


def _verdict(own: list[Effect]) -> tuple[bool | None, str]:
    """Of all seeds and signs of one arm. One seed without a sign is one too many; it is counted."""
    verdicts = {effect.acted for effect in own}
    acted = False if False in verdicts else None if None in verdicts else True
    texts = []
    for name in dict.fromkeys(effect.name for effect in own):
        signs = [effect for effect in own if effect.name == name]
        missing = [effect for effect in signs if not effect.acted]
        shown = max(missing or signs, key=lambda effect: effect.value)
        texts.append(f"{name} {shown.text}" + (f" ({len(missing)} of {len(signs)} seeds)" if missing else ""))
    return acted, "; ".join(texts)


def _seconds(root: Path, stages: list[tuple[str, str]]) -> float:
    key = dict(stages).get("rl")
    manifest = load_manifest(root, "rl", key) if key else None
    return float(manifest["seconds"]) if manifest else math.nan


def _trend(order: pd.DataFrame | None) -> float:
    """Spearman's rank correlation of difficulty and place; nan where either is the same throughout or not known."""
    if order is None or order["difficulty"].isna().any() or order["difficulty"].nunique() < 2:
        return math.nan
    return float(np.corrcoef(order["difficulty"].rank(), np.arange(len(order)))[0, 1])


def _mean(values: Iterable[float]) -> float:
    return float(pd.Series(list(values), dtype="float64").mean())


def _text(value: float, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)
