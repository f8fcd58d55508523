"""Kill processes while they save states, and look at what they leave.

``run`` is called by ``benchmarks/state.py``; ``python benchmarks/_state_faults.py --trials 50`` prints this part alone.
The tests of ``tests/faults`` run the same function with fewer trials.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pinyon import Memory
from pinyon.core.cube import Cube
from pinyon.core.payload import State
from pinyon.errors import PinyonError
from pinyon.models.backbone import Backbone
from pinyon.states import sources_of
from pinyon.testing import HashEmbedder, WordCounter

__all__ = ["Killed", "kill", "run"]

WORDS = "bees mill river old blue door winter boat letter garden stone lamp road field bread".split()
LONGEST_S = 3.0  # from the first sign of life to the kill
_TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"


@dataclass(frozen=True, slots=True)
class Killed:
    """One process that was killed.

    Args:
        after_s: Seconds from its first sign of life to the kill.
        acknowledged: States it had said were saved.
        orphans: Files that no cube names, which a purge removes.
        problems: What was wrong afterwards.
    """

    after_s: float
    acknowledged: int
    orphans: int
    problems: tuple[str, ...]


def kill(folder: Path, chance: random.Random) -> Killed:
    """Start a process that saves states, kill it at a random moment, and look at what it leaves.

    Args:
        folder: Empty, for the memory.
        chance: Chooses the moment.
    """
    path = folder / "memory.db"
    source = Path(__file__).resolve().parents[1] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--work", str(path), str(chance.randrange(2**31))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    said = [process.stdout.readline()]
    reader = threading.Thread(target=lambda out=process.stdout: said.extend(out))
    reader.start()
    delay = chance.uniform(0, LONGEST_S)
    time.sleep(delay)
    ended = process.poll()
    process.send_signal(signal.SIGKILL)
    process.wait()
    reader.join()
    process.stdout.close()
    done = [json.loads(line) for line in said if line.endswith("\n")]
    problems = [] if ended is None else [f"the process ended by itself with {ended}"]
    made = {one["made"]: one["digest"] for one in done if "made" in one}
    gone = {id for one in done for id in one.get("gone", ())}
    with _open(path) as memory:
        problems += _after(memory, {id: digest for id, digest in made.items() if id not in gone})
        orphans = len(_files(path)) - len(_states(memory))
    return Killed(delay, len(made), orphans, tuple(problems))


def _after(memory: Memory, made: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with a memory that a killed process has left."""
    yield from memory.check()
    path = Path(memory.store.engine.location)
    for file in _files(path):
        if not file.name.startswith(".") and hashlib.sha256(file.read_bytes()).hexdigest() != file.name:
            yield f"the blob {file.name} was written by half"
    states, model = {cube.id: cube for cube in _states(memory)}, _backbone()
    yield from (f"the acknowledged state {id} is not there" for id in made if id not in states)
    for cube in states.values():
        yield from _wrong(memory, model, cube)
    try:
        again = memory.convert(query="the old mill", k=2, backbone=model)
        yield from _wrong(memory, model, again.cube)
        yield from memory.check()
    except PinyonError as error:
        yield f"a state cannot be made afterwards: {error.message}"


def _wrong(memory: Memory, model: Backbone, cube: Cube) -> Iterator[str]:
    """Yield what is wrong with a state: it must say what the model says of the same tokens."""
    from pinyon.state.prefix import attach

    state = cube.payload
    assert isinstance(state, State)
    try:
        attached = attach(model, state, memory.caller.parts.desk.tensors(cube, memory.store.engine))
    except PinyonError as error:
        yield f"the state {cube.id} cannot be attached: {error.message}"
        return
    cache = model.cache()
    model.prefill(attached.ids, cache)
    if float((model.prefill([50], cache) - model.prefill([50], attached.cache)).abs().max()) > 1e-3:
        yield f"the state {cube.id} says something else than its texts"


def _states(memory: Memory) -> list[Cube]:
    return list(memory.list(where={"kinds": ["state"], "states": ["generated", "stale"]}, limit=10_000).cubes)


def _files(path: Path) -> list[Path]:
    return [file for file in Path(f"{path}.blobs").rglob("*") if file.is_file()]


def _open(path: Path) -> Memory:
    return Memory.open(path, embedder=HashEmbedder(16), tokens=WordCounter())


def _backbone() -> Backbone:
    """Return a random model whose states are some megabytes, the same in every process."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = _TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300, hidden_size=128, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, head_dim=64, max_position_embeddings=8192,
    )  # fmt: skip
    return Backbone(LlamaForCausalLM(config), tokenizer, "random")


def _work(path: Path, seed: int) -> None:
    """Add, convert, change, forget, until killed; say what was done."""
    torch.set_num_threads(1)
    chance = random.Random(seed)
    model, memory = _backbone(), _open(path)
    for number in range(10**9):
        text = " ".join(chance.choices(WORDS, k=30))
        ids = [memory.add(f"{text} {number}-{place}").cubes[0].id for place in range(3)]
        if number == 0:
            _say(ready=True)
        _converted(memory, model, ids, chance)
        if chance.random() < 0.5:
            memory.update(ids[1], text=f"{text} changed {number}")
            _converted(memory, model, ids, chance)
        if chance.random() < 0.3:
            going = [cube.id for cube in _states(memory) if ids[0] in sources_of(cube)]
            _say(gone=going)  # it may be killed before or after they went
            memory.forget([ids[0]])


def _converted(memory: Memory, model: Backbone, ids: list[str], chance: random.Random) -> None:
    _say(gone=[cube.id for cube in _states(memory) if ids[0] in sources_of(cube)])
    done = memory.convert(ids, backbone=model, form=chance.choice(["full", "full", "int8"]))
    _say(made=done.cube.id, digest=done.cube.hash)


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def run(trials: int = 50, seed: int = 0) -> dict[str, Any]:
    """Kill so many processes and count what was wrong."""
    found = []
    for trial in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            found.append(kill(Path(folder), random.Random(f"{seed}-{trial}")))
    wrong = [one for one in found if one.problems]
    row = {
        "table": "faults",
        "trials": trials,
        "acknowledged": sum(one.acknowledged for one in found),
        "orphans": sum(one.orphans for one in found),
        "with_a_fault": len(wrong),
        "faults": [problem for one in wrong for problem in one.problems][:10],
    }
    limit = {"what": "killed processes that left a fault", "limit": "<= 0", "measured": len(wrong), "holds": not wrong}
    return {"rows": [row], "limits": [limit], "model": "a tiny random network"}


def main() -> int:
    """Run the trials and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=50, help="processes to kill")
    parser.add_argument("--seed", type=int, default=0, help="chooses the moments")
    parser.add_argument("--work", nargs=2, metavar=("PATH", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        _work(Path(given.work[0]), int(given.work[1]))
    found = run(given.trials, given.seed)
    print(json.dumps(found, indent=1))
    return 0 if all(limit["holds"] for limit in found["limits"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
