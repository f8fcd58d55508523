"""What a model of the caller costs: tokens to seconds and to money."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import BadInput
from ..models.base import Generator, Message

__all__ = ["Call", "Curve", "Metered", "ModelProfile", "measure_profile"]

Count = Callable[[str], int]
_PER_MILLION = 1e-6
_PROBE_WORDS = "the boat left the harbour before noon and came back late with nets full of small silver fish".split()


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity that grows with the size of the input, by straight lines between measured points.

    Before the first and beyond the last point the nearest line goes on, never below zero.

    Args:
        points: Size and value, sizes ascending, at least one.

    Raises:
        BadInput: There is no point, or sizes do not ascend, or a value is below zero.

    Example:
        >>> curve = Curve(((10, 2.0), (20, 3.0)))
        >>> curve(15), curve(40), Curve(((10, 2.0),))(99)
        (2.5, 5.0, 2.0)
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        sizes = [size for size, _ in self.points]
        if not sizes or any(b <= a for a, b in pairwise(sizes)):
            raise BadInput(f"the sizes of a curve must ascend, got {sizes!r}")
        if any(not value >= 0 for _, value in self.points):
            raise BadInput(f"the values of a curve must be >= 0, got {self.points!r}")

    def __call__(self, size: float) -> float:
        """Return the value at a size."""
        if len(self.points) == 1:
            return self.points[0][1]
        place = 1
        while place < len(self.points) - 1 and size > self.points[place][0]:
            place += 1
        (x0, y0), (x1, y1) = self.points[place - 1], self.points[place]
        return max(0.0, y0 + (size - x0) * (y1 - y0) / (x1 - x0))


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model.

    Args:
        input_tokens: Tokens it was given.
        output_tokens: Tokens it wrote.
        seconds: How long it took.
    """

    input_tokens: int
    output_tokens: int
    seconds: float


_SECONDS = (
    (12_800, 2.2), (24_600, 2.9), (36_500, 3.3), (61_800, 4.3), (87_000, 4.9), (125_000, 5.8), (228_000, 13.6),
    (530_000, 22.9),
)  # fmt: skip
_DOLLARS = ((12_800, 0.0030), (36_500, 0.0065), (125_000, 0.0171), (228_000, 0.0300), (530_000, 0.0786))


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """How long a model takes and what it costs, by tokens of input.

    The defaults are what ConvoMem published for Gemini 2.5 Flash, with cached input as its provider bills it.

    Args:
        name: Of the model, and where its figures come from.
        window_tokens: Most tokens of input.
        seconds: Of an answer.
        price: Of an answer, in one currency of the caller's.
        extract_seconds: What an extract takes longer than an answer, because it is longer.
        extract_price: What an extract costs more.
        parallel: Calls that run at once, >= 1.
        is_measured: Whether the figures come from calls of this very model.

    Source: result files of ConvoMem, user facts with one message of evidence; tokens at 20, 50 and 70 conversations
        lie on the line between their neighbours. Block extraction took 8.6 s and 0.0031 dollars for each block after
        the first (12 s and 133 s, 0.0045 and 0.0479 dollars, at 1 and 15 blocks), one after the other.
    """

    name: str = "Gemini 2.5 Flash as published"
    window_tokens: int = 1_048_576  # its provider's documentation
    seconds: Curve = Curve(_SECONDS)
    price: Curve = Curve(_DOLLARS)
    extract_seconds: float = 6.4  # 8.6 s a block less the 2.2 s of an answer over as many tokens
    extract_price: float = 0.0001  # 0.0031 dollars a block less the 0.0030 of an answer
    parallel: int = 1  # what the published times amount to
    is_measured: bool = False

    def __post_init__(self) -> None:
        if self.window_tokens < 1 or self.parallel < 1:
            raise BadInput("window_tokens and parallel must be at least 1")
        if not (self.extract_seconds >= 0 and self.extract_price >= 0):
            raise BadInput("extract_seconds and extract_price must be >= 0")

    @classmethod
    def from_calls(
        cls,
        name: str,
        calls: Iterable[Call],
        *,
        window_tokens: int,
        price_in: float = 0.0,
        price_out: float = 0.0,
        extract_tokens: int = 400,
        parallel: int = 1,
    ) -> ModelProfile:
        """Return the profile that calls show.

        Args:
            name: Of the model.
            calls: At least one, of any sizes.
            window_tokens: Most tokens of input.
            price_in: Of a million tokens of input.
            price_out: Of a million tokens of output.
            extract_tokens: Output of an extract.
            parallel: Calls that the model takes at once.

        Raises:
            BadInput: There is no call, or a price is negative.
        """
        done = sorted(calls, key=lambda call: call.input_tokens)
        if not done:
            raise BadInput("a profile needs at least one call", hint="give the model something to do first")
        if not (price_in >= 0 and price_out >= 0):
            raise BadInput(f"prices must be >= 0, got {price_in!r} and {price_out!r}")
        written = sum(call.output_tokens for call in done) / len(done)
        a_token = _seconds_a_token(done)
        longer = max(0.0, extract_tokens - written)
        first = price_out * written * _PER_MILLION
        return cls(
            name=name,
            window_tokens=window_tokens,
            seconds=Curve(_rising([(call.input_tokens, call.seconds) for call in done])),
            price=Curve(((0, first), (1_000_000, first + price_in))),
            extract_seconds=longer * a_token,
            extract_price=longer * price_out * _PER_MILLION,
            parallel=parallel,
            is_measured=True,
        )


@dataclass(slots=True)
class Metered:
    """A generator that keeps what each of its calls took.

    Args:
        generator: Does the work.
        count: Text to tokens.
        clock: Seconds.

    Attributes:
        calls: One a call that came back, in order.
    """

    generator: Generator
    count: Count
    clock: Callable[[], float] = time.perf_counter
    calls: list[Call] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The generator's own."""
        return self.generator.name

    def generate(self, messages: Sequence[Message], *, max_tokens: int = 512) -> str:
        """Return what the generator returns.

        Raises:
            ModelError: The generator failed; such a call is not kept.
        """
        start = self.clock()
        text = self.generator.generate(messages, max_tokens=max_tokens)
        took = self.clock() - start
        self.calls.append(Call(sum(self.count(message.content) for message in messages), self.count(text), took))
        return text


def measure_profile(
    generator: Generator,
    *,
    count: Count,
    window_tokens: int,
    sizes: Sequence[int] = (250, 1_000, 4_000),
    price_in: float = 0.0,
    price_out: float = 0.0,
    parallel: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> ModelProfile:
    """Return the profile of a model from calls that are made here, one for each size.

    Args:
        generator: The caller's own model.
        count: Text to tokens.
        window_tokens: Most tokens of input; larger sizes are left out.
        sizes: Tokens of input to try, about.
        price_in: Of a million tokens of input.
        price_out: Of a million tokens of output.
        parallel: Calls that the model takes at once.
        clock: Seconds.

    Raises:
        BadInput: No size fits into the window.
        ModelError: The model failed.

    Cost: one call a size.
    """
    metered = Metered(generator, count, clock)
    for size in sorted({size for size in sizes if 0 < size <= window_tokens}):
        metered.generate([Message("user", _probe(size, count))], max_tokens=32)
    return ModelProfile.from_calls(
        generator.name,
        metered.calls,
        window_tokens=window_tokens,
        price_in=price_in,
        price_out=price_out,
        parallel=parallel,
    )


def _probe(size: int, count: Count) -> str:
    """Return a text of at most about so many tokens that asks for a short answer."""
    words = _PROBE_WORDS
    line = " ".join(words)
    times = max(1, size // max(1, count(line)))
    return "\n".join([line] * times) + "\nWhat came back late? Answer in one word."


def _seconds_a_token(calls: Sequence[Call]) -> float:
    """Return what a token of output takes at most: the whole of the fastest call, divided by what it wrote."""
    return min((call.seconds / call.output_tokens for call in calls if call.output_tokens), default=0.0)


def _rising(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return means of neighbours merged until they rise: the nearest curve that never falls.

    Source: Ayer et al. 1955, the pool-adjacent-violators algorithm.
    """
    pools: list[tuple[list[float], float]] = []  # sizes of the pool, mean of the values
    by_size: dict[float, list[float]] = {}
    for size, value in points:
        by_size.setdefault(size, []).append(value)
    for size, values in sorted(by_size.items()):
        pools.append(([size] * len(values), sum(values) / len(values)))
        while len(pools) > 1 and pools[-2][1] > pools[-1][1]:
            (late, high), (early, low) = pools.pop(), pools.pop()
            n, m = len(early), len(late)
            pools.append((early + late, (low * n + high * m) / (n + m)))
    out: list[tuple[float, float]] = []
    for sizes, value in pools:
        out.append((sizes[0], value))
        if sizes[-1] > sizes[0]:
            out.append((sizes[-1], value))
    return tuple(out)
