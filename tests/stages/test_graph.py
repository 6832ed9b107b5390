"""Which stages a config asks for, and which of them two points share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

from lore_lab.config.schema import Config
from lore_lab.stages.graph import SPECS, Node, build, point_key

Compose = Callable[..., Config]


def changed(before: Mapping[str, Node], after: Mapping[str, Node]) -> set[str]:
    """Roles whose stage is another one."""
    return {role for role in before if before[role].key != after[role].key}


ALL = {"base", "data", "bench", "leaks", "baseline", "sft", "sft_eval", "rl", "eval"}


@pytest.mark.parametrize(
    ("override", "roles"),
    [
        ("rl.clip_high=0.28", {"rl", "eval"}),
        ("rl.max_steps=7", {"rl", "eval"}),
        ("reward=graded", {"rl", "eval"}),
        ("curriculum=easy_to_hard", {"rl", "eval"}),
        ("seed=1", {"sft", "sft_eval", "rl", "eval"}),
        ("cot=naive", {"sft", "sft_eval", "rl", "eval"}),
        ("prompt=medium", {"sft", "sft_eval", "rl", "eval"}),
        ("prompt.max_tokens=48", {"sft", "sft_eval", "rl", "eval"}),
        ("features=title", {"baseline", "sft", "sft_eval", "rl", "eval"}),
        ("format=answer_first", {"sft", "sft_eval", "rl", "eval"}),
        ("sft.max_steps=7", {"sft", "sft_eval", "rl", "eval"}),
        ("data.size=1000", {"data", "leaks", "baseline", "sft", "sft_eval", "rl", "eval"}),
        ("data.label_noise_rate=0.3", ALL),
        ("model.seed=1", {"base", "sft", "sft_eval", "rl", "eval"}),
        ("eval.samples=4", {"sft_eval", "eval"}),
        ("eval.size=100", {"bench", "leaks", "baseline", "sft_eval", "eval"}),
        ("eval.calibrate=100", {"sft_eval", "eval"}),
        ("eval.resamples=200", {"baseline", "sft_eval", "eval"}),
        ("eval.baselines=[bm25]", {"baseline"}),
        ("eval.baseline_pairs=100", {"baseline"}),
        ("compute.precision=bf16", {"base", "sft", "sft_eval", "rl", "eval"}),
        ("tracking=local", set()),
        ("tracking.project=other", set()),
        ("guard=warn", set()),
        ("root=elsewhere", set()),
    ],
)
def test_a_setting_changes_the_stages_that_read_it_and_those_behind_them(compose: Compose, override: str, roles: set[str]) -> None:
    before, after = build(compose()), build(compose(override))
    assert set(before) == ALL
    assert changed(before, after) == roles
    assert (point_key(before) == point_key(after)) == (not roles)


def test_the_arms_and_seeds_of_a_sweep_train_each_shared_stage_once(compose: Compose) -> None:
    points = [build(compose(f"rl.clip_high={clip}", f"seed={seed}")) for clip in (0.2, 0.28) for seed in (0, 1)]
    keys = {role: len({nodes[role].key for nodes in points}) for role in ALL}
    assert keys == {"base": 1, "data": 1, "bench": 1, "leaks": 1, "baseline": 1, "sft": 2, "sft_eval": 2, "rl": 4, "eval": 4}


def chain(nodes: Mapping[str, Node]) -> dict[str, dict[str, str]]:
    return {role: {name: source.role for name, source in node.inputs.items()} for role, node in nodes.items()}


def test_the_default_chain(compose: Compose) -> None:
    assert chain(build(compose())) == {
        "base": {},
        "data": {},
        "bench": {},
        "leaks": {"data": "data", "bench": "bench"},
        "baseline": {"data": "data", "bench": "bench"},
        "sft": {"data": "data", "policy": "base"},
        "sft_eval": {"bench": "bench", "policy": "sft"},
        "rl": {"data": "data", "policy": "sft"},
        "eval": {"bench": "bench", "policy": "rl"},
    }


def test_without_sft_rl_starts_from_the_base_model(compose: Compose) -> None:
    found = chain(build(compose("sft=off", "eval.stages=[]")))
    assert set(found) == {"base", "data", "bench", "leaks", "baseline", "rl", "eval"}
    assert found["rl"] == {"data": "data", "policy": "base"}


def test_without_rl_the_one_evaluation_is_that_of_sft_and_shared_with_points_that_go_on(compose: Compose) -> None:
    nodes = build(compose("rl=off"))
    assert set(nodes) == {"base", "data", "bench", "leaks", "baseline", "sft", "eval"}
    assert nodes["eval"].inputs["policy"].role == "sft"
    assert nodes["eval"].key == build(compose())["sft_eval"].key


def test_evaluating_fewer_policies_changes_none_of_the_evaluations(compose: Compose) -> None:
    before, after = build(compose()), build(compose("eval.stages=[]"))
    assert set(before) - set(after) == {"sft_eval"}
    assert before["eval"].key == after["eval"].key


LREF = ("selection=im_ci_ms", "dpo=default")


def test_lref_selects_before_sft_and_prefers_before_rl(compose: Compose) -> None:
    nodes = build(compose(*LREF, "eval.stages=[sft,dpo]"))
    plain = chain(build(compose()))
    assert chain(nodes) == plain | {
        "judge_im": {"data": "data", "policy": "base"},
        "judge_ci": {"data": "data", "policy": "base"},
        "judge_ms": {"data": "data", "policy": "base", "im": "judge_im"},
        "select": {"data": "data", "im": "judge_im", "ci": "judge_ci", "ms": "judge_ms"},
        "sft": {"data": "select", "policy": "base"},
        "dpo": {"data": "data", "policy": "sft"},
        "dpo_eval": {"bench": "bench", "policy": "dpo"},
        "rl": {"data": "select", "policy": "dpo"},
    }
    assert {role for role, node in nodes.items() if node.gate is nodes["leaks"]} == {"judge_im", "judge_ci", "judge_ms", "sft", "dpo", "rl"}


@pytest.mark.parametrize(
    ("words", "roles"),
    [
        (["selection=im"], {"judge_im", "select"}),
        (["selection=im_ci"], {"judge_im", "judge_ci", "select"}),
        (["selection=im", "selection.filters=[ms]"], {"judge_im", "judge_ms", "select"}),
        (["selection=im", "selection.filters=[ci]"], {"judge_ci", "select"}),
        (["selection=random"], {"select"}),
        (["dpo=default"], {"dpo"}),
    ],
)
def test_only_the_judges_that_are_asked_are_trained(compose: Compose, words: list[str], roles: set[str]) -> None:
    assert set(build(compose(*words))) - set(build(compose())) == roles


def test_without_rl_dpo_has_the_last_word_and_sft_is_evaluated_before_it(compose: Compose) -> None:
    nodes = build(compose("rl=off", "dpo=default"))
    assert nodes["eval"].inputs["policy"].role == "dpo"
    assert nodes["sft_eval"].key == build(compose("rl=off"))["eval"].key


def test_the_rungs_of_lref_share_what_they_have_in_common(compose: Compose) -> None:
    rungs = [
        build(compose(*words, "rl=off"))
        for words in (
            ["cot=none", "format=label_only", "selection=im"],
            ["cot=none", "format=label_only", "selection=im_ci"],
            ["cot=none", "format=label_only", "selection=im_ci_ms"],
            ["cot=none", "format=label_only", "selection=im_ci_ms", "selection.ms=agrees"],
            ["cot=expert", "selection=im_ci_ms"],
            ["cot=expert", "selection=im_ci_ms", "dpo=default"],
        )
    ]
    for role, count in {"judge_im": 1, "judge_ci": 1, "judge_ms": 1, "select": 4, "sft": 5, "dpo": 1}.items():
        assert len({nodes[role].key for nodes in rungs if role in nodes}) == count, role


@pytest.mark.parametrize(
    ("override", "roles"),
    [
        ("selection.ms=agrees", {"select", "sft", "sft_eval", "rl", "eval"}),
        ("selection.share=0.5", {"select", "sft", "sft_eval", "rl", "eval"}),
        ("dpo.pairs_from=selected", {"dpo", "rl", "eval"}),
        ("dpo.beta=0.5", {"dpo", "rl", "eval"}),
        ("eval.beams=4", {"sft_eval", "eval"}),
        ("eval.prior_correction=true", {"sft_eval", "eval"}),
        ("format=answer_first", {"sft", "sft_eval", "dpo", "rl", "eval"}),
    ],
)
def test_a_setting_of_lref_changes_the_stages_behind_it(compose: Compose, override: str, roles: set[str]) -> None:
    before, after = build(compose(*LREF)), build(compose(*LREF, override))
    assert changed(before, after) == roles | ({"dpo"} if "sft" in roles else set())


def test_the_prior_is_that_of_the_pairs_trained_on(compose: Compose) -> None:
    assert build(compose("eval.prior_correction=true"))["eval"].inputs["data"].role == "data"
    nodes = build(compose("eval.prior_correction=true", *LREF))
    assert nodes["eval"].inputs["data"].role == nodes["sft_eval"].inputs["data"].role == "select"


def test_measured_difficulty_is_that_of_the_policy_rl_starts_from_on_the_pairs_it_sees(compose: Compose) -> None:
    nodes = build(compose(*LREF, "curriculum=easy_to_hard", "curriculum.difficulty=measured"))
    assert chain(nodes)["difficulty"] == {"data": "select", "policy": "dpo"}


def test_inputs_come_before_their_users_and_the_final_evaluation_last(compose: Compose) -> None:
    roles = list(build(compose()))
    for position, node in enumerate(build(compose()).values()):
        assert all(roles.index(source.role) < position for source in node.inputs.values())
    assert roles[-1] == "eval"
    assert list(build(compose(*LREF)))[-1] == "eval"


def test_a_stage_holds_only_its_slice(compose: Compose) -> None:
    nodes = build(compose())
    assert set(nodes["rl"].config) == {"rl", "peft", "reward", "curriculum", "prompt", "features", "format", "seed", "compute", "data"}
    assert set(build(compose("rl.watch.probe_every=0"))["rl"].config) == set(nodes["rl"].config) - {"data"}
    assert set(nodes["bench"].config) == {"data", "eval"}
    assert set(nodes["bench"].config["eval"]) == {"subsets", "size"}
    assert nodes["data"].config["data"]["size"] == compose().data.size
    assert not nodes["base"].config["data"]["size"]


STUDENT = ["format=answer_first", "distill=explanation"]


def test_a_student_is_taught_last_and_evaluated_last(compose: Compose) -> None:
    found = chain(build(compose(*STUDENT)))
    assert set(found) == ALL | {"teacher", "student", "distill"}
    assert found["teacher"] == {"data": "data", "policy": "rl"}
    assert found["student"] == {"policy": "base"}
    assert found["distill"] == {"data": "data", "teacher": "teacher", "policy": "student"}
    assert found["eval"] == {"bench": "bench", "policy": "distill"}
    assert found["sft_eval"] == {"bench": "bench", "policy": "sft"}


def test_what_is_deployed_is_the_student_in_its_own_layout(compose: Compose) -> None:
    nodes = build(compose("format=answer_first", "distill=label", "deploy=tiers"))
    assert chain(nodes)["tiers"] == {"data": "data", "policy": "distill"}
    assert nodes["tiers"].config["format"]["name"] == "label_only"


def test_eval_stages_decides_whether_the_teacher_is_evaluated(compose: Compose) -> None:
    alone = build(compose("format=answer_first"))
    both = build(compose(*STUDENT, "eval.stages=[sft,rl]"))
    assert both["rl_eval"].key == alone["eval"].key
    assert "rl_eval" not in build(compose(*STUDENT))
    assert set(build(compose(*STUDENT, "eval.stages=[]"))) & {"sft_eval", "rl_eval"} == set()


def test_students_share_teacher_and_start_and_answer_in_their_own_layout(compose: Compose) -> None:
    formats = {"label": "label_only", "probabilities": "label_only", "explanation": "answer_first", "shuffled": "answer_first",
               "explanation_first": "reason_first"}  # fmt: skip
    points = {target: build(compose("format=answer_first", f"distill={target}")) for target in formats}
    for role in ("sft", "rl", "teacher", "student", "sft_eval"):
        assert len({nodes[role].key for nodes in points.values()}) == 1, role
    assert len({nodes["distill"].key for nodes in points.values()}) == 5
    for target, nodes in points.items():
        assert {nodes[role].config["format"]["name"] for role in ("distill", "eval")} == {formats[target]}
        assert {nodes[role].config["format"]["name"] for role in ("sft", "rl", "teacher", "sft_eval")} == {"answer_first"}
    assert build(compose(*STUDENT, "seed=1"))["student"].key == points["label"]["student"].key, "as the base model, shared by seeds"
    assert build(compose(*STUDENT, "distill.student.hidden_size=32"))["teacher"].key == points["label"]["teacher"].key


EVOLVED = ["format=answer_first", "prompt=long", "instructions=evolved"]


def test_evolved_instructions_are_read_by_every_stage_after_sft(compose: Compose) -> None:
    found = chain(build(compose(*EVOLVED, "distill=label", "curriculum=easy_to_hard", "curriculum.difficulty=measured")))
    assert found["evolve"] == {"data": "data", "policy": "sft"}
    readers = {role for role, inputs in found.items() if inputs.get("instructions") == "evolve"}
    assert readers == {"difficulty", "rl", "teacher", "distill", "eval"}
    assert "instructions" not in found["sft"] | found["sft_eval"]


def test_without_rl_the_sft_policy_is_evaluated_with_both_texts(compose: Compose) -> None:
    found = chain(build(compose(*EVOLVED, "rl=off")))
    assert found["sft_eval"] == {"bench": "bench", "policy": "sft"}
    assert found["eval"] == {"bench": "bench", "policy": "sft", "instructions": "evolve"}


def test_written_instructions_and_no_student_leave_every_stage_as_it_was(compose: Compose) -> None:
    before = build(compose())
    assert not changed(before, build(compose("instructions=written", "distill=off", "eval.decode=generate")))
    evolved = build(compose(*EVOLVED))
    assert changed(build(compose("format=answer_first", "prompt=long")), evolved) == {"rl", "eval"}


def test_building_leaves_the_config_as_it_was(compose: Compose) -> None:
    config = compose()
    build(config)
    assert config == compose()


def test_a_table_and_a_world_never_share_a_stage(compose: Compose) -> None:
    world, table = build(compose()), build(compose("data=table", "data.path=pairs.csv"))
    assert changed(world, table) == ALL


def test_no_policy_is_trained_before_the_leak_check_and_its_key_does_not_know_of_it(compose: Compose) -> None:
    nodes = build(compose())
    assert {role for role, node in nodes.items() if node.gate is nodes["leaks"]} == {"sft", "rl"}
    other = build(compose("eval.size=100"))
    assert other["leaks"].key != nodes["leaks"].key
    assert other["sft"].key == nodes["sft"].key


def test_without_baselines_there_is_no_such_stage(compose: Compose) -> None:
    before, after = build(compose()), build(compose("eval.baselines=[]"))
    assert set(before) - set(after) == {"baseline"}
    assert not changed(after, before)


@pytest.mark.parametrize("stage", ["baseline", "deploy", "leaks", "data", "select"])
def test_a_stage_without_a_model_loads_no_torch(stage: str) -> None:
    function = SPECS[stage].function.partition(":")[0]
    code = f"import sys, {function}; print(sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


IMAGES = ("model=embedded_vlm", "features=image", "rl=off")


def test_an_attention_of_ours_is_code_of_every_stage_that_runs_a_model_and_of_no_other(compose: Compose) -> None:
    plain, chosen = build(compose("deploy=tiers")), build(compose("deploy=tiers", "compute=bf16"))
    code = "lore_lab.train.attention"
    assert {role for role, node in chosen.items() if code in node.parts["modules"]} == {"base", "sft", "sft_eval", "rl", "eval", "tiers"}
    assert not any(code in node.parts["modules"] for node in plain.values())
    assert build(compose("model.attention=grouped"))["base"].config["model"]["attention"] == chosen["base"].config["model"]["attention"]


COMPILED = {"base", "judge_im", "judge_ci", "judge_ms", "sft", "rl", "student", "distill"}


@pytest.mark.parametrize(
    ("setting", "code", "acts"),
    [
        ("compile", "lore_lab.train.compiled", COMPILED),
        ("whole_logits", "lore_lab.train.whole_logits", COMPILED | {"dpo", "teacher"}),
        ("inverse_draws", "lore_lab.rollout.inverse_draws", {"rl", "sft_eval", "eval"}),
    ],
)
def test_what_a_setting_installs_is_code_of_the_stages_it_acts_on_and_leaves_no_other_trace(
    compose: Compose, setting: str, code: str, acts: set[str]
) -> None:
    words = ("recipe=lref", "rl=grpo", "distill=label")
    plain, chosen = build(compose(*words)), build(compose(*words, f"compute.{setting}=true"))
    assert {role for role, node in chosen.items() if code in node.parts["modules"]} == acts
    assert not any(code in node.parts["modules"] for node in plain.values())
    assert all(setting not in node.config.get("compute", {}) for node in (*plain.values(), *chosen.values()))
    assert {"data", "bench", "leaks", "baseline"} & changed(plain, chosen) == set()


def test_a_stage_that_shows_images_is_compiled_and_shares_its_base_with_texts(compose: Compose) -> None:
    text, images = build(compose("rl=off", "compute.compile=true")), build(compose(*IMAGES, "compute.compile=true"))
    assert text["base"].key == images["base"].key
    assert [role for role, node in images.items() if "lore_lab.train.compiled" in node.parts["modules"]] == ["base", "sft"]


def test_a_point_with_images_shares_data_and_language_model_with_its_text_point(compose: Compose) -> None:
    text, images = build(compose("rl=off")), build(compose(*IMAGES))
    assert set(images) - set(text) == {"vision"}
    assert changed(text, images) == {"baseline", "sft", "eval"}  # the baselines read the fields, the caption no longer among them
    assert {name: source.role for name, source in images["vision"].inputs.items()} == {"policy": "base"}
    assert images["sft"].inputs["policy"].role == "vision"


@pytest.mark.parametrize(
    ("word", "roles"),
    [
        ("model.vision.patch_size=32", {"vision", "sft", "eval"}),
        ("model.vision.images=100", {"vision", "sft", "eval"}),
        ("model.vision.pretrain.max_steps=7", {"vision", "sft", "eval"}),
        ("data.caption_error_rate=0.5", {"data", "bench", "leaks", "baseline", "base", "vision", "sft", "eval"}),
        ("features.image=false", {"sft", "eval"}),
        ("model.name=other", set()),
    ],
)
def test_what_a_setting_of_the_images_changes(compose: Compose, word: str, roles: set[str]) -> None:
    assert changed(build(compose(*IMAGES)), build(compose(*IMAGES, word))) == roles


def test_stages_that_show_images_and_no_others_can_draw_them(compose: Compose) -> None:
    text, images = build(compose("rl=off")), build(compose(*IMAGES))
    for role in ("sft", "eval"):
        assert set(images[role].config) == {*text[role].config, "data"}
        assert {"lore_lab.data.world", "lore_lab.prompts.images"} <= set(images[role].parts["modules"])
        assert "lore_lab.prompts.images" not in text[role].parts["modules"]
    assert "data" not in text["sft"].config
    assert "lore_lab.data.world" not in text["sft"].parts["modules"]
    assert set(images["vision"].config["model"]) == {"seed", "vision"}
    assert "vision" not in images["base"].config["model"]


TAUGHT = ("cot=teacher", "teacher.base_url=http://127.0.0.1:8000/v1", "teacher.model=m", "teacher.revision=1")


def test_a_teachers_reasoning_is_a_stage_between_the_pairs_and_sft(compose: Compose) -> None:
    nodes = build(compose(*TAUGHT))
    assert set(nodes) == ALL | {"teach"}
    assert chain(nodes)["teach"] == {"data": "data"}
    assert chain(nodes)["sft"] == {"data": "data", "policy": "base", "reasoning": "teach"}
    assert chain(nodes)["rl"] == {"data": "data", "policy": "sft"}
    assert nodes["teach"].gate is nodes["leaks"], "nothing is paid for before the check"
    assert chain(build(compose(*TAUGHT, "rl/entropy=sft_aux")))["rl"] == {"data": "data", "policy": "sft", "reasoning": "teach"}
    assert "teach" not in build(compose(*TAUGHT, "sft=off", "eval.stages=[]"))


TAUGHT_STAGES = {"teach", "sft", "sft_eval", "rl", "eval"}


@pytest.mark.parametrize(
    ("override", "roles"),
    [
        ("teacher.revision=2", TAUGHT_STAGES),
        ("teacher.model=other", TAUGHT_STAGES),
        ("teacher.recipe=multi", TAUGHT_STAGES),
        ("teacher.temperature=0", TAUGHT_STAGES),
        ("teacher.seed=1", TAUGHT_STAGES),
        ("cot.rules=false", TAUGHT_STAGES),
        ("seed=1", TAUGHT_STAGES - {"teach"}),
        ("prompt.max_tokens=48", TAUGHT_STAGES - {"teach"}),
        ("teacher.base_url=https://example.com/v1", set()),
        ("teacher.key_variable=KEY", set()),
        ("teacher.concurrency=1", set()),
        ("teacher.attempts=1", set()),
        ("teacher.price_out=5", set()),
    ],
)
def test_what_makes_a_teachers_stage_another_one(compose: Compose, override: str, roles: set[str]) -> None:
    before, after = build(compose(*TAUGHT)), build(compose(*TAUGHT, override))
    assert changed(before, after) == roles
    assert after["teach"].config["teacher"]["concurrency"], "what is no part of the key is read all the same"


def test_a_teachers_stage_covers_its_prompts() -> None:
    from lore_lab.stages.keys import reachable

    assert "lore_lab.teacher" in reachable(["lore_lab.stages.functions.teach"]), "a package's data files are part of its hash"


SAMPLING = {"sft_eval", "rl", "eval"}
SERVED = ("rollout=vllm_server", "rollout.base_url=http://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("words", "roles"),
    [
        (("rollout=vllm_colocate",), SAMPLING),
        (SERVED, SAMPLING),
        ((*SERVED, "curriculum.difficulty=measured", "curriculum=staged"), SAMPLING),
    ],
)
def test_another_engine_makes_other_samples(compose: Compose, words: tuple[str, ...], roles: set[str]) -> None:
    assert changed(build(compose()), build(compose(*words))) == roles


@pytest.mark.parametrize(
    ("override", "roles"),
    [
        ("rollout.correction=none", {"rl", "eval"}),
        ("rollout.correction_max=2", {"rl", "eval"}),
        ("rollout.base_url=http://127.0.0.1:9000", set()),
        ("rollout.timeout=5", set()),
        ("rollout.concurrency=1", set()),
        ("rollout.max_logp_difference=1", set()),
    ],
)
def test_where_a_server_stands_is_no_part_of_a_key(compose: Compose, override: str, roles: set[str]) -> None:
    before, after = build(compose(*SERVED)), build(compose(*SERVED, override))
    assert changed(before, after) == roles
    assert before["rl"].config["rollout"]["base_url"] == "http://127.0.0.1:8000"
