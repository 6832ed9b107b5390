"""The steps of a recipe as a user runs them, on a tiny model: shared stages once, the table at the end, the same under joblib."""

import json

import pandas as pd
import pytest

from lore_lab.cli import main
from tests.end_to_end.conftest import Lab

WORDS = ["-m", "recipe=agrl", "step=sft,grpo,rule_aware", "seed=0,1", "rl.max_steps=4"]


@pytest.mark.slow  # its parts are in the fast suite; a minute
def test_a_ladder_is_run_once_shown_and_found_again_under_another_launcher(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    plan = lab.run(*WORDS, "--plan")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "step sft seed=0: recipe=agrl rl=off" in plan.stdout
    run = lab.run(*WORDS, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert run.returncode == 0, run.stdout + run.stderr
    counts = {stage: len(lab.manifests(stage)) for stage in ("data", "bench", "base", "sft", "rl", "eval")}
    assert counts == {"data": 1, "bench": 1, "base": 1, "sft": 2, "rl": 4, "eval": 6}
    (folder,) = lab.root.glob("sweeps/*")
    table = pd.read_csv(folder / "steps.csv").set_index(["step", "metric"])
    of_sft = [record["metrics"]["eval/macro_f1"] for record in lab.points() if "rl=off" in record["overrides"]]
    assert table.at[("sft", "macro_f1"), "mean"] == pytest.approx(sum(of_sft) / 2)
    assert table.at[("rule_aware", "macro_f1"), "against"] == "grpo"
    assert {"balanced/acc@4", "wild/acc@4", "steps_to_converge(rl/reward)"} <= set(table.index.get_level_values("metric"))
    answers = pd.concat(pd.read_parquet(path) for path in lab.root.glob("store/eval/*/predictions.parquet"))
    assert ((answers["rule_least"] <= answers["gold"]) & (answers["gold"] <= answers["rule_most"])).all()
    assert (answers["rule_most"] < 3).any()
    assert json.loads((folder / "steps.json").read_text())["recipe"] == "agrl"
    assert (folder / "steps.png").exists()
    again = lab.run(*WORDS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(lab.manifests("rl")) == 4
    assert "what each step adds" in again.stdout
    assert main(["--root", str(lab.root), "status"]) == 0
    assert "recipe=agrl step=sft,grpo,rule_aware" in capsys.readouterr().out.replace("\n", " ")
    assert main(["--root", str(lab.root), "report", "-o", str(lab.root / "report.html")]) == 0
    assert "steps of agrl" in (lab.root / "report.html").read_text()
