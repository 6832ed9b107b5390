"""A setting that cannot act is refused, rule by rule; turning something off is not such a setting."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lore_lab.config.errors import ConfigError
from lore_lab.config.guards import RULES, InertRule
from lore_lab.config.overrides import touched
from lore_lab.config.schema import Config
from lore_lab.config.validate import validate

Compose = Callable[..., Config]

#: what the cases below lean on, whatever the shipped defaults come to
PINNED = (
    "rl.gradient_accumulation_steps=1 rl.steps_per_generation=4 rl.num_iterations=2 rl.lr_scheduler_type=constant rl.clip_low=0.2 "
    "sft.lr_scheduler_type=linear model.num_attention_heads=4 model.num_key_value_heads=2"
)
ONE_UPDATE = "rl.num_iterations=1 rl.steps_per_generation=1"
REWRITTEN = (
    "instructions=evolved instructions.operators=[rewrite] format=answer_first prompt=long teacher.base_url=http://127.0.0.1:8000/v1 "
    "teacher.model=m teacher.revision=1"
)
TAUGHT = "cot=teacher teacher.base_url=http://127.0.0.1:8000/v1 teacher.model=m teacher.revision=1"
#: rule -> commands whose first word cannot act; the rest of the command is why
CASES: dict[str, list[str]] = {
    "rl off": ["rl.clip_high=0.28 rl=off", "curriculum=easy_to_hard rl=off", "reward=graded rl=off", "reward.invalid=-1 rl.enabled=false"],
    "deploy off": ["deploy.load=0.5", "deploy.hot_from=8 deploy.enabled=false"],
    "sft off": [
        "sft.max_steps=60 sft=off eval.stages=[]",
        "cot=naive sft=off eval.stages=[]",
        "cot.rules=false sft.enabled=false eval.stages=[]",
    ],
    "clip range, one update": [
        f"rl.clip_high=0.28 {ONE_UPDATE}",
        f"rl.clip_low=0.1 {ONE_UPDATE}",
        f"rl.delta=2 {ONE_UPDATE}",
        "rl.clip_high=0.28 rl.gradient_accumulation_steps=8",
        "rl.clip_high=0.28 rl.gradient_accumulation_steps=16",
    ],
    "sequence ratio, one update": [f"rl.importance_sampling_level=sequence {ONE_UPDATE}"],
    "clip range, no clipping loss": ["rl.clip_low=0.1 rl.loss_type=cispo", "rl.delta=2 rl.loss_type=sapo"],
    "upper clip, sapo": ["rl.clip_high=0.28 rl.loss_type=sapo"],
    "cot without reasoning": ["cot=naive format=label_only", "cot.caption=false format=label_only"],
    "settings of no cot": ["cot.mistake_rate=0.5 cot=none format=label_only"],
    "warm-up of rl, constant schedule": ["rl.warmup_steps=10"],
    "warm-up of sft, constant schedule": ["sft.warmup_steps=20 sft.lr_scheduler_type=constant"],
    "samples without sampled pairs": ["eval.samples=16 eval.sampled_size=0", "eval.temperature=0.7 eval.sampled_size=0"],
    "pretraining off": ["model.pretrain.learning_rate=1e-4 model.pretrain.max_steps=0"],
    "embedded fields, pretrained model": [
        "model.hidden_size=64 model.path=./weights",
        "model.num_hidden_layers=2 model.path=./weights",
        "model.pretrain.max_steps=10 model.path=./weights",
        "model.head_dim=64 model=qwen3-8b peft=lora",
    ],
    "list of steps": ["recipe.name=lore"],
    "selection off": ["selection.ms=agrees", "selection.share=0.5 selection=off", "selection.judge.folds=1"],
    "sign of no filter": ["selection.ms=agrees selection=im_ci", "selection.ms=agrees selection=random"],
    "judges of no filter": ["selection.judge.folds=1 selection=random"],
    "warm-up of judges, constant schedule": [
        "selection.judge.warmup_steps=5 selection=im selection.judge.lr_scheduler_type=constant",
    ],
    "dpo off": ["dpo.beta=0.3", "dpo.errors=all dpo=off", "dpo.pairs_from=selected"],
    "origin of dpo's pairs, nothing selected": ["dpo.pairs_from=selected dpo=default"],
    "warm-up of dpo, constant schedule": ["dpo.warmup_steps=5 dpo=default dpo.lr_scheduler_type=constant"],
    "parts of one recipe": ["cot.parts=[expert,reflection]", "cot.parts=[expert,reflection] cot=expert"],
    "revision of no hub id": ["model.revision=0123abc", "model.revision=0123abc model.path=./weights"],
    "names": [
        "model.name=mine",
        "model.prompt_tokens.long=9000",
        "model.prompt_examples=3",
        "model.completion_tokens=32",
        "peft.rates.sft=1e-3 peft=lora",
    ],
    "settings of no adapter": ["peft.rank=8", "peft.targets=[q_proj]"],
    "dropout of adapters without sft": ["peft.dropout=0.1 peft=lora sft=off eval.stages=[]"],
    "arm's name": ["rl.arm=mine"],
    "probe's size without probes": ["rl.watch.probe_size=9 rl.watch.enabled=false"],
    "clip_higher without effect": [f"rl/entropy=clip_higher {ONE_UPDATE}"],
    "kl_cov without effect": [f"rl/entropy=kl_cov {ONE_UPDATE}"],
    "kl_cov_verl without effect": [f"rl/entropy=kl_cov_verl {ONE_UPDATE}"],
    "kl_cov's parameters without effect": [f"rl.kl_cov.coef=2 rl.kl_cov.enabled=true {ONE_UPDATE}"],
    "dual_clip without effect": [f"rl/entropy=dual_clip {ONE_UPDATE}"],
    "gspo without effect": [f"rl/entropy=gspo {ONE_UPDATE} rl.loss_type=cispo"],
    "cispo without effect": [f"rl/entropy=cispo {ONE_UPDATE}"],
    "clip_cov off": ["rl.clip_cov.share=0.1", "rl.clip_cov.low=0.5"],
    "kl_cov off": ["rl.kl_cov.coef=2"],
    "entropy_adaptive off": ["rl.entropy_target=0.1", "rl.entropy_coef_delta=0.1 rl/entropy=entropy_bonus"],
    "sapo off": ["rl.sapo_temperature_pos=2", f"rl.sapo_temperature_neg=2 rl/entropy=sapo {ONE_UPDATE}"],
    "dapo off": ["rl.dynamic_sampling.attempts=2"],
    "sft_aux off": ["rl.sft_auxiliary.weight=1"],
    "sft_aux_decaying off": ["rl.sft_auxiliary.final=0.5 rl/entropy=sft_aux"],
    "sft_aux_adaptive off": ["rl.sft_auxiliary.rate=0.5 rl/entropy=sft_aux_decaying"],
    "rule_aware off": ["reward.rule_aware.path=0.5"],
    "stepwise off": ["rl.stepwise.weight=0.1"],
    "guided off": ["rl.guided_replay.trigger=0.1 reward=rule_aware"],
    "brief off": ["reward.brevity.weight=0.1"],
    "overlong off": ["reward.overlong.buffer=3"],
    "easy_to_hard off": ["curriculum.difficulty=measured"],
    "staged off": ["curriculum.pools=4 curriculum=easy_to_hard"],
    "staged_replay off": ["curriculum.replay=0.4"],
    "pass_rate_window off": ["curriculum.memory=0.4 curriculum=staged"],
    "measured off": ["curriculum.samples=4 curriculum=staged"],
    "distill off": ["distill.target=label", "distill.student.hidden_size=32 distill=off"],
    "soft weight, other target": ["distill.weight=2 distill=explanation format=answer_first"],
    "warm-up of distill, constant schedule": [
        "distill.warmup_steps=20 distill.lr_scheduler_type=constant distill=default format=answer_first"
    ],
    "student's pretraining off": [
        "distill.student.pretrain.texts=10 distill.student.pretrain.max_steps=0 distill=default format=answer_first"
    ],
    "instructions as written": ["instructions.candidates=9", "instructions.metric=macro_f1 instructions=written"],
    "completion length, first token": ["eval.max_completion_length=9 eval.decode=first_token format=answer_first"],
    "no vision tower": ["model.vision.patch_size=8", "model.vision.pretrain.max_steps=7 rl=off"],
    "vision without an image": [
        "model=embedded_vlm rl=off",
        "model=embedded_vlm rl=off features=attributes",
        "model.vision.enabled=true rl=off",
    ],
    "graded reward, two grades": ["reward=graded data=table data.path=pairs.csv cot=none format=label_only"],
    "teacher not asked": ["teacher.model=m", "teacher.price_in=1 cot=naive"],
    "reasoning of a teacher that rewrites lines alone": [f"teacher.tries=3 {REWRITTEN}", f"teacher.recipe=rules {REWRITTEN}"],
    "settings of our own recipes, teacher": [f"cot.mistake_rate=0.5 {TAUGHT}", f"cot.value_rate=0.5 {TAUGHT}"],
    "steps of progressive, another recipe": [f"cot.knowledge=false {TAUGHT} teacher.recipe=expert"],
    "caption step without captions": [f"cot.caption=false {TAUGHT} features=title"],
    "settings of vLLM, transformers": ["rollout.correction=none", "rollout.base_url=http://127.0.0.1:8000"],
    "correction without rl": ["rollout.correction=none rollout=vllm_colocate rl=off"],
    "bound of no correction": ["rollout.correction_max=2 rollout=vllm_colocate rollout.correction=none"],
    "settings of the server, colocated": ["rollout.concurrency=2 rollout=vllm_colocate"],
    "memory of the engine, server": ["rollout.gpu_memory_utilization=0.5 rollout=vllm_server rollout.base_url=http://127.0.0.1:8000"],
    "sampling on the live model, vLLM": [
        "compute.generation_rounds=4 rollout=vllm_colocate",
        "compute.sampler_log_probs=false rollout=vllm_colocate",
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_setting_that_cannot_act_is_refused_with_what_to_change(compose: Compose, rule: InertRule) -> None:
    for command in CASES[rule.name]:
        words = command.split()
        key = words[0].partition("=")[0]
        with pytest.raises(ConfigError) as caught:
            validate(compose(*PINNED.split(), *words), touched(words))
        expected = f"{key} cannot act: {rule.why}. Instead: {rule.instead}; or set guard=warn to run it on purpose"
        assert str(caught.value).splitlines() == [expected]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_same_setting_passes_with_a_warning_on_purpose(compose: Compose, rule: InertRule) -> None:
    for command in CASES[rule.name]:
        words = [*command.split(), "guard=warn"]
        (message,) = validate(compose(*PINNED.split(), *words), touched(words))
        assert rule.why in message


def test_every_case_belongs_to_a_rule_and_rule_names_are_unique() -> None:
    assert set(CASES) == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    "command",
    [
        "rl=off",
        "rl.enabled=false",
        "model.vision.enabled=false",
        "sft=off eval.stages=[]",
        "sft.enabled=false eval.stages=[]",
        "dpo=off",
        "dpo.enabled=false dpo=default",
        "selection=off",
        "selection.enabled=false selection=im",
        "model.pretrain.max_steps=0",
        "format=label_only cot=none",
        "model.path=./weights",
        "eval.sampled_size=0",
        "distill.enabled=false",
        "distill.student.pretrain.max_steps=0 distill=default format=answer_first",
        "instructions.name=written",
    ],
)
def test_turning_something_off_is_not_refused(compose: Compose, command: str) -> None:
    words = command.split()
    assert validate(compose(*PINNED.split(), *words), touched(words)) == []


@pytest.mark.parametrize(
    "command",
    [
        "rl.clip_high=0.28",
        "rl.clip_high=0.28 rl.num_iterations=1",
        "rl.clip_high=0.28 rl.steps_per_generation=1",
        "rl.clip_high=0.28 rl.loss_type=cispo",
        "rl.importance_sampling_level=sequence",
        f"rl.learning_rate=1e-5 {ONE_UPDATE}",
        "rl.warmup_steps=10 rl.lr_scheduler_type=constant_with_warmup",
        "sft.warmup_steps=20",
        "cot=naive",
        "cot=naive format=answer_first",
        f"{TAUGHT} cot.rules=false teacher.price_in=1",
        f"teacher.temperature=0.5 {REWRITTEN}",
        f"{TAUGHT} data=chorus data.path=chorus",
        "rollout=vllm_colocate rollout.correction=token_truncate rollout.max_logp_difference=0.5",
        "reward=graded",
        "reward=graded data=chorus data.path=chorus cot=none format=label_only",
        "model=embedded_vlm features=image rl=off",
        "model.vision.patch_size=8 model=embedded_vlm features.image=true prompt.max_tokens=96 rl=off",
        "peft.rank=8 peft=lora",
        "peft.dropout=0.1 peft=lora",
        "compute.gradient_checkpointing=true",
        "format=reason_first sft=off eval.stages=[]",
        "distill.weight=2 distill=probabilities format=answer_first",
        "instructions.candidates=9 instructions=evolved format=answer_first prompt=long",
        "eval.max_completion_length=9 eval.decode=first_token format=answer_first distill=explanation",
        "selection.ms=agrees selection=im_ci_ms",
        "selection.ms=agrees selection=im selection.filters=[ms]",
        "selection.share=0.2 selection=random",
        "selection.judge.warmup_steps=5 selection=im",
        "dpo.pairs_from=selected dpo=default selection=im",
        "dpo.errors=all dpo=default rl=off",
        "eval.beams=2 eval.prior_correction=true",
        "cot.parts=[expert,reflection] cot=multi",
        "cot.parts=[expert,reflection] cot=expert_rules",
    ],
)
def test_a_setting_that_acts_is_left_alone(compose: Compose, command: str) -> None:
    words = command.split()
    assert validate(compose(*PINNED.split(), *words), touched(words)) == []


def test_an_untouched_inert_value_is_no_placebo(compose: Compose) -> None:
    assert validate(compose("rl=off"), touched(["rl=off"])) == []
    assert validate(compose(*PINNED.split(), *ONE_UPDATE.split()), touched(ONE_UPDATE.split())) == []
