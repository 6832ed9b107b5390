"""Everything that can be known to be wrong before compute is refused here: ranges, cross-field conditions, inert axes."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from lore_lab.config.errors import ConfigError
from lore_lab.config.fields import range_error, walk
from lore_lab.config.guards import inert, one_update
from lore_lab.config.rollout import truncated, uses_vllm
from lore_lab.config.schema import Config
from lore_lab.config.teacher import asked, safe_address
from lore_lab.config.training import STUDENT_FORMATS
from lore_lab.models.checkpoint import is_hub_id
from lore_lab.models.shape import KNOWN, LINEAR, longest


def _without_facts(config: Config) -> bool:
    """Whether the source is a table of ratings: these know the label, not the reasons."""
    return getattr(config.data, "kind", "") == "rated"


def _evolves(config: Config) -> bool:
    return config.instructions.name == "evolved"


def _evaluated_formats(config: Config) -> set[str]:
    """Layouts of the policies that are evaluated: a student has its own."""
    if not config.distill.enabled:
        return {config.format.name}
    return {STUDENT_FORMATS[config.distill.target], *([config.format.name] if config.eval.stages else [])}


def _shows_no_images(config: Config) -> bool:
    """Whether a stage is on that would ask a model that sees without showing it anything."""
    sections = (config.selection, config.dpo, config.rl, config.distill, config.deploy)
    return any(section.enabled for section in sections) or config.instructions.name != "written"


def _longest_completion(config: Config) -> int:
    dpo = config.dpo.max_completion_length if config.dpo.enabled else 0
    return max(config.rl.max_completion_length, config.eval.max_completion_length, dpo)


def _too_long(config: Config, tokens: int) -> bool:
    """Whether sequences of so many tokens are more than the model was made for; False where only the hub knows."""
    most = longest(config.model)
    return most is not None and tokens > most


def _odd_heads(config: Config) -> bool:
    model = config.model
    width, heads, keys = model.hidden_size, model.num_attention_heads, model.num_key_value_heads
    if model.path is not None or not width or not heads or not keys:
        return False
    return width % heads != 0 or heads % keys != 0


def _unpinned(config: Config) -> bool:
    path, revision = config.model.path, config.model.revision
    return path is not None and is_hub_id(path) and not re.fullmatch(r"[0-9a-f]{40}", revision or "")


#: (is it wrong?, message with the config's fields as format arguments)
Condition = tuple[Callable[[Config], bool], str]

_VISION: tuple[Condition, ...] = (
    (
        lambda c: c.features.image and not c.model.vision.enabled,
        "features.image=true needs a model that sees, model.name={model.name} does not; take model=embedded_vlm, or features=caption",
    ),
    (
        lambda c: c.features.image and type(c.data).__name__ != "WorldConfig",
        "features.image=true needs a source that has images, data={data.name} has none; take data=world, or another features",
    ),
    (
        lambda c: c.model.vision.enabled and _shows_no_images(c),
        "model.vision: only SFT and evaluation show images; take rl=off, and leave selection, dpo, distill, instructions and deploy off",
    ),
    (
        lambda c: c.model.vision.enabled and c.model.path is not None,
        "model.vision builds on the embedded model, model.path={model.path} names another; take model.path=null",
    ),
    (
        lambda c: c.model.vision.image_size % c.model.vision.patch_size != 0,
        "model.vision.patch_size={model.vision.patch_size} must divide model.vision.image_size={model.vision.image_size}",
    ),
    (
        lambda c: c.model.vision.hidden_size % c.model.vision.num_attention_heads != 0,
        "model.vision.num_attention_heads={model.vision.num_attention_heads} must divide model.vision.hidden_size={model.vision.hidden_size}",
    ),
    (
        lambda c: c.features.image and (c.model.vision.image_size // c.model.vision.patch_size) ** 2 >= c.prompt.max_tokens,
        "an image is (model.vision.image_size / model.vision.patch_size)^2 tokens, ({model.vision.image_size} / {model.vision.patch_size})^2 leaves "
        "nothing of prompt.max_tokens={prompt.max_tokens} for words",
    ),
)

_CROSS_FIELD: tuple[Condition, ...] = (
    (
        lambda c: c.rl.per_device_train_batch_size * c.rl.steps_per_generation % c.rl.num_generations != 0,
        "rl.num_generations={rl.num_generations} must divide the generation batch, rl.per_device_train_batch_size "
        "({rl.per_device_train_batch_size}) x rl.steps_per_generation ({rl.steps_per_generation})",
    ),
    (
        lambda c: not one_update(c) and c.rl.steps_per_generation * c.rl.num_iterations % c.rl.gradient_accumulation_steps != 0,
        "rl.gradient_accumulation_steps={rl.gradient_accumulation_steps} must divide rl.steps_per_generation x rl.num_iterations "
        "({rl.steps_per_generation} x {rl.num_iterations}), so that a generation batch ends with an optimizer step",
    ),
    (
        lambda c: c.rl.loss_type not in ("cispo", "sapo") and c.rl.clip_low > c.rl.clip_high,
        "rl.clip_low={rl.clip_low} is above rl.clip_high={rl.clip_high}; clip-higher raises rl.clip_high",
    ),
    (
        lambda c: c.rl.delta is not None and c.rl.delta <= 1 + c.rl.clip_high,
        "rl.delta={rl.delta} must be above 1 + rl.clip_high ({rl.clip_high}), or it replaces the upper clip",
    ),
    (lambda c: not c.sft.enabled and not c.rl.enabled, "sft and rl are both off: nothing would be trained; take sft=default or rl=grpo"),
    (
        lambda c: any(not getattr(c, stage).enabled for stage in c.eval.stages),
        "eval.stages={eval.stages} names a stage that is off; leave it out (eval.stages=[]), or take sft=default, dpo=default, rl=grpo",
    ),
    (lambda c: c.dpo.enabled and not c.sft.enabled, "dpo corrects the errors of a policy that answers, and sft is off; take sft=default"),
    (
        lambda c: c.selection.enabled and not c.selection.filters and c.selection.share == 1,
        "selection without filters and with selection.share=1 keeps every pair; take selection=off, or a share below 1",
    ),
    (lambda c: len(set(c.selection.filters)) < len(c.selection.filters), "selection.filters={selection.filters} names a filter twice"),
    (
        lambda c: c.cot.name == "multi" and (len(c.cot.parts) < 2 or len(set(c.cot.parts)) < len(c.cot.parts)),
        "cot.parts={cot.parts}: at least two recipes, each once; one alone is cot=expert, rules or reflection",
    ),
    (lambda c: c.eval.beams == 1, "eval.beams=1 is the greedy answer again; take 0, or at least 2"),
    (
        lambda c: _too_long(c, c.prompt.max_tokens + _longest_completion(c)),
        "prompt.max_tokens={prompt.max_tokens} plus the longest completion exceeds model.max_position_embeddings={model.max_position_embeddings}",
    ),
    (
        lambda c: c.eval.sampled_size > c.eval.size,
        "eval.sampled_size={eval.sampled_size} is above eval.size={eval.size}",
    ),
    (
        lambda c: c.format.name != "label_only" and c.sft.enabled and c.cot.name == "none",
        "format={format.name} needs reasoning in the targets, cot=none writes none; take format=label_only or another cot",
    ),
    (
        lambda c: truncated(c) and (not uses_vllm(c) or c.rollout.correction == "none"),
        "rl.top_p={rl.top_p}, rl.top_k={rl.top_k}: completions would come from a cut distribution and the loss take the whole one, so importance ratios "
        "are biased; leave rl.top_p=1 rl.top_k=0, or take a vLLM rollout with a rollout.correction",
    ),
    (
        lambda c: uses_vllm(c) and (c.eval.beams > 0 or c.features.image),
        "rollout={rollout.name} searches no beams (eval.beams={eval.beams}) and sees no images (features.image={features.image}); take rollout=transformers",
    ),
    (
        lambda c: c.rollout.name == "vllm_server" and (c.rollout.base_url is None or not safe_address(c.rollout.base_url, key=False)),
        "rollout=vllm_server needs rollout.base_url, an http(s) address without a user, a key or a query",
    ),
    (
        lambda c: asked(c) and None in (c.teacher.base_url, c.teacher.model, c.teacher.revision),
        "cot=teacher and instructions.operators=[rewrite] need to know whom to ask: teacher.base_url={teacher.base_url}, teacher.model={teacher.model}, "
        "teacher.revision={teacher.revision}",
    ),
    (
        lambda c: asked(c) and c.teacher.base_url is not None and not safe_address(c.teacher.base_url, c.teacher.key_variable is not None),
        "teacher.base_url must be an http(s) address without a user, a key or a query, and https where teacher.key_variable={teacher.key_variable} "
        "sends a key to another machine",
    ),
    (
        _odd_heads,
        "model.num_attention_heads={model.num_attention_heads} must divide model.hidden_size={model.hidden_size} and be a multiple of "
        "model.num_key_value_heads={model.num_key_value_heads}",
    ),
    (
        _unpinned,
        "model.path={model.path} is a hub id: pin model.revision to a commit (40 hex digits), so that the weights cannot move; "
        "`git ls-remote https://huggingface.co/{model.path} HEAD` prints the present one",
    ),
    (
        lambda c: c.model.path is None and c.model.dtype != "float32",
        "model.dtype={model.dtype}: the embedded model is made in float32; bfloat16 weights are for model.path",
    ),
    (
        lambda c: c.model.dtype == "bfloat16" and c.peft.name == "none",
        "model.dtype=bfloat16 with peft=none would train bfloat16 weights, which lose updates below 1/256 of a weight; take peft=lora, or "
        "model.dtype=float32 compute.precision=bf16",
    ),
    (
        lambda c: c.model.attention == "flash_attention_2" and (c.model.dtype == "float32" or not importlib.util.find_spec("flash_attn")),
        "model.attention=flash_attention_2 needs model.dtype=bfloat16 and the package flash-attn, which needs a CUDA GPU; take sdpa",
    ),
    (
        lambda c: c.distill.enabled and c.model.architecture is None,
        "distill makes a student of model.architecture, which model={model.name} leaves open; take one of the named models",
    ),
    (lambda c: c.peft.name != "none" and not c.peft.targets, "peft.targets is empty: no layer gets an adapter; take peft=lora"),
    (lambda c: len(set(c.peft.targets)) < len(c.peft.targets), "peft.targets={peft.targets} names a layer twice"),
    (
        lambda c: c.model.architecture in KNOWN and bool(set(c.peft.targets) - set(LINEAR)),
        "peft.targets={peft.targets}: the linear layers of {model.architecture} are " + ", ".join(LINEAR),
    ),
    (
        lambda c: c.format.name == "label_only" and (c.reward.name in ("rule_aware", "format") or c.rl.stepwise.enabled),
        "format=label_only has no reasoning for reward.name={reward.name} or rl.stepwise to look at; take reward=exact or another format",
    ),
    (
        lambda c: c.rl.enabled and c.rl.sft_auxiliary.enabled and c.format.name != "label_only" and c.cot.name == "none",
        "rl.sft_auxiliary needs targets with reasoning under format={format.name}, cot=none writes none",
    ),
    (
        lambda c: c.rl.guided_replay.enabled and _too_long(c, c.prompt.max_tokens + 64 + c.rl.max_completion_length),
        "rl.guided_replay adds up to 64 tokens of hint to prompt.max_tokens={prompt.max_tokens}: too long for model.max_position_embeddings",
    ),
    (
        lambda c: c.reward.overlong.enabled and c.reward.overlong.buffer > c.rl.max_completion_length,
        "reward.overlong.buffer={reward.overlong.buffer} is above rl.max_completion_length={rl.max_completion_length}",
    ),
    (
        lambda c: len(c.curriculum.window) != 2 or c.curriculum.window[0] >= c.curriculum.window[1],
        "curriculum.window={curriculum.window} must be two rates, the lower one first",
    ),
    (
        lambda c: c.rl.clip_cov.low >= c.rl.clip_cov.high,
        "rl.clip_cov.low={rl.clip_cov.low} must be below rl.clip_cov.high={rl.clip_cov.high}",
    ),
    (
        lambda c: len(c.rl.sft_auxiliary.bounds) != 2 or c.rl.sft_auxiliary.bounds[0] > c.rl.sft_auxiliary.bounds[1],
        "rl.sft_auxiliary.bounds={rl.sft_auxiliary.bounds} must be two factors, the lower one first",
    ),
    (
        lambda c: _without_facts(c) and c.sft.enabled and c.format.name != "label_only" and c.cot.name not in ("none", "teacher"),
        "data={data.name} has no gold facts, so cot={cot.name} cannot write reasoning for it; take cot=teacher, or cot=none format=label_only",
    ),
    (
        lambda c: (
            _without_facts(c) and c.rl.enabled and (c.reward.name == "rule_aware" or c.rl.stepwise.enabled or c.rl.guided_replay.enabled)
        ),
        "data={data.name} has no gold facts for reward.name={reward.name}, rl.stepwise.enabled={rl.stepwise.enabled} or "
        "rl.guided_replay.enabled={rl.guided_replay.enabled} to judge or hint with; take reward=exact and switch both sections off",
    ),
    (
        lambda c: c.deploy.top > c.deploy.candidates,
        "deploy.top={deploy.top} is above deploy.candidates={deploy.candidates}: no request shows so many items",
    ),
    (
        lambda c: c.deploy.hot_from is not None and c.deploy.medium_from is not None and c.deploy.medium_from > c.deploy.hot_from,
        "deploy.medium_from={deploy.medium_from} is above deploy.hot_from={deploy.hot_from}: the ranker would answer no query",
    ),
    (
        lambda c: c.compute.distributed != "ddp" and c.rl.enabled,
        "compute.distributed={compute.distributed} keeps shards of the model, rl samples from a whole one; take compute.distributed=ddp or rl=off",
    ),
    (
        lambda c: c.compute.distributed != "ddp" and c.compute.processes == 1,
        "compute.distributed={compute.distributed} has nothing to share over one process; raise compute.processes or take compute.distributed=ddp",
    ),
    (
        lambda c: c.compute.processes > 1 and c.rl.enabled and c.rl.guided_replay.enabled and c.rl.scale_rewards == "batch",
        "rl.guided_replay under rl.scale_rewards=batch would scale by what other processes replay; take compute.processes=1 or rl.scale_rewards=group",
    ),
    (
        lambda c: c.compute.compile and (c.compute.processes > 1 or c.compute.gradient_checkpointing),
        "compute.compile=true is made for one process that keeps its activations; take compute.compile=false under "
        "compute.processes={compute.processes}, compute.gradient_checkpointing={compute.gradient_checkpointing}",
    ),
    *_VISION,
    (lambda c: not c.eval.subsets, "eval.subsets is empty: a point without an evaluation says nothing"),
    (lambda c: len(set(c.eval.subsets)) < len(c.eval.subsets), "eval.subsets={eval.subsets} names a subset twice"),
    (lambda c: len(set(c.eval.baselines)) < len(c.eval.baselines), "eval.baselines={eval.baselines} names a baseline twice"),
    (lambda c: len(set(c.eval.stages)) < len(c.eval.stages), "eval.stages={eval.stages} names a stage twice"),
    (
        lambda c: c.eval.decode == "first_token" and "reason_first" in _evaluated_formats(c),
        "eval.decode=first_token reads the label before any reasoning, and a policy that reasons first is evaluated; take format=answer_first or "
        "label_only, another distill target than explanation_first, eval.stages=[] where only the teacher reasons first, or eval.decode=generate",
    ),
    (
        lambda c: "validation" in c.eval.subsets and (c.eval.calibrate > 0 or _evolves(c)),
        "eval.subsets holds validation, and eval.calibrate or instructions=evolved chooses by these pairs; take another test split",
    ),
    (
        lambda c: (
            getattr(c.data, "validation_size", math.inf)
            < max(c.eval.calibrate, _evolves(c) * (c.instructions.pairs + c.instructions.check_pairs))
        ),
        "eval.calibrate={eval.calibrate} or instructions.pairs + instructions.check_pairs ({instructions.pairs} + {instructions.check_pairs}) is above "
        "data.validation_size; raise it",
    ),
    (
        lambda c: _evolves(c) and c.prompt.template == "bare",
        "instructions=evolved changes the lines before the query, prompt.template={prompt.template} has none; take prompt=long or prompt=medium",
    ),
    (
        lambda c: _evolves(c) and not c.sft.enabled,
        "instructions=evolved asks the policy of stage sft, and sft is off; take sft=default or instructions=written",
    ),
    (
        lambda c: _evolves(c) and c.instructions.metric == "log_likelihood" and c.format.name == "reason_first",
        "instructions.metric=log_likelihood reads the label's place, which format=reason_first has only after reasoning; take format=answer_first, "
        "or instructions.metric=macro_f1",
    ),
    (
        lambda c: _evolves(c) and c.deploy.enabled,
        "deploy asks with the instructions as written, instructions=evolved changes them; take deploy=off or instructions=written",
    ),
    (lambda c: _evolves(c) and not c.instructions.operators, "instructions.operators is empty: no candidate could be made"),
    (
        lambda c: c.distill.enabled and c.format.name == "label_only" and STUDENT_FORMATS[c.distill.target] != "label_only",
        "distill.target={distill.target} shows the student an explanation, a teacher of format=label_only gives none; take format=answer_first, or "
        "distill=label or probabilities",
    ),
    (
        lambda c: (
            c.distill.enabled and _evolves(c) and (c.format.name == "reason_first") != (STUDENT_FORMATS[c.distill.target] == "reason_first")
        ),
        "instructions=evolved says when to answer as format={format.name} does, and a student of distill.target={distill.target} answers in another "
        "order; take another target or format, or instructions=written",
    ),
    (
        lambda c: (
            c.distill.student.hidden_size % c.distill.student.num_attention_heads != 0
            or c.distill.student.num_attention_heads % c.distill.student.num_key_value_heads != 0
        ),
        "distill.student.num_attention_heads={distill.student.num_attention_heads} must divide distill.student.hidden_size="
        "{distill.student.hidden_size} and be a multiple of distill.student.num_key_value_heads={distill.student.num_key_value_heads}",
    ),
)


def typed(config: DictConfig) -> Config:
    """The composed config as dataclasses. Raises ConfigError when a value is missing or has the wrong type."""
    tree = config.copy()
    with flag_override(tree, ["struct", "readonly"], False):
        tree.pop("hydra", None)
    missing = OmegaConf.missing_keys(tree)
    if missing:
        raise ConfigError(f"{', '.join(sorted(missing))} must be set")
    try:
        result: Any = OmegaConf.to_object(tree)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from None
    if not isinstance(result, Config):
        raise ConfigError("the config was composed without its schema; start defaults with `- schema`")
    return result


def problems(config: Config) -> list[str]:
    """Messages for every range and cross-field condition that does not hold."""
    found = [message for key, field, value in walk(config) if (message := range_error(key, field, value))]
    if found:
        return found
    return [_fill(message, config) for wrong, message in _CROSS_FIELD if wrong(config)]


def validate(config: Config, touched: Iterable[str] = ()) -> list[str]:
    """Raise ConfigError when the config cannot run. Returns warnings: inert settings under guard=warn.

    touched: dotted keys and group names the user swept or overrode.
    """
    found = problems(config)
    if config.compute.compile and not _compiler():
        found.append(
            "compute.compile=true needs a C++ compiler, and none is found; install g++, name one in CXX, or take compute.compile=false"
        )
    if found:
        raise ConfigError("\n".join(found))
    messages = inert(config, touched)
    if messages and config.guard == "error":
        raise ConfigError("\n".join(messages))
    return messages


def _compiler() -> str | None:
    """The C++ compiler that torch takes; None where there is none."""
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))


def _fill(message: str, config: Config) -> str:
    values = {key: value for key, _, value in walk(config)}
    for key in sorted(values, key=len, reverse=True):
        message = message.replace("{" + key + "}", str(values[key]))
    return message
