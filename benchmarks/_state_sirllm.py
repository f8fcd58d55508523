"""Grocery rounds: does a bounded cache still hold one word said twenty turns ago, and can the model use it?

Source: the task of Yao, Li and Zhao 2024, arXiv 2405.12528, rebuilt with words of our own. Every figure comes from a
streaming run: turns are read one after the other into a cache that evicts before each. What random eviction and
StreamingLLM keep does not depend on the model, so their retention is run with a tiny random one, on the same tokens.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

import torch
from _state_words import FILLERS, GROCERIES
from torch import Tensor

from pinyon.models.backbone import Backbone
from pinyon.models.base import Message
from pinyon.state import CacheView, RandomKeep, Session, SinkWindow, Surprisal

__all__ = ["Round", "limits_of", "parts", "rounds_of", "run"]

Progress = Callable[[str], None]
ENTRIES = 256


@dataclass(frozen=True, slots=True)
class Round:
    """One conversation.

    Args:
        turns: Token ids of each turn before the question, answers included.
        key: Places of the grocery word's tokens in all of them.
        question: Token ids of the question up to where the word is named.
        options: Token ids of each word that could be named.
        right: Which of them is right.
    """

    turns: tuple[tuple[int, ...], ...]
    key: tuple[int, ...]
    question: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    right: int

    @property
    def size(self) -> int:
        """Tokens before the question."""
        return sum(len(turn) for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Shuffled(Surprisal):
    """The surprisals of the paper dealt to the wrong tokens: each origin keeps the lot of another."""

    def worth(self, view: CacheView) -> Tensor:
        """Return the worth of a token drawn at random from those in the cache."""
        order = torch.randperm(view.origins.shape[1], generator=torch.Generator().manual_seed(view.read))
        return Surprisal.worth(self, view)[:, order]


@dataclass(frozen=True, slots=True)
class Noting(SinkWindow):
    """The window of StreamingLLM, with the surprise of each token noted for the loss."""

    @property
    def surprise(self) -> str:
        """As the paper scores it."""
        return "paper"


def rounds_of(backbone: Backbone, count: int, *, seed: int = 0) -> list[Round]:
    """Return conversations of 22 turns, the question included."""
    return [_round(backbone, Random(f"{seed} grocery {number}")) for number in range(count)]


def run(
    backbone: Backbone,
    rounds: int = 40,
    *,
    few_rounds: int = 12,
    long_tokens: int = 9000,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Measure retention, recall and the ablations.

    Args:
        backbone: A small chat model.
        rounds: For surprisal with no decay, StreamingLLM, and the full and the empty cache.
        few_rounds: For the other policies, at most `rounds`.
        long_tokens: Length of the text beyond the trained positions; 0 leaves that ablation out.
        seed: Of the conversations.
        progress: Called with a line after each part.
    """
    talks = rounds_of(backbone, rounds, seed=seed)
    rows: list[dict[str, Any]] = []
    for name, part in parts(few_rounds, long_tokens).items():
        rows += part(backbone, talks)
        progress(f"{name}: {rows[-1]}")
    return {"rows": rows, "limits": limits_of(rows), "seed": seed}


def parts(few_rounds: int, long_tokens: int) -> dict[str, Callable[[Backbone, list[Round]], list[dict[str, Any]]]]:
    """Return the parts of the measure by name; each gives rows."""

    def streamed(name: str, policy: Any, few: bool = False) -> Callable[[Backbone, list[Round]], list[dict[str, Any]]]:
        def work(backbone: Backbone, talks: list[Round]) -> list[dict[str, Any]]:
            some = talks[:few_rounds] if few else talks
            found = [_streamed(backbone, policy, talk, ENTRIES) for talk in some]
            return [{**_row(name, found), "share_few": statistics.mean(one["share"] for one in found[:few_rounds])}]

        return work

    def bound(name: str, entries: int | None) -> Callable[[Backbone, list[Round]], list[dict[str, Any]]]:
        return lambda backbone, talks: [_row(name, [_bound(backbone, talk, entries) for talk in talks])]

    return {
        "surprisal": streamed("surprisal, decay 1", Surprisal()),
        "streaming": streamed("StreamingLLM", SinkWindow()),
        "random": streamed("random, seed 0", RandomKeep(), few=True),
        "0.9": streamed("surprisal, decay 0.9", Surprisal(decay=0.9), few=True),
        "0.7": streamed("surprisal, decay 0.7", Surprisal(decay=0.7), few=True),
        "released": streamed("released score, decay 1", Surprisal(scoring="official"), few=True),
        "shuffled": streamed("shuffled surprisals", Shuffled(), few=True),
        "retention": _without_model,
        "full": bound("full cache", 4096),
        "empty": bound("empty cache", None),
        "losses": lambda backbone, talks: _losses(backbone, talks, long_tokens),
    }


def _round(backbone: Backbone, draw: Random) -> Round:
    words = draw.sample(GROCERIES, 4)
    while len({backbone.encode(f" {word}")[0] for word in words}) < 4:  # told apart by their first tokens
        words = draw.sample(GROCERIES, 4)
    right = draw.randrange(4)
    tokenizer: Any = backbone.tokenizer
    talk = [
        Message("user", f"Please go to the shop later and buy one thing for me: {words[right]}."),
        Message("assistant", "OK."),
    ]
    said = [backbone.render(talk, opening=False)]
    for text, answer in draw.sample(FILLERS, len(FILLERS)):
        talk += [Message("user", text), Message("assistant", answer)]
        said.append(backbone.render(talk, opening=False))
    talk.append(Message("user", "Please go to the shop later and buy one thing for me. Which thing was it?"))
    question = backbone.render(talk, opening=True).removeprefix(said[-1]) + "Go to the shop and buy"
    parts = [said[0], *(after.removeprefix(before) for before, after in pairwise(said))]
    first = tokenizer(parts[0], add_special_tokens=False, return_offsets_mapping=True)
    at = parts[0].index(words[right])
    spans = first["offset_mapping"]
    key = tuple(i for i, (start, end) in enumerate(spans) if start < at + len(words[right]) and end > at)
    return Round(
        tuple(tuple(backbone.encode(part)) for part in parts),
        key,
        tuple(backbone.encode(question)),
        tuple(tuple(backbone.encode(f" {word}")) for word in words),
        right,
    )


def _streamed(backbone: Backbone, policy: Any, talk: Round, entries: int) -> dict[str, float]:
    session = backbone.session(policy, budget_bytes=entries * backbone.bytes_per_token)
    for turn in talk.turns:
        session.read(turn)
        if session.nbytes > session.budget_bytes:
            raise AssertionError("the budget was exceeded")
    session.read(talk.question)  # the cut that makes room for it comes first
    held = set(session.cache.layers[0].uniform().origins[0].tolist())
    share = statistics.mean(place in held for place in talk.key)
    return {"share": share, "any": float(share > 0), "right": float(_named(session, talk) == talk.right)}


def _named(session: Session, talk: Round) -> int:
    """Return the option whose first token the model finds likeliest, as the released evaluation does."""
    assert session.logits is not None
    worth = [float(session.logits[option[0]]) for option in talk.options]
    return max(range(len(worth)), key=worth.__getitem__)


def _bound(backbone: Backbone, talk: Round, entries: int | None) -> dict[str, float]:
    """Ask with everything, or with nothing, in the cache."""
    session = backbone.session(SinkWindow(), budget_bytes=(entries or ENTRIES) * backbone.bytes_per_token)
    if entries is not None:
        session.read([token for turn in talk.turns for token in turn])
    session.read(talk.question)
    share = 0.0 if entries is None else 1.0
    return {"share": share, "any": share, "right": float(_named(session, talk) == talk.right)}


def _without_model(backbone: Backbone, talks: Sequence[Round]) -> list[dict[str, Any]]:
    """Retention of policies that do not look at the model, with a tiny random one."""
    tiny = _tiny(backbone.vocabulary)
    rows = []
    seeds = [[1000 * seed + number for number in range(len(talks))] for seed in range(5)]  # each talk has its own lots
    for name, drawn in {
        "StreamingLLM, retention": [[SinkWindow()] * len(talks)],
        "random, 5 seeds": [[RandomKeep(seed) for seed in row] for row in seeds],
        "random with lasting lots, 5 seeds": [[RandomKeep(seed, lasting=True) for seed in row] for row in seeds],
    }.items():
        pairs = [pair for policies in drawn for pair in zip(policies, talks, strict=True)]
        row = _row(name, [_streamed(tiny, policy, talk, ENTRIES) for policy, talk in pairs])
        rows.append({key: value for key, value in row.items() if key != "right"})  # it has learnt nothing
    return rows


def _tiny(vocabulary: int) -> Backbone:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    return Backbone(LlamaForCausalLM(config), None, "tiny")


def _losses(backbone: Backbone, talks: Sequence[Round], long_tokens: int) -> list[dict[str, Any]]:
    """Loss on running text: with sinks and without; with positions by cache and original beyond the trained ones."""
    text = [token for talk in talks for turn in talk.turns for token in turn]
    short = text[:2000]
    rows = [
        {"policy": "4 sinks", "loss": _loss(backbone, Noting(4), short, last=1000)},
        {"policy": "no sinks", "loss": _loss(backbone, Noting(0), short, last=1000)},
    ]
    if long_tokens:
        while len(text) < long_tokens:
            text += text
        rows.append({"policy": "positions by cache", "loss": _loss(backbone, Noting(4), text[:long_tokens], last=500)})
        limit, backbone.limit = backbone.limit, None  # a backbone refuses such positions; here it must not
        try:
            loss = _loss(backbone, replace(Noting(4), positions="original"), text[:long_tokens], last=500)
        finally:
            backbone.limit = limit
        rows.append({"policy": "original positions", "loss": loss})
    return rows


def _loss(backbone: Backbone, policy: Any, ids: Sequence[int], *, last: int) -> float:
    """Return the mean surprise of the last tokens of a text read in pieces of 64, in nats."""
    session = backbone.session(policy, budget_bytes=ENTRIES * backbone.bytes_per_token, chunk=64)
    noted: list[float] = []
    for start in range(0, len(ids), 64):
        size = session.read(ids[start : start + 64])
        places = torch.arange(session.cache.read - size, session.cache.read)
        noted += session.cache.tokens.lookup(places).surprisal.tolist()
    return statistics.mean(noted[-last:])


def _row(name: str, found: Sequence[dict[str, float]]) -> dict[str, Any]:
    mean = {key: statistics.mean(one[key] for one in found) for key in found[0]}
    return {"policy": name, "entries": ENTRIES, "rounds": len(found), **mean}


def limits_of(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each limit of the specification with what was measured."""
    rows = {row["policy"]: row for row in found}
    ours, streaming, random = rows["surprisal, decay 1"], rows["StreamingLLM"], rows["random, 5 seeds"]
    limits = [
        _limit(
            "share of key tokens kept / random", ">= 3", ours["share"] / max(random["share"], 1e-9), lambda m: m >= 3
        ),
        _limit("rounds in which StreamingLLM keeps one", "0", rows["StreamingLLM, retention"]["any"], lambda m: m == 0),
        _limit(
            "share kept with decay 1, 0.9, 0.7 falls",
            "not rising",
            [rows[f"surprisal, decay {decay}"]["share_few"] for decay in ("1", "0.9", "0.7")],  # on the same rounds
            lambda m: m[0] >= m[1] >= m[2] and m[0] > m[2],
        ),
        _limit(
            "shuffled surprisals keep less",
            "below",
            rows["shuffled surprisals"]["share"] - ours["share_few"],
            lambda m: m < 0,
        ),
        _limit(
            "recall over StreamingLLM, points", ">= 10", 100 * (ours["right"] - streaming["right"]), lambda m: m >= 10
        ),
        _limit("loss without sinks / with", "> 1", rows["no sinks"]["loss"] / rows["4 sinks"]["loss"], lambda m: m > 1),
    ]
    if "original positions" in rows:
        ratio = rows["original positions"]["loss"] / rows["positions by cache"]["loss"]
        limits.append(_limit("loss beyond 8,192 tokens, original positions / by cache", "> 1", ratio, lambda m: m > 1))
    return limits


def _limit(what: str, limit: str, measured: Any, holds: Callable[[Any], bool]) -> dict[str, Any]:
    return {"what": what, "limit": limit, "measured": measured, "holds": bool(holds(measured))}
