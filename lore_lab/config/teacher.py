"""Settings of the teacher that writes the reasoning of training targets for data without gold facts: any OpenAI-compatible endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lore_lab.config.fields import setting

if TYPE_CHECKING:
    from lore_lab.config.schema import Config

RECIPES = ("progressive", "multi", "expert", "rules", "reflection", "naive")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass
class TeacherConfig:
    """Who is asked, and how (group `teacher`; acts under cot=teacher, and where instructions.operators names rewrite). The model's replies are kept by content and never paid for twice."""

    recipe: str = setting(
        "which calls write a target's reasoning", choices=RECIPES, source="LORE 4.1 and LREF 3.2, in outline; prompts ours"
    )
    base_url: str | None = setting("the endpoint up to and including /v1; no part of a key: the same model elsewhere is the same teacher")
    model: str | None = setting("the model's name at the endpoint")
    revision: str | None = setting("which version of the model answers there, in your own words: an endpoint may change it under one name")
    key_variable: str | None = setting(
        "environment variable that holds the API key; null sends none. Sent over https or to this machine only"
    )
    temperature: float = setting("sampling temperature; 0 is greedy", ge=0, le=2, source="assumed")
    top_p: float = setting("nucleus; 1 is off", gt=0, le=1)
    max_tokens: int = setting("tokens of one reply", ge=16)
    seed: int = setting("sent along; the n-th try of a call sends seed + n", ge=0)
    structured: bool = setting("send the reply's JSON schema (response_format), where the endpoint takes it")
    tries: int = setting("replies asked for until one is usable; the pair is quarantined after that", ge=1, source="assumed")
    field_words: int = setting("words of an item field shown to the teacher, at most", ge=1, source="assumed")
    line_words: int = setting("words of a line of reasoning; a longer one is not usable", ge=1, source="assumed")
    rules: list[str] = setting("your rule book, a sentence each; empty: the source's own")
    max_quarantined: float = setting("share of pairs without usable reasoning above which the stage fails", ge=0, le=1, source="assumed")
    concurrency: int = setting("calls under way at once", ge=1)
    requests_per_minute: float = setting("calls started a minute, evenly spaced", gt=0)
    timeout: float = setting("seconds without an answer until a call is sent again", gt=0)
    attempts: int = setting("times a call is sent before the endpoint counts as failing", ge=1)
    backoff: float = setting("seconds before the second attempt; doubles with each", ge=0)
    price_in: float = setting("price of a million prompt tokens, in your currency", ge=0)
    price_out: float = setting("price of a million reply tokens, in your currency", ge=0)


def taught(config: Config) -> bool:
    """Whether a stage of this point reads a teacher's reasoning."""
    supervised = config.sft.enabled or (config.rl.enabled and config.rl.sft_auxiliary.enabled)
    return config.cot.name == "teacher" and config.format.name != "label_only" and supervised


REWRITE = "rewrite"  #: the mutation of instructions that asks a language model


def rewrites(config: Config) -> bool:
    """Whether stage `evolve` of this point asks a language model for lines."""
    return config.instructions.name == "evolved" and REWRITE in config.instructions.operators


def asked(config: Config) -> bool:
    """Whether a stage of this point asks a language model at all."""
    return taught(config) or rewrites(config)


#: what only the reasoning of training targets has a use for
REASONING = ("recipe", "tries", "field_words", "line_words", "rules", "max_quarantined")
#: what decides the reply to a question
REPLY = ("model", "revision", "temperature", "top_p", "max_tokens", "seed", "structured")
#: what says where and how fast, and cannot change a reply: readable by the stage, no part of its key
UNKEYED = (
    "base_url", "key_variable", "concurrency", "requests_per_minute", "timeout", "attempts", "backoff", "price_in", "price_out",
)  # fmt: skip


def safe_address(address: str, key: bool) -> bool:
    """Whether `address` is an http(s) address with no secret in it that a key, where there is one, does not cross a network to in the clear."""
    try:
        url = urlsplit(address)
        plain = url.hostname and url.port != 0 and not (url.username or url.password or url.query or url.fragment)
    except ValueError:
        return False
    return bool(plain) and (url.scheme == "https" or (url.scheme == "http" and (not key or url.hostname in LOOPBACK)))
