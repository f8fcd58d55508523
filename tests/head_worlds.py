"""Tiny models that write what a script says, and profiles of their heads, for the tests of retrieval heads."""

from __future__ import annotations

import torch
from state_worlds import tiny, tokenizer

from pinyon.models.backbone import Backbone
from pinyon.state.head_profile import HeadProfile, HeadTrial
from pinyon.state.needle_prompts import NeedleFact, needle_prompt

ANSWER = "aaaaaaaaaaaaaaaa"  # one letter, so that a head that looks anywhere in it looks at the token that is written
FACT = NeedleFact(f"It is {ANSWER}.", "What is it?", ANSWER)
FILLER = ["Nothing is said here.", "It rains on the hills and on the sea."]


class Scripted(Backbone):
    """Writes what a script says, whatever its network thinks, unless a head is silent that it needs."""

    script: tuple[int, ...] = ()
    needs: frozenset[tuple[int, int]] = frozenset()
    calls = 0

    def forward(self, ids, cache=None, **rest):
        read = 0 if cache is None else cache.read
        found = super().forward(ids, cache, **rest)
        type(self).calls += 1
        if found is None or not self.script or rest.get("logits") == "all":
            return found
        masked = self.needs & set(rest.get("mask_heads", ()))
        step = read + torch.as_tensor(ids).shape[-1] - self.begun
        following = self.script[step] if 0 <= step < len(self.script) and not masked else self.network.vocab_size - 1
        return torch.nn.functional.one_hot(torch.tensor(following), found.shape[-1]).float().expand(found.shape)


def scripted(answer: str = ANSWER, *, prompt_length: int = 260, seed: int = 0, needs=()) -> Scripted:
    plain = tiny(seed=seed, words=tokenizer())
    found = Scripted(plain.network, plain.tokenizer, "scripted")
    found.script = (*found.encode(answer), *found.encode("\n"))
    found.begun = prompt_length
    found.needs = frozenset(needs)
    return found


def prompt_of(backbone, *, length: int = 260, seed: int = 3):
    return needle_prompt(backbone, FACT, length=length, depth=0.4, seed=seed, sentences=lambda: FILLER)


def profile_of(backbone, hits=((1, 0, 1.0), (2, 3, 0.5)), **changed) -> HeadProfile:
    trial = HeadTrial("A fact.", 100, 0.5, 0, "A fact.", 1.0, tuple(hits))
    given = {"trials": (trial,), "binding": backbone.binding(), **changed}
    return HeadProfile(backbone.n_layers, backbone.n_heads, backbone.n_kv_heads, **given)
