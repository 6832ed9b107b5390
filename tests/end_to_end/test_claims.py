"""Claims as a user runs them: several at once, on a tiny model; what was changed on the command line is not a result."""

import json
import subprocess

import pytest

from tests.end_to_end.conftest import ROOT, Lab


def committed() -> str:
    return subprocess.run(["git", "status", "--porcelain", "experiments"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow  # its parts, and sweeps end to end, are in the fast suite
def test_two_claims_share_their_points_and_each_ends_with_what_it_can_say(lab: Lab) -> None:
    before = committed()
    names = ["lore/rl_narrows_pass_gap", "lore/rl_raises_pass1"]
    words = ["-m", f"experiment={','.join(names)}", "seed=0,1", "guard=warn"]  # the tiny model's words set rl fields of the arm without rl
    plan = lab.run(*words, "--plan")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "4 points" in plan.stdout
    run = lab.run(*words)
    counts = {stage: len(lab.manifests(stage)) for stage in ("data", "bench", "base", "sft", "rl")}
    assert counts == {"data": 1, "bench": 1, "base": 1, "sft": 2, "rl": 2}, run.stdout + run.stderr
    assert "lore/rl_raises_pass1: INCONCLUSIVE (" in run.stdout
    assert "lore/rl_narrows_pass_gap: no verdict, no metric 'eval/pass@8'" in run.stdout  # two samples a pair
    assert run.returncode == 1
    assert run.stdout.count("not recorded") == 1
    assert committed() == before
    records = [json.loads(path.read_text()) for path in sorted(lab.root.glob("sweeps/*/sweep.json"))]
    assert sorted(record["experiment"] for record in records) == names
    for record in records:
        assert [point["arm"] for point in record["points"]] == ["sft", "sft", "rl", "rl"]
        assert record["axes"] == {"rl.enabled": ["False", "True"], "seed": ["0", "1"]}
        assert f"experiment={record['experiment']}" in record["command"]


def test_what_cannot_be_run_is_refused_before_compute(lab: Lab) -> None:
    for words, message in (
        (["experiment=lore/clip_higher"], "use python train.py -m experiment=lore/clip_higher"),
        (["-m", "experiment=lore/clip_highr"], "did you mean lore/clip_higher"),
        (["-m", "experiment=lore/good_rate"], "needs live search traffic"),
        (["-m", "experiment=lore/clip_higher", "rl.clip_high=0.3"], "are the same: nothing would be compared"),
    ):
        run = lab.run(*words)
        assert run.returncode == 2, run.stdout + run.stderr
        assert message in run.stderr
    assert not lab.root.exists()
