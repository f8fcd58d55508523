"""Answer needles with the presses of kvpress; run by the interpreter of an environment of its own.

Reads the cases that `benchmarks/_state_rivals.py` wrote and appends one JSON line a case to a file; cases that are
there already are not answered again. The context is read once: every press gets what the library's own hook would give
it, and each answer starts from the cache that its press left. With --seconds each press runs alone instead, as its
documentation says, and is timed.

    python benchmarks/rivals.py kvpress          # makes the environment, prints its interpreter
    <that interpreter> benchmarks/kvpress_needles.py --cases cases.json --model folder --out answers.jsonl
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FREED = ("streaming-llm", "random", "knorm", "snap-kv", "tova", "observed-attention", "expected-attention", "key-diff",
         "lag-kv", "cur", "compactor", "pyramid-kv", "chunk-kv", "critical-kv", "kv-compose")  # fmt: skip
MASKED = ("ada-kv snap-kv", "ada-kv expected-attention", "critical-ada-kv", "kvzip", "kvzip+", "kvgrad")
"""Presses that hide entries instead of freeing them: their cache keeps its full size."""


def press_of(name: str, ratio: float, kvpress: Any) -> Any:
    """Return a press with the settings its author gave it."""
    expected = kvpress.ExpectedAttentionPress
    made: dict[str, Callable[[], Any]] = {
        "streaming-llm": lambda: kvpress.StreamingLLMPress(ratio),
        "random": lambda: kvpress.RandomPress(ratio, seed=0),
        "knorm": lambda: kvpress.KnormPress(ratio),
        "snap-kv": lambda: kvpress.SnapKVPress(ratio),
        "tova": lambda: kvpress.TOVAPress(ratio),
        "observed-attention": lambda: kvpress.ObservedAttentionPress(ratio),
        "expected-attention": lambda: expected(ratio),
        "key-diff": lambda: kvpress.KeyDiffPress(ratio),
        "lag-kv": lambda: kvpress.LagKVPress(ratio),
        "cur": lambda: kvpress.CURPress(ratio),
        "compactor": lambda: kvpress.CompactorPress(ratio),
        "pyramid-kv": lambda: kvpress.PyramidKVPress(ratio),
        "chunk-kv": lambda: kvpress.ChunkKVPress(expected(ratio)),
        "critical-kv": lambda: kvpress.CriticalKVPress(expected(ratio)),
        "kv-compose": lambda: kvpress.KVComposePress(compression_ratio=ratio),
        "ada-kv snap-kv": lambda: kvpress.AdaKVPress(kvpress.SnapKVPress(ratio)),
        "ada-kv expected-attention": lambda: kvpress.AdaKVPress(expected(ratio, epsilon=1e-2)),  # as its README advises
        "critical-ada-kv": lambda: kvpress.CriticalAdaKVPress(expected(ratio)),
        "kvzip": lambda: kvpress.KVzipPress(ratio),
        "kvzip+": lambda: kvpress.KVzipPress(ratio, kvzip_plus_normalization=True),
        "kvgrad": lambda: kvpress.KVgradPress(compression_ratio=ratio),
    }
    return made[name]()


REPLAYING = ("kvzip", "kvzip+", "kvgrad", "kv-compose")
WANTS_ATTENTION = ("observed-attention",)


class Harness:
    """A model, its tokenizer and the library."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        import kvpress
        from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

        self.kvpress, self.new_cache = kvpress, DynamicCache
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        ends = self.model.generation_config.eos_token_id
        self.ends = set(ends if isinstance(ends, list) else [ends])
        self.modules = [layer.self_attn for layer in self.model.model.layers]
        # KVzip counts the words of the chat template at the start of a context and leaves them out of its scores. These
        # contexts have none, so it is shown a tokenizer without a template.
        plain = scratch / "plain"
        plain.mkdir()
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(folder / name, plain / name)
        settings = json.loads((plain / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings.pop("chat_template", None)
        (plain / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        self.model.config.name_or_path = str(plain)

    @contextmanager
    def attention(self, kind: str) -> Iterator[None]:
        """Let the model use one implementation of attention."""
        before = self.model.config._attn_implementation
        self.model.config._attn_implementation = kind
        try:
            yield
        finally:
            self.model.config._attn_implementation = before

    def unmask(self) -> None:
        """Forget what presses hid."""
        for module in self.modules:
            module.masked_key_indices = None

    def masks(self) -> list[Any]:
        """Return what a press hid in each layer."""
        return [getattr(module, "masked_key_indices", None) for module in self.modules]

    def read(self, ids: list[int]) -> Any:
        """Return the cache of a context."""
        cache = self.new_cache()
        self.model.model(input_ids=torch.tensor([ids]), past_key_values=cache)
        return cache


Cut = dict[str, Any]
"""The cache that a press left: keys and values of each layer, and what it hid in each."""


def collect(
    harness: Harness, context: list[int], names: list[str], ratios: list[float]
) -> dict[tuple[str, float], Cut]:
    """Read a context once and return what every press makes of its cache, by name and share removed."""
    presses = {(n, r): press_of(n, r, harness.kvpress) for n in names if n not in REPLAYING for r in ratios}
    for press in presses.values():
        press.post_init_from_model(harness.model)
    found: dict[tuple[str, float], Cut] = {key: {"layers": [], "masks": []} for key in presses}
    failed: dict[tuple[str, float], str] = {}

    def hook(module: Any, _: Any, kwargs: dict[str, Any], output: Any) -> None:
        layer = kwargs["past_key_values"].layers[module.layer_idx]
        for key, press in presses.items():
            if key in failed:
                continue
            rows = output[1] if key[0] in WANTS_ATTENTION else None
            module.masked_key_indices = None
            try:
                with harness.attention("eager" if key[0] in WANTS_ATTENTION else "sdpa"):
                    pair = press.compress(module, kwargs["hidden_states"], layer.keys, layer.values, rows, kwargs)
            except Exception as error:  # a press that fails is a result, and the others go on
                failed[key] = f"{type(error).__name__}: {error}"
                continue
            found[key]["layers"].append(pair)
            found[key]["masks"].append(module.masked_key_indices)
        module.masked_key_indices = None

    rotary = harness.model.model.rotary_emb
    for module in harness.modules:
        module.rotary_emb = rotary
    hooks = [module.register_forward_hook(hook, with_kwargs=True) for module in harness.modules]
    try:
        with harness.attention("eager" if any(name in WANTS_ATTENTION for name in names) else "sdpa"):
            cache = harness.read(context)
    finally:
        for each in hooks:
            each.remove()
    for key, why in failed.items():
        found[key] = {"failed": why}
    full = [(layer.keys, layer.values) for layer in cache.layers]
    found["full", 0.0] = {"layers": full, "masks": [None] * len(full)}
    for name in names:
        if name in REPLAYING:
            found.update(_replayed(harness, context, cache, name, ratios))
    return found


def _replayed(
    harness: Harness, context: list[int], cache: Any, name: str, ratios: list[float]
) -> dict[tuple[str, float], Cut]:
    """Return what a press that reads the context twice makes of its cache: its scores serve all ratios."""
    if name == "kv-compose":
        return _composed(harness, context, ratios)
    press = press_of(name, ratios[0], harness.kvpress)
    inner, found = press.compress_post, {}
    masks: dict[float, list[Any]] = {}

    def for_every_ratio(model: Any) -> None:
        for ratio in ratios:
            harness.unmask()
            press.compression_ratio = ratio
            inner(model)
            masks[ratio] = harness.masks()
        press.compression_ratio = ratios[0]

    press.compress_post = for_every_ratio
    try:
        with press(harness.model):  # its wrapper notes these two at the first reading, and the rest follows after it
            press._context_ids, press._cache = torch.tensor([context]), cache
    except Exception as error:  # a press that fails is a result, and the others go on
        return {(name, ratio): {"failed": f"{type(error).__name__}: {error}"} for ratio in ratios}
    layers = [(layer.keys.detach(), layer.values.detach()) for layer in cache.layers]
    for ratio in ratios:
        found[name, ratio] = {"layers": layers, "masks": masks[ratio]}
    harness.unmask()
    return found


def _composed(harness: Harness, context: list[int], ratios: list[float]) -> dict[tuple[str, float], Cut]:
    """Return what KVCompose, which frees entries layer by layer, makes of a context."""
    press, found = press_of("kv-compose", ratios[0], harness.kvpress), {}

    def for_every_ratio(_: Any) -> None:
        whole, size = press.cache, len(context)
        for ratio in ratios:
            press.compression_ratio, press.cache = ratio, harness.new_cache()
            for layer, full in enumerate(whole.layers):
                press.cache.update(full.keys[:, :, :size], full.values[:, :, :size], layer)
            press.prepare_important_masks()
            press.compress_structured()
            layers = [(layer.keys, layer.values) for layer in press.cache.layers]
            found["kv-compose", ratio] = {"layers": layers, "masks": [None] * len(layers)}

    press.compress_cache = for_every_ratio
    try:
        with press(harness.model):
            harness.model.model(input_ids=torch.tensor([context]), past_key_values=harness.new_cache())
    except Exception as error:  # a press that fails is a result, and the others go on
        return {("kv-compose", ratio): {"failed": f"{type(error).__name__}: {error}"} for ratio in ratios}
    return found


def answers(harness: Harness, case: dict[str, Any], cuts: dict[Any, Cut], limit: int) -> dict[Any, dict[str, Any]]:
    """Return what the model writes from each cut cache; caches of the same lengths are continued together."""
    alike: dict[tuple[int, ...], list[Any]] = {}
    for key, cut in cuts.items():
        if "failed" not in cut:
            alike.setdefault(tuple(pair[0].shape[2] for pair in cut["layers"]), []).append(key)
    found = {key: {"failed": cut["failed"]} for key, cut in cuts.items() if "failed" in cut}
    for keys in alike.values():
        try:
            texts = _continued(harness, case, [cuts[key] for key in keys], limit)
        except Exception as error:  # as above
            for key in keys:
                found[key] = {"failed": f"{type(error).__name__}: {error}"}
            continue
        for key, text in zip(keys, texts, strict=True):
            found[key] = {
                "text": text,
                "found": case["answer"].lower() in text.lower(),
                "bytes": sum(part.nbytes for pair in cuts[key]["layers"] for part in pair),
                "hidden_bytes": _hidden(cuts[key]),
            }
    return found


def _hidden(cut: Cut) -> int:
    """Return the bytes of entries that are in the cache and never seen."""
    pairs = zip(cut["layers"], cut["masks"], strict=True)
    return sum(2 * pair[0].shape[3] * pair[0].itemsize * len(mask[0]) for pair, mask in pairs if mask is not None)


def _continued(harness: Harness, case: dict[str, Any], cuts: list[Cut], limit: int) -> list[str]:
    """Write on from several caches at once until each has the answer, has ended, or `limit` tokens are written."""
    cache = harness.new_cache()
    for layer in range(len(harness.modules)):
        keys, values = (torch.cat([cut["layers"][layer][part] for cut in cuts]) for part in (0, 1))
        cache.update(keys, values, layer)
    for layer, module in enumerate(harness.modules):
        masks = [(row, cut["masks"][layer]) for row, cut in enumerate(cuts) if cut["masks"][layer] is not None]
        module.masked_key_indices = _joined(masks) if masks else None
    position, ids = len(case["context"]), torch.tensor([case["question"]] * len(cuts))
    if len({pair[0].shape[2] for pair in cuts[0]["layers"]}) > 1:
        # transformers makes one mask for all layers, which fails where they hold unequal numbers: one token needs none
        for token in case["question"][:-1]:
            places = torch.full((len(cuts), 1), position)
            one = torch.full((len(cuts), 1), token)
            with torch.no_grad():
                harness.model(input_ids=one, past_key_values=cache, position_ids=places, logits_to_keep=1)
            position += 1
        ids = ids[:, -1:]
    written: list[list[int]] = [[] for _ in cuts]
    texts, done = [""] * len(cuts), [False] * len(cuts)
    for _ in range(limit):
        places = torch.arange(position, position + ids.shape[1]).expand(len(cuts), -1)
        with torch.no_grad():
            output = harness.model(input_ids=ids, past_key_values=cache, position_ids=places, logits_to_keep=1)
        position += ids.shape[1]
        ids = output.logits[:, -1].argmax(dim=-1, keepdim=True)
        for row, token in enumerate(ids[:, 0].tolist()):
            if not done[row]:
                written[row].append(token)
                texts[row] = harness.tokenizer.decode(written[row], skip_special_tokens=True)
                has = case["answer"].lower() in texts[row].lower()
                done[row] = has or "\n" in texts[row] or token in harness.ends
        if all(done):
            break
    harness.unmask()
    return texts


def _joined(masks: list[tuple[int, Any]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the masks of several caches as one of a batch."""
    rows = torch.cat([torch.full_like(mask[1], row) for row, mask in masks])
    return rows, torch.cat([mask[1] for _, mask in masks]), torch.cat([mask[2] for _, mask in masks])


def timed(harness: Harness, case: dict[str, Any], name: str, ratio: float, tokens: int) -> dict[str, Any]:
    """Run one press alone as its documentation says and return processor seconds."""
    harness.unmask()
    cache, context = harness.new_cache(), torch.tensor([case["context"]])
    start = time.process_time()
    try:
        with torch.no_grad(), harness.attention("eager" if name in WANTS_ATTENTION else "sdpa"):
            if name == "full":
                harness.model.model(input_ids=context, past_key_values=cache)
            else:
                with press_of(name, ratio, harness.kvpress)(harness.model):
                    harness.model.model(input_ids=context, past_key_values=cache)
        read = time.process_time() - start
        position, token = len(case["context"]), case["question"][0]
        with torch.no_grad():
            for step in range(tokens + 1):  # the first one warms up
                if step == 1:
                    start = time.process_time()
                output = harness.model(
                    input_ids=torch.tensor([[token]]),
                    past_key_values=cache,
                    position_ids=torch.tensor([[position + step]]),
                    logits_to_keep=1,
                )
                token = int(output.logits[0, -1].argmax())
    except Exception as error:  # as above
        return {"failed": f"{type(error).__name__}: {error}"}
    finally:
        harness.unmask()
    return {"prefill_s": read, "token_s": (time.process_time() - start) / tokens}


def same_context(cases: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return cases in groups that ask about one context, which is read once for all of them."""
    groups: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for case in cases:
        groups.setdefault(tuple(case["context"]), []).append(case)
    return list(groups.values())


Line = dict[str, Any]
Done = dict[int, set[tuple[str, float]]]
"""Methods and ratios that were answered before, by the number of a case."""


def answered(
    harness: Harness, group: list[dict[str, Any]], told: dict[str, Any], names: list[str], done: Done
) -> Iterator[Line]:
    """Give one line for each case of a group with the answers that it lacks.

    A case that the whole cache does not answer counts nowhere, so no press answers it.
    """
    start = time.process_time()
    missing = {case["number"]: _missing(names, done.get(case["number"], set())) for case in group}
    wanted = [name for name in names if any(name in each for each in missing.values())]
    if not wanted:
        return
    with torch.no_grad():
        cuts = collect(harness, group[0]["context"], wanted, told["ratios"])
    whole = {("full", 0.0): cuts.pop(("full", 0.0))}
    for case in group:
        mine = {key: cut for key, cut in cuts.items() if key[0] in missing[case["number"]]}
        if not mine:
            continue
        with torch.no_grad():
            said = answers(harness, case, whole, told["tokens"])
            if said["full", 0.0].get("found", False):
                said |= answers(harness, case, mine, told["tokens"])
        rows = [{"method": name, "ratio": ratio, **answer} for (name, ratio), answer in said.items()]
        yield {"number": case["number"], "rows": rows, "seconds": round(time.process_time() - start, 2)}
        start = time.process_time()


def _missing(names: list[str], known: set[tuple[str, float]]) -> list[str]:
    return [name for name in names if name not in {method for method, _ in known}]


def clocked(
    harness: Harness, group: list[dict[str, Any]], told: dict[str, Any], names: list[str], done: Done
) -> Iterator[Line]:
    """Give one line for each case of a group with the times that it lacks."""
    for case in group:
        start, known = time.process_time(), done.get(case["number"], set())
        pairs = [(name, ratio) for ratio in told["timed_ratios"] for name in names if (name, ratio) not in known]
        if pairs:
            pairs.insert(0, ("full", 0.0))
            rows = [{"method": n, "ratio": r, **timed(harness, case, n, r, told["timed_tokens"])} for n, r in pairs]
            yield {"number": case["number"], "rows": rows, "seconds": round(time.process_time() - start, 2)}


def before(path: Path) -> tuple[Done, set[int]]:
    """Return what a file holds, and the cases that the whole cache did not answer; a line cut off is left out."""
    done: Done = {}
    unanswered: set[int] = set()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    for line in (json.loads(each) for each in lines if each.endswith("\n")):
        done.setdefault(line["number"], set()).update((row["method"], row["ratio"]) for row in line["rows"])
        if any(row["method"] == "full" and row.get("found") is False for row in line["rows"]):
            unanswered.add(line["number"])
    return done, unanswered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, required=True, help="JSON of cases, ratios and the longest answer")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one a case")
    parser.add_argument("--presses", help="names by commas; default all")
    parser.add_argument("--first", type=int, default=0, help="only so many cases (default 0: all)")
    parser.add_argument("--seconds", action="store_true", help="time each press alone instead of answering together")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    told = json.loads(options.cases.read_text(encoding="utf-8"))
    names = options.presses.split(",") if options.presses else [*FREED, *MASKED]
    done, unanswered = before(options.out)
    cases = [case for case in told["cases"][: options.first or None] if case["number"] not in unanswered]
    with (
        tempfile.TemporaryDirectory(prefix="kvpress-needles-") as scratch,
        options.out.open("a", encoding="utf-8") as out,
    ):
        harness = Harness(options.model, Path(scratch))
        versions = {name: importlib.metadata.version(name) for name in ("kvpress", "torch", "transformers")}
        for group in same_context(cases):
            for line in (clocked if options.seconds else answered)(harness, group, told, names, done):
                out.write(json.dumps({**line, **versions}) + "\n")
                out.flush()


if __name__ == "__main__":
    sys.exit(main())
