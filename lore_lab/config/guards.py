"""Inert axes: settings that were swept or overridden but cannot act under the rest of the config. One table.

A placebo sweep costs compute and yields a confident nothing; so it is refused before any compute. `guard=warn` goes on, on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lore_lab.config.arms import inert_rules
from lore_lab.config.inert import UPDATE_MORE, InertRule, one_update
from lore_lab.config.rollout import uses_vllm
from lore_lab.config.teacher import REASONING, asked, taught
from lore_lab.models.checkpoint import is_hub_id

if TYPE_CHECKING:
    from lore_lab.config.schema import Config


def _two_grades(config: Config) -> bool:
    """Whether the source is a table of relevant and irrelevant pairs, with nothing between."""
    labels = getattr(config.data, "labels", None)
    return labels is not None and len(labels.grades) == 2


RULES: tuple[InertRule, ...] = (
    InertRule("rl off", ("rl.*", "rl/*", "reward", "reward.*", "curriculum", "curriculum.*"), lambda c: not c.rl.enabled,
              "the rl stage is off", "take rl=grpo"),
    InertRule("sft off", ("sft.*", "cot", "cot.*"), lambda c: not c.sft.enabled, "the sft stage is off", "take sft=default"),
    InertRule("selection off", ("selection.*",), lambda c: not c.selection.enabled, "selection=off keeps every pair", "take selection=im_ci_ms"),
    InertRule("sign of no filter", ("selection.ms",), lambda c: "ms" not in c.selection.filters,
              "selection.filters does not hold ms", "take selection=im_ci_ms"),
    InertRule("judges of no filter", ("selection.judge.*",), lambda c: not c.selection.filters,
              "selection.filters is empty, so no judge is trained", "take selection=im, im_ci or im_ci_ms"),
    InertRule("warm-up of judges, constant schedule", ("selection.judge.warmup_steps",), lambda c: c.selection.judge.lr_scheduler_type == "constant",
              "a constant schedule has no warm-up", "take selection.judge.lr_scheduler_type=constant_with_warmup"),
    InertRule("dpo off", ("dpo.*",), lambda c: not c.dpo.enabled, "the dpo stage is off", "take dpo=default"),
    InertRule("origin of dpo's pairs, nothing selected", ("dpo.pairs_from",), lambda c: not c.selection.enabled,
              "selection=off: all pairs are the selected ones", "take selection=im_ci_ms"),
    InertRule("warm-up of dpo, constant schedule", ("dpo.warmup_steps",), lambda c: c.dpo.lr_scheduler_type == "constant",
              "a constant schedule has no warm-up", "take dpo.lr_scheduler_type=constant_with_warmup"),
    InertRule("clip range, one update", ("rl.clip_low", "rl.clip_high", "rl.delta"), one_update,
              "every rollout feeds exactly one optimizer step, so the ratio is 1 and is never clipped", UPDATE_MORE),
    InertRule("sequence ratio, one update", ("rl.importance_sampling_level",), one_update,
              "every rollout feeds exactly one optimizer step, so token and sequence ratios are both 1", UPDATE_MORE),
    InertRule("clip range, no clipping loss", ("rl.clip_low", "rl.delta"), lambda c: c.rl.loss_type in ("cispo", "sapo"),
              "this rl.loss_type has no lower clip", "take rl.loss_type=dapo, grpo, bnpo or dr_grpo"),
    InertRule("upper clip, sapo", ("rl.clip_high",), lambda c: c.rl.loss_type == "sapo",
              "rl.loss_type=sapo gates softly and has no clip range", "take rl.loss_type=dapo, grpo, bnpo or dr_grpo"),
    InertRule("warm-up of rl, constant schedule", ("rl.warmup_steps",), lambda c: c.rl.lr_scheduler_type == "constant",
              "a constant schedule has no warm-up", "take rl.lr_scheduler_type=constant_with_warmup"),
    InertRule("warm-up of sft, constant schedule", ("sft.warmup_steps",), lambda c: c.sft.lr_scheduler_type == "constant",
              "a constant schedule has no warm-up", "take sft.lr_scheduler_type=constant_with_warmup"),
    InertRule("cot without reasoning", ("cot", "cot.*"), lambda c: c.format.name == "label_only" and c.cot.name != "none",
              "format=label_only has no room for reasoning", "take format=reason_first or format=answer_first"),
    InertRule("settings of no cot", ("cot.*",), lambda c: c.cot.name == "none",
              "cot=none writes no reasoning", "take another cot, or drop the setting"),
    InertRule("parts of one recipe", ("cot.parts",), lambda c: c.cot.name != "multi",
              "only cot=multi is made of parts", "take cot=multi"),
    InertRule("teacher not asked", ("teacher", "teacher.*"), lambda c: not asked(c), "no stage asks a teacher",
              "take cot=teacher and a format with reasoning, or rewrite among instructions.operators"),
    InertRule("reasoning of a teacher that rewrites lines alone", tuple(f"teacher.{name}" for name in REASONING), lambda c: asked(c) and not taught(c),
              "a rewritten line of instructions has no use for it", "take cot=teacher, or drop the setting"),
    InertRule("settings of our own recipes, teacher", ("cot.mistake_rate", "cot.value_rate"), lambda c: c.cot.name == "teacher",
              "cot=teacher takes the teacher's words", "take another cot, or drop the setting"),
    InertRule("steps of progressive, another recipe", ("cot.knowledge", "cot.caption", "cot.rules"),
              lambda c: c.cot.name == "teacher" and c.teacher.recipe != "progressive", "only teacher.recipe=progressive has these steps",
              "take teacher.recipe=progressive, or drop the setting"),
    InertRule("caption step without captions", ("cot.caption",), lambda c: c.cot.name == "teacher" and "caption" not in c.features.fields,
              "the teacher is shown the fields of features.fields, and caption is none of them", "take features=caption"),
    InertRule("settings of vLLM, transformers", ("rollout.*",), lambda c: not uses_vllm(c), "rollout=transformers has no settings",
              "take rollout=vllm_colocate or vllm_server"),
    InertRule("correction without rl", ("rollout.correction", "rollout.correction_max"), lambda c: not c.rl.enabled, "it acts on the loss of rl",
              "take rl=grpo"),
    InertRule("bound of no correction", ("rollout.correction_max",), lambda c: c.rollout.correction == "none", "rollout.correction=none",
              "take another rollout.correction"),
    InertRule("settings of the server, colocated", ("rollout.base_url", "rollout.timeout", "rollout.concurrency"),
              lambda c: c.rollout.name == "vllm_colocate", "rollout=vllm_colocate has no server", "take rollout=vllm_server"),
    InertRule("memory of the engine, server", ("rollout.gpu_memory_utilization",), lambda c: c.rollout.name == "vllm_server",
              "the server was started with its own", "take rollout=vllm_colocate"),
    InertRule("sampling on the live model, vLLM", ("compute.generation_rounds", "compute.sampler_log_probs"), uses_vllm, "vLLM samples by itself",
              "take rollout=transformers"),
    InertRule("samples without sampled pairs", ("eval.samples", "eval.temperature"), lambda c: c.eval.sampled_size == 0,
              "eval.sampled_size=0 samples no pair", "raise eval.sampled_size"),
    InertRule("pretraining off", ("model.pretrain.*",), lambda c: c.model.pretrain.max_steps == 0,
              "model.pretrain.max_steps=0", "raise it"),
    InertRule("embedded fields, pretrained model", ("model.vocab_size", "model.hidden_size", "model.intermediate_size", "model.num_*", "model.head_dim",
                                                   "model.max_position_embeddings", "model.tie_word_embeddings", "model.initializer_range", "model.pretrain.*", "model.seed", "model.architecture"),
              lambda c: c.model.path is not None, "model.path gives a finished model", "leave model.path null, or drop the setting"),
    InertRule("no vision tower", ("model.vision.*",), lambda c: not c.model.vision.enabled, "model.vision.enabled=false", "take model=embedded_vlm"),
    InertRule("vision without an image", ("model", "model.vision", "model.vision.*"), lambda c: c.model.vision.enabled and not c.features.image,
              "features.image=false shows the model no image", "take features=image or features.image=true"),
    InertRule("revision of no hub id", ("model.revision",), lambda c: c.model.path is None or not is_hub_id(c.model.path),
              "only hub ids have revisions; a directory's files are checksummed", "drop it, or take a hub id as model.path"),
    InertRule("names", ("model.name", "peft.rates.*", "model.prompt_tokens.*", "model.prompt_examples", "model.completion_tokens"), lambda c: True,
              "it only names an option, or fills in what prompt, rl, sft and eval take from their own fields",
              "take model=..., prompt.max_tokens, prompt.examples, rl.max_completion_length, eval.max_completion_length, sft.learning_rate or rl.learning_rate"),
    InertRule("settings of no adapter", ("peft.rank", "peft.alpha", "peft.dropout", "peft.targets"), lambda c: c.peft.name == "none",
              "peft=none trains every weight", "take peft=lora"),
    InertRule("dropout of adapters without sft", ("peft.dropout",), lambda c: not c.sft.enabled,
              "only SFT trains with dropout, and the sft stage is off", "take sft=default"),
    InertRule("graded reward, two grades", ("reward",), lambda c: c.reward.name == "graded" and _two_grades(c),
              "with two grades, graded and exact rewards are the same", "take reward=exact"),
    InertRule("list of steps", ("recipe.*",), lambda c: True, "a recipe's own fields only name its steps", "take recipe=..., and step=... under -m"),
    InertRule("arm's name", ("rl.arm",), lambda c: True, "rl.arm only names the option of rl/entropy", "take rl/entropy=..."),
    InertRule("probe's size without probes", ("rl.watch.probe_*",), lambda c: not c.rl.watch.enabled, "rl.watch.enabled=false", "switch it on"),
    InertRule("deploy off", ("deploy.*",), lambda c: not c.deploy.enabled, "deploy is off", "take deploy=tiers or deploy=llm"),
    InertRule("distill off", ("distill.*",), lambda c: not c.distill.enabled, "the distill stage is off", "take distill=default"),
    InertRule("soft weight, other target", ("distill.weight",), lambda c: c.distill.target != "probabilities",
              "distill.target shows the student no probabilities", "take distill=probabilities"),
    InertRule("warm-up of distill, constant schedule", ("distill.warmup_steps",), lambda c: c.distill.lr_scheduler_type == "constant",
              "a constant schedule has no warm-up", "take distill.lr_scheduler_type=constant_with_warmup"),
    InertRule("student's pretraining off", ("distill.student.pretrain.*",), lambda c: c.distill.student.pretrain.max_steps == 0,
              "distill.student.pretrain.max_steps=0", "raise it"),
    InertRule("instructions as written", ("instructions.*",), lambda c: c.instructions.name == "written",
              "instructions=written evolves nothing", "take instructions=evolved"),
    InertRule("completion length, first token", ("eval.max_completion_length",),
              lambda c: c.eval.decode == "first_token" and not c.distill.enabled,
              "eval.decode=first_token generates nothing", "take eval.decode=generate"),
    *inert_rules(),
)  # fmt: skip


_SWITCHES = {
    ("rl off", "rl.enabled"), ("sft off", "sft.enabled"), ("dpo off", "dpo.enabled"), ("selection off", "selection.enabled"),
    ("deploy off", "deploy.enabled"),
    ("pretraining off", "model.pretrain.max_steps"),
}  # fmt: skip


def inert(config: Config, touched: Iterable[str]) -> list[str]:
    """A message for each touched key (dotted key or group name) that cannot act under `config`."""
    messages = []
    for key in touched:
        for rule in RULES:
            if rule.touches(key) and rule.inert(config) and not _switches_itself(key, rule):
                messages.append(f"{key} cannot act: {rule.why}. Instead: {rule.instead}; or set guard=warn to run it on purpose")
                break
    return messages


_SWITCHES = {
    ("deploy off", "deploy.enabled"), ("rl off", "rl.enabled"), ("sft off", "sft.enabled"), ("distill off", "distill.enabled"), ("instructions as written", "instructions.name"),
    ("pretraining off", "model.pretrain.max_steps"), ("student's pretraining off", "distill.student.pretrain.max_steps"), ("no vision tower", "model.vision.enabled"),
    ("dpo off", "dpo.enabled"), ("selection off", "selection.enabled"),
}  # fmt: skip


def _switches_itself(key: str, rule: InertRule) -> bool:
    """Turning a stage off is no placebo."""
    return (rule.name, key) in _SWITCHES
