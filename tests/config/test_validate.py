"""What is wrong with a command is said before anything runs: keys, options, types, ranges, and fields that contradict one another."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hydra.errors import ConfigCompositionException

from lore_lab.config.errors import ConfigError
from lore_lab.config.overrides import check, known_keys, touched
from lore_lab.config.schema import Config
from lore_lab.config.validate import _CROSS_FIELD, problems, validate

Compose = Callable[..., Config]


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("rl.clip_hihg=0.28", "rl.clip_high"),
        ("rl.clip_higher=0.28", "rl.clip_high"),
        ("data.sizes=100", "data.size"),
        ("featurs=title", "features"),
        ("curiculum=random", "curriculum"),
        ("sed=1", "seed"),
        ("prompt.max_token=48", "prompt.max_tokens"),
        ("cot.mistake=0.1", "cot.mistake_rate"),
        ("data.labels.grade=[a,b]", "data.labels.grades"),
        ("+rl.clip_hi=0.28", "rl.clip_high"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_known_one(word: str, nearest: str) -> None:
    name = word.partition("=")[0].lstrip("+")
    with pytest.raises(ConfigError, match=rf"unknown key '{name}'; did you mean .*{nearest}"):
        check([word])


def test_a_key_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(ConfigError, match=r"^unknown key 'zzzzqqqq'$"):
        check(["zzzzqqqq=1"])


@pytest.mark.parametrize(
    ("word", "group", "option", "nearest"),
    [
        ("features=titel", "features", "titel", "title"),
        ("curriculum=easy_to_hrd", "curriculum", "easy_to_hrd", "easy_to_hard"),
        ("prompt=short,mediun", "prompt", "mediun", "medium"),
        ("cot=progresive", "cot", "progresive", "progressive"),
        ("rl=of", "rl", "of", "off"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest_one_and_all_there_are(word: str, group: str, option: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"{group}={option}: no such option; did you mean {nearest}\? There are: .*{nearest}"):
        check([word])


@pytest.mark.parametrize(
    "word",
    [
        "data.pairs.fields.title=[name]",
        "+data.labels.mapping.Exact=exact",
        "hydra/launcher=joblib",
        "hydra.verbose=true",
        "~rl",
        "rl.delta=null",
    ],
)
def test_keys_below_free_mappings_and_those_of_hydra_pass(word: str) -> None:
    check([word])


def test_words_that_hydra_cannot_parse_are_refused() -> None:
    with pytest.raises(ConfigError):
        check(["rl.clip_high=[0.2"])


def test_known_keys_hold_the_fields_of_every_source() -> None:
    assert {"data.profile", "data.pairs.query", "cot.mistake_rate", "rl", "rl.learning_rate", "seed"} <= set(known_keys())


def test_touched_lists_what_a_command_sets_or_sweeps_without_hydras_own() -> None:
    command = ["rl.clip_high=0.2,0.28", "features=title", "hydra/launcher=joblib", "hydra.verbose=true"]
    assert touched(command) == ["rl.clip_high", "features"]


@pytest.mark.parametrize(
    "word", ["rl.max_steps=many", "seed=1.5", "rl.enabled=perhaps", "rl.clip_high=[0.2]", "features.fields=title", "seed=null"]
)
def test_a_value_of_the_wrong_type_is_refused_by_its_key(compose: Compose, word: str) -> None:
    key, _, _ = word.partition("=")
    with pytest.raises(ConfigCompositionException) as caught:
        compose(word)
    assert key in f"{caught.value} {caught.value.__cause__}"


def assign(config: Config, key: str, value: object) -> Config:
    """The config with one field set, whatever its type."""
    *parents, leaf = key.split(".")
    target: object = config
    for parent in parents:
        target = getattr(target, parent)
    assert hasattr(target, leaf)
    setattr(target, leaf, value)
    return config


INFINITE = float("inf")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rl.clip_low", -0.1, "rl.clip_low=-0.1 must be >= 0"),
        ("rl.clip_low", 1.5, "rl.clip_low=1.5 must be <= 1"),
        ("rl.clip_high", float("nan"), "rl.clip_high=nan is not a finite number"),
        ("rl.clip_high", INFINITE, "rl.clip_high=inf is not a finite number"),
        ("reward.invalid", -INFINITE, "reward.invalid=-inf is not a finite number"),
        ("eval.temperature", INFINITE, "eval.temperature=inf is not a finite number"),
        ("rl.num_generations", 1, "rl.num_generations=1 must be >= 2"),
        ("rl.max_steps", 0, "rl.max_steps=0 must be >= 1"),
        ("rl.temperature", 0.0, "rl.temperature=0.0 must be > 0"),
        ("rl.top_p", 1.5, "rl.top_p=1.5 must be <= 1"),
        ("rl.delta", 1.0, "rl.delta=1.0 must be > 1"),
        ("rl.loss_type", "ppo", "rl.loss_type='ppo' is not one of 'grpo', 'bnpo', 'dr_grpo', 'dapo', 'cispo', 'sapo'"),
        ("rl.scale_rewards", "std", "rl.scale_rewards='std' is not one of 'group', 'batch', 'none'"),
        ("sft.learning_rate", 0.0, "sft.learning_rate=0.0 must be > 0"),
        ("reward.invalid", 0.5, "reward.invalid=0.5 must be <= 0"),
        ("reward.name", "best", "reward.name='best' is not one of 'exact', 'graded', 'format', 'rule_aware'"),
        (
            "curriculum.name",
            "spiral",
            "curriculum.name='spiral' is not one of 'random', 'easy_to_hard', 'hard_to_easy', 'staged', 'pass_rate_window'",
        ),
        ("prompt.max_tokens", 8, "prompt.max_tokens=8 must be >= 16"),
        ("prompt.template", "long", "prompt.template='long' is not one of 'bare', 'task', 'full'"),
        ("format.name", "json", "format.name='json' is not one of 'label_only', 'answer_first', 'reason_first'"),
        ("data.size", -1, "data.size=-1 must be >= 0"),
        ("data.typo_rate", 0.9, "data.typo_rate=0.9 must be <= 0.5"),
        ("cot.mistake_rate", 2.0, "cot.mistake_rate=2.0 must be <= 1"),
        ("eval.resamples", 10, "eval.resamples=10 must be >= 100"),
        ("tracking.wandb", "on", "tracking.wandb='on' is not one of 'auto', 'online', 'offline', 'disabled'"),
        ("model.vocab_size", 100, "model.vocab_size=100 must be >= 300"),
        ("model.pretrain.block_size", 1, "model.pretrain.block_size=1 must be >= 16"),
        (
            "eval.subsets",
            ["general", "generl"],
            "eval.subsets='generl' is not one of 'general', 'hard', 'visual', 'rule', 'wild', 'unseen', 'validation'",
        ),
        ("seed", -1, "seed=-1 must be >= 0"),
        ("seed", 2**31, f"seed={2**31} must be <= {2**31 - 1}"),
        ("guard", "off", "guard='off' is not one of 'error', 'warn'"),
    ],
)
def test_a_value_out_of_range_is_refused_by_key_value_and_bound(compose: Compose, key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(assign(compose(), key, value))
    assert str(caught.value) == message


def test_all_values_out_of_range_are_named_at_once(compose: Compose) -> None:
    config = assign(assign(compose(), "rl.temperature", 0.0), "seed", -1)
    assert problems(config) == ["rl.temperature=0.0 must be > 0", "seed=-1 must be >= 0"]


#: the numbers the messages below quote, whatever the shipped defaults come to
PINNED = (
    "rl.num_generations=8 rl.per_device_train_batch_size=64 rl.gradient_accumulation_steps=1 rl.steps_per_generation=4 rl.num_iterations=2 "
    "rl.clip_low=0.2 rl.clip_high=0.2 model.hidden_size=128 model.num_attention_heads=4 model.num_key_value_heads=2 "
    "model.max_position_embeddings=1024 rl.max_completion_length=48 eval.size=200 eval.sampled_size=64"
)
FIRST_TOKEN = (
    "eval.decode=first_token reads the label before any reasoning, and a policy that reasons first is evaluated; take format=answer_first or "
    "label_only, another distill target than explanation_first, eval.stages=[] where only the teacher reasons first, or eval.decode=generate"
)
SERVER = "rollout.base_url, an http(s) address without a user, a key or a query"
TAUGHT = "cot=teacher teacher.model=m teacher.revision=1"
REWRITTEN = "instructions=evolved instructions.operators=[drop,rewrite] format=answer_first prompt=long"
UNSAFE = (
    "teacher.base_url must be an http(s) address without a user, a key or a query, and https where teacher.key_variable={} sends a key to another "
    "machine"
)
#: override words of a command, and the one message it must give
CONTRADICTIONS: list[tuple[str, str]] = [
    (
        "rl.top_p=0.9",
        "rl.top_p=0.9, rl.top_k=0: completions would come from a cut distribution and the loss take the whole one, so importance ratios are biased; "
        "leave rl.top_p=1 rl.top_k=0, or take a vLLM rollout with a rollout.correction",
    ),
    (
        "rl.top_k=100 rollout=vllm_colocate rollout.correction=none",
        "rl.top_p=1.0, rl.top_k=100: completions would come from a cut distribution and the loss take the whole one, so importance ratios are biased; "
        "leave rl.top_p=1 rl.top_k=0, or take a vLLM rollout with a rollout.correction",
    ),
    (
        "rollout=vllm_colocate eval.beams=4",
        "rollout=vllm_colocate searches no beams (eval.beams=4) and sees no images (features.image=False); take rollout=transformers",
    ),
    ("rollout=vllm_server", f"rollout=vllm_server needs {SERVER}"),
    ("rollout=vllm_server rollout.base_url=http://me:secret@127.0.0.1:8000", f"rollout=vllm_server needs {SERVER}"),
    (
        "cot=teacher teacher.model=m",
        "cot=teacher and instructions.operators=[rewrite] need to know whom to ask: teacher.base_url=None, teacher.model=m, teacher.revision=None",
    ),
    (
        f"{REWRITTEN} teacher.base_url=http://127.0.0.1:8000/v1",
        "cot=teacher and instructions.operators=[rewrite] need to know whom to ask: teacher.base_url=http://127.0.0.1:8000/v1, teacher.model=None, "
        "teacher.revision=None",
    ),
    (f"{REWRITTEN} teacher.model=m teacher.revision=1 teacher.base_url=ftp://example.com/v1", UNSAFE.format("None")),
    (f"{TAUGHT} teacher.base_url=https://sk-1:@example.com/v1", UNSAFE.format("None")),
    (f"{TAUGHT} teacher.base_url=ftp://example.com/v1", UNSAFE.format("None")),
    (f"{TAUGHT} teacher.base_url=http://example.com/v1 teacher.key_variable=KEY", UNSAFE.format("KEY")),
    (
        "rl.num_generations=7",
        "rl.num_generations=7 must divide the generation batch, rl.per_device_train_batch_size (64) x rl.steps_per_generation (4)",
    ),
    (
        "rl.gradient_accumulation_steps=3",
        "rl.gradient_accumulation_steps=3 must divide rl.steps_per_generation x rl.num_iterations (4 x 2), "
        "so that a generation batch ends with an optimizer step",
    ),
    ("rl.clip_low=0.3", "rl.clip_low=0.3 is above rl.clip_high=0.2; clip-higher raises rl.clip_high"),
    ("rl.delta=1.1", "rl.delta=1.1 must be above 1 + rl.clip_high (0.2), or it replaces the upper clip"),
    ("deploy=tiers deploy.top=7", "deploy.top=7 is above deploy.candidates=6: no request shows so many items"),
    ("deploy=tiers deploy.hot_from=3", "deploy.medium_from=4 is above deploy.hot_from=3: the ranker would answer no query"),
    ("rl=off sft=off eval.stages=[]", "sft and rl are both off: nothing would be trained; take sft=default or rl=grpo"),
    (
        "sft=off",
        "eval.stages=['sft'] names a stage that is off; leave it out (eval.stages=[]), or take sft=default, dpo=default, rl=grpo",
    ),
    (
        "eval.stages=[sft,dpo]",
        "eval.stages=['sft', 'dpo'] names a stage that is off; leave it out (eval.stages=[]), or take sft=default, dpo=default, rl=grpo",
    ),
    ("sft=off eval.stages=[] dpo=default", "dpo corrects the errors of a policy that answers, and sft is off; take sft=default"),
    (
        "selection=random selection.share=1",
        "selection without filters and with selection.share=1 keeps every pair; take selection=off, or a share below 1",
    ),
    ("selection=im selection.filters=[im,im]", "selection.filters=['im', 'im'] names a filter twice"),
    ("cot=multi cot.parts=[rules]", "cot.parts=['rules']: at least two recipes, each once; one alone is cot=expert, rules or reflection"),
    (
        "cot=multi cot.parts=[rules,rules]",
        "cot.parts=['rules', 'rules']: at least two recipes, each once; one alone is cot=expert, rules or reflection",
    ),
    ("eval.beams=1", "eval.beams=1 is the greedy answer again; take 0, or at least 2"),
    (
        "dpo=default dpo.max_completion_length=1000",
        "prompt.max_tokens=64 plus the longest completion exceeds model.max_position_embeddings=1024",
    ),
    ("prompt.max_tokens=1000", "prompt.max_tokens=1000 plus the longest completion exceeds model.max_position_embeddings=1024"),
    ("eval.sampled_size=300", "eval.sampled_size=300 is above eval.size=200"),
    ("cot=none", "format=reason_first needs reasoning in the targets, cot=none writes none; take format=label_only or another cot"),
    (
        "model.num_attention_heads=3",
        "model.num_attention_heads=3 must divide model.hidden_size=128 and be a multiple of model.num_key_value_heads=2",
    ),
    *(
        (
            f"model.path=someone/some-model {revision}",
            "model.path=someone/some-model is a hub id: pin model.revision to a commit (40 hex digits), so that the weights cannot move; "
            "`git ls-remote https://huggingface.co/someone/some-model HEAD` prints the present one",
        )
        for revision in ("", "model.revision=main", "model.revision=0123abc")
    ),
    ("model.dtype=bfloat16 peft=lora", "model.dtype=bfloat16: the embedded model is made in float32; bfloat16 weights are for model.path"),
    (
        "model.dtype=bfloat16 model.path=./weights",
        "model.dtype=bfloat16 with peft=none would train bfloat16 weights, which lose updates below 1/256 of a weight; take peft=lora, or "
        "model.dtype=float32 compute.precision=bf16",
    ),
    (
        "model.attention=flash_attention_2",
        "model.attention=flash_attention_2 needs model.dtype=bfloat16 and the package flash-attn, which needs a CUDA GPU; take sdpa",
    ),
    (
        "model=pretrained model.path=./weights distill=label",
        "distill makes a student of model.architecture, which model=pretrained leaves open; take one of the named models",
    ),
    ("peft.name=lora", "peft.targets is empty: no layer gets an adapter; take peft=lora"),
    (
        "peft=lora peft.targets=[q_prj]",
        "peft.targets=['q_prj']: the linear layers of qwen3 are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
    ),
    ("peft=lora peft.targets=[q_proj,q_proj]", "peft.targets=['q_proj', 'q_proj'] names a layer twice"),
    (
        "format=label_only cot=none reward=rule_aware",
        "format=label_only has no reasoning for reward.name=rule_aware or rl.stepwise to look at; take reward=exact or another format",
    ),
    (
        "sft=off eval.stages=[] cot=none rl/entropy=sft_aux",
        "rl.sft_auxiliary needs targets with reasoning under format=reason_first, cot=none writes none",
    ),
    (
        "prompt.max_tokens=950 rl.guided_replay.enabled=true",
        "rl.guided_replay adds up to 64 tokens of hint to prompt.max_tokens=950: too long for model.max_position_embeddings",
    ),
    ("rl/entropy=dapo reward.overlong.buffer=500", "reward.overlong.buffer=500 is above rl.max_completion_length=48"),
    ("curriculum.window=[0.9,0.1]", "curriculum.window=[0.9, 0.1] must be two rates, the lower one first"),
    ("rl.clip_cov.low=9", "rl.clip_cov.low=9.0 must be below rl.clip_cov.high=5.0"),
    ("rl.sft_auxiliary.bounds=[2,1]", "rl.sft_auxiliary.bounds=[2.0, 1.0] must be two factors, the lower one first"),
    (
        "data=table data.path=pairs.csv cot=rules",
        "data=table has no gold facts, so cot=rules cannot write reasoning for it; take cot=teacher, or cot=none format=label_only",
    ),
    (
        "data=table data.path=pairs.csv cot=none format=label_only rl.guided_replay.enabled=true",
        "data=table has no gold facts for reward.name=exact, rl.stepwise.enabled=False or rl.guided_replay.enabled=True to judge or hint with; "
        "take reward=exact and switch both sections off",
    ),
    (
        "features=image",
        "features.image=true needs a model that sees, model.name=embedded does not; take model=embedded_vlm, or features=caption",
    ),
    (
        "features=image model=embedded_vlm rl=off data=table data.path=pairs.csv cot=none format=label_only",
        "features.image=true needs a source that has images, data=table has none; take data=world, or another features",
    ),
    (
        "features=image model=embedded_vlm",
        "model.vision: only SFT and evaluation show images; take rl=off, and leave selection, dpo, distill, instructions and deploy off",
    ),
    (
        "features=image model=embedded_vlm rl=off deploy.enabled=true",
        "model.vision: only SFT and evaluation show images; take rl=off, and leave selection, dpo, distill, instructions and deploy off",
    ),
    (
        "features=image model=embedded_vlm rl=off model.path=./weights",
        "model.vision builds on the embedded model, model.path=./weights names another; take model.path=null",
    ),
    ("model.vision.patch_size=7", "model.vision.patch_size=7 must divide model.vision.image_size=64"),
    ("model.vision.hidden_size=30", "model.vision.num_attention_heads=4 must divide model.vision.hidden_size=30"),
    (
        "features=image model=embedded_vlm rl=off prompt.max_tokens=16",
        "an image is (model.vision.image_size / model.vision.patch_size)^2 tokens, (64 / 16)^2 leaves nothing of prompt.max_tokens=16 for words",
    ),
    ("eval.subsets=[]", "eval.subsets is empty: a point without an evaluation says nothing"),
    ("eval.baselines=[bm25,bm25]", "eval.baselines=['bm25', 'bm25'] names a baseline twice"),
    ("eval.subsets=[hard,hard]", "eval.subsets=['hard', 'hard'] names a subset twice"),
    ("eval.stages=[sft,sft]", "eval.stages=['sft', 'sft'] names a stage twice"),
    ("eval.decode=first_token", FIRST_TOKEN),
    ("eval.decode=first_token format=answer_first distill=explanation_first", FIRST_TOKEN),
    ("eval.decode=first_token distill=label", FIRST_TOKEN),
    (
        "eval.subsets=[validation] eval.calibrate=100",
        "eval.subsets holds validation, and eval.calibrate or instructions=evolved chooses by these pairs; take another test split",
    ),
    (
        "instructions=evolved format=answer_first prompt=long instructions.check_pairs=400",
        "eval.calibrate=0 or instructions.pairs + instructions.check_pairs (200 + 400) is above data.validation_size; raise it",
    ),
    (
        "instructions=evolved format=answer_first",
        "instructions=evolved changes the lines before the query, prompt.template=bare has none; take prompt=long or prompt=medium",
    ),
    (
        "instructions=evolved format=answer_first prompt=medium sft=off eval.stages=[]",
        "instructions=evolved asks the policy of stage sft, and sft is off; take sft=default or instructions=written",
    ),
    (
        "instructions=evolved prompt=medium",
        "instructions.metric=log_likelihood reads the label's place, which format=reason_first has only after reasoning; take format=answer_first, "
        "or instructions.metric=macro_f1",
    ),
    (
        "instructions=evolved format=answer_first prompt=long deploy=tiers",
        "deploy asks with the instructions as written, instructions=evolved changes them; take deploy=off or instructions=written",
    ),
    (
        "instructions=evolved format=answer_first prompt=medium instructions.operators=[]",
        "instructions.operators is empty: no candidate could be made",
    ),
    (
        "distill=shuffled format=label_only cot=none",
        "distill.target=shuffled shows the student an explanation, a teacher of format=label_only gives none; take format=answer_first, or "
        "distill=label or probabilities",
    ),
    (
        "distill=explanation_first format=answer_first instructions=evolved prompt=long",
        "instructions=evolved says when to answer as format=answer_first does, and a student of distill.target=explanation_first answers in another "
        "order; take another target or format, or instructions=written",
    ),
    (
        "distill=default distill.student.num_attention_heads=3",
        "distill.student.num_attention_heads=3 must divide distill.student.hidden_size=64 and be a multiple of "
        "distill.student.num_key_value_heads=1",
    ),
    (
        "compute.distributed=fsdp2 compute.processes=2",
        "compute.distributed=fsdp2 keeps shards of the model, rl samples from a whole one; take compute.distributed=ddp or rl=off",
    ),
    (
        "compute.distributed=deepspeed rl=off eval.stages=[]",
        "compute.distributed=deepspeed has nothing to share over one process; raise compute.processes or take compute.distributed=ddp",
    ),
    (
        "compute.processes=2 reward=guided rl.scale_rewards=batch",
        "rl.guided_replay under rl.scale_rewards=batch would scale by what other processes replay; take compute.processes=1 or rl.scale_rewards=group",
    ),
    (
        "compute.compile=true compute.processes=2",
        "compute.compile=true is made for one process that keeps its activations; take compute.compile=false under "
        "compute.processes=2, compute.gradient_checkpointing=False",
    ),
    ("eval.stages=[base]", "eval.stages='base' is not one of 'sft', 'dpo', 'rl'"),
]


@pytest.mark.parametrize(("command", "message"), CONTRADICTIONS)
def test_fields_that_contradict_one_another_are_refused(compose: Compose, command: str, message: str) -> None:
    assert problems(compose(*f"{PINNED} {command}".split())) == [message]


def test_every_cross_field_rule_has_a_contradiction_above(compose: Compose) -> None:
    configs = [compose(*f"{PINNED} {command}".split()) for command, _ in CONTRADICTIONS]
    assert [message for wrong, message in _CROSS_FIELD if not any(wrong(config) for config in configs)] == []


@pytest.mark.parametrize(
    "command",
    [
        "rl.clip_low=0.2 rl.clip_high=0.2",
        "rl.delta=1.3",
        "rl.gradient_accumulation_steps=2",
        "rl.gradient_accumulation_steps=16",
        "model.path=./weights",
        f"model.path=someone/some-model model.revision={'0a' * 20}",
        "eval.sampled_size=200",
        "sft=off eval.stages=[]",
        "format=label_only cot=none",
        "eval.decode=first_token format=answer_first",
        "eval.decode=first_token distill=label eval.stages=[]",
        "eval.calibrate=500",
        "eval.stages=[rl]",
        "instructions=evolved prompt=medium instructions.metric=macro_f1",
        "distill=explanation_first format=answer_first",
        "distill=explanation",
        "distill=label format=label_only cot=none",
        "features=image model=embedded_vlm rl=off",
        "eval.stages=[sft,rl]",
        "eval.beams=2",
        "dpo.max_completion_length=1000",
        "selection=im selection.share=1",
    ],
)
def test_the_edge_of_a_rule_is_allowed(compose: Compose, command: str) -> None:
    assert problems(compose(*f"{PINNED} {command}".split())) == []


def test_compiling_without_a_compiler_is_refused(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", sys.executable)
    validate(compose("compute.compile=true"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, and none is found; install g\+\+"):
        validate(compose("compute.compile=true"))
    validate(compose("compute=bf16"))
