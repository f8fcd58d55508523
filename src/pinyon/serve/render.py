"""Results as plain text: pure functions, no terminal and no file."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..core.cube import Cube, Version
from ..core.render import day_of
from ..index import Analyzer
from ..results import Added, Answer, Forgotten, Imported, Page, Recall, Stats
from ..text.base import Hit, Hits
from ._state_verbs import said_by, size_of, state_lines
from .outcomes import Exported, Health, Past, Shown

__all__ = ["Look", "remarks_of", "text_of", "trace_of", "visible"]

_ID_SHOWN = 10  # hexadecimal digits: among 100,000 memories two begin alike with a probability of 0.5 %
_EXCERPT = 320  # characters of a hit: four lines of a usual terminal
_EXTRACTED = (".docm", ".docx", ".dotx", ".epub", ".htm", ".html", ".pdf", ".xht", ".xhtml")  # more than text
_LISTED = 20  # memories of a plan that are named one by one
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WORD = re.compile(r"\w+")
_BOLD, _DIM, _MARK = "1", "2", "1;33"


@dataclass(frozen=True, slots=True)
class Look:
    """How plain text is shown.

    Args:
        is_colored: Whether colours may be used; what they say is always said in words too.
        width: Characters of a line of the terminal, or None for a file or pipe, where nothing is cut or altered.
        is_why: Whether to show how hits were found.
    """

    is_colored: bool = False
    width: int | None = None
    is_why: bool = False

    def paint(self, text: str, code: str) -> str:
        """Return the text in a colour, if there are colours."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.is_colored and text else text


def visible(text: str) -> str:
    """Return a text with control characters spelled out, so that a memory cannot drive the terminal it is shown on.

    Example:
        >>> visible("a\\x1b[2Jb")
        'a\\\\x1b[2Jb'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


# --- plain text ----------------------------------------------------------------------------------------------------


def text_of(result: object, look: Look) -> str:
    """Return what a person reads of a result, without a line break at its end; the data itself, for stdout."""
    text = _text_of(result, look)
    return text if look.width is None else "\n".join(_safe_line(line) for line in text.split("\n"))


_PAINTED = re.compile(r"(\x1b\[(?:0|1|2|1;33)m)")


def _safe_line(line: str) -> str:
    """Spell out control characters around the colours that `Look.paint` has set."""
    return "".join(part if i % 2 else visible(part) for i, part in enumerate(_PAINTED.split(line)))


def _text_of(result: object, look: Look) -> str:
    match result:
        case Cube():
            return _whole(result, look)
        case Added():
            return "\n".join(_line(cube, look) for cube in result.cubes)
        case Imported():
            return _import_summary(result)
        case Hits():
            return _hits(result, look)
        case Recall():
            return result.text
        case Answer():
            return "\n".join([result.text, *_citations(result, look)])
        case Page():
            return "\n".join(_line(cube, look) for cube in result.cubes)
        case Forgotten():
            return _forgotten(result, look)
        case Shown():
            return "\n".join(result.lines)
        case Past():
            return "\n".join(_past(version, look) for version in result.versions)
        case Exported():
            return f"{_count(result.cubes)} in {result.path}"
        case Stats():
            return _table(_stat_lines(result))
        case Health():
            return _health(result, look)
        case _:
            raise TypeError(f"a {type(result).__name__} is no result of a verb")


def _whole(cube: Cube, look: Look) -> str:
    p = cube.header.provenance
    lines: dict[str, str] = {
        "id": cube.id,
        "version": str(cube.version),
        "time": cube.time.isoformat(),
        "written": cube.updated.isoformat(),
        "space": cube.space,
        "owner": ", ".join(f"{name} {value}" for name, value in cube.owner.given.items()) or "shared",
        "state": cube.header.life.state,
        "speaker": p.speaker or p.role or "",
        "source": _origin(cube),
        "title": p.title or "",
        "section": " > ".join(p.section),
        "tags": ", ".join(cube.header.tags),
        "metadata": ", ".join(f"{key}={value!r}" for key, value in cube.header.metadata.items()),
        **state_lines(cube),
    }
    head = _table({name: _one_line(value) for name, value in lines.items() if value}, look)
    return f"{head}\n\n{said_by(cube)}"


def _line(cube: Cube, look: Look) -> str:
    head = f"{look.paint(_short(cube), _BOLD)}  {_about(cube)}"
    said = _one_line(said_by(cube))
    if look.width is not None:
        room = max(20, look.width - len(_short(cube)) - len(_about(cube)) - 4)
        said = said if len(said) <= room else said[: room - 1] + "…"
    return f"{head}  {said}"


def _hits(found: Hits, look: Look) -> str:
    mark = _Marker(found.terms, look)
    blocks = []
    for number, hit in enumerate(found.hits, 1):
        head = f"{number:>2}  {look.paint(_short(hit.cube), _BOLD)}  {_about(hit.cube)}"
        text = said_by(hit.cube)
        lines = [head, *(f"    {line}" for line in mark(_excerpt(text, mark.is_term)).split("\n"))]
        if look.is_why:
            lines.extend(f"    {look.paint(line, _DIM)}" for line in _why(hit, mark))
        blocks.append("\n".join(lines))
    if look.is_why and found.hits:
        blocks.append("\n".join(look.paint(line, _DIM) for line in trace_of(found)))
    return "\n".join(blocks)


def _why(hit: Hit, mark: _Marker) -> Iterator[str]:
    legs = ", ".join(f"{r.leg} {r.score:.3f}{f' (rank {r.rank})' if r.rank else ''}" for r in hit.why)
    yield f"score {hit.score:.4f}: {legs}"
    matched = mark.matched(hit.cube.text)
    if matched:
        yield f"matched: {', '.join(matched)}"


def trace_of(found: Hits) -> list[str]:
    """Return what it took to find something: one line each for what was looked at, the terms and the time."""
    lines = [f"considered {_count(found.considered)}"]
    if found.terms:
        lines.append("terms " + ", ".join(f"{term} (in {number})" for term, number in found.terms.items()))
    lines.append("ms " + ", ".join(f"{step} {ms:.1f}" for step, ms in found.ms.items()))
    return [visible(line) for line in lines]


def _citations(answer: Answer, look: Look) -> Iterator[str]:
    seen: set[int] = set()
    for citation in answer.citations:
        if citation.number not in seen:
            seen.add(citation.number)
            cube = citation.hit.cube
            yield f"[{citation.number}] {look.paint(_short(cube), _BOLD)}  {_about(cube)}"


def _forgotten(result: Forgotten, look: Look) -> str:
    lines = [_line(cube, look) for cube in result.cubes[:_LISTED]]
    if len(result.cubes) > _LISTED:
        lines.append(f"… and {len(result.cubes) - _LISTED} more")
    lines += [f"{kept.id[:_ID_SHOWN]} stays: {kept.reason}" for kept in result.kept]
    if result.plan is not None:
        lines += [
            f"{cube.id[:_ID_SHOWN]} becomes stale: it was made of something that goes" for cube in result.plan.stale
        ]
        if result.plan.mentions:
            lines.append(f"{_count(len(result.plan.mentions))} more name the person; --mentions takes them too")
    if result.not_covered:
        lines.append(f"not looked into, because other memories are mounted there: {', '.join(result.not_covered)}")
    if result.receipt is not None:
        lines.append(f"receipt {result.receipt.id}, signed; --json shows it whole")
    lines.append(f"{'forgot' if result.is_done else 'would forget'} {_count(len(result.cubes))}")
    return "\n".join(lines)


def _past(version: Version, look: Look) -> str:
    who = ", ".join(version.actor.given.values()) or "anyone"
    number = f"version {version.cube.version}" if version.cube is not None else "gone"
    head = f"{look.paint(number, _BOLD)}  {_stamp(version.time)}  {version.op}  by {who}"
    if version.cube is None:
        return head
    return "\n".join([head, *(f"    {line}" for line in version.cube.text.split("\n"))])


def _import_summary(result: Imported) -> str:
    outcomes = [source.outcome for source in result.sources]
    parts = [f"{outcomes.count(word)} {word}" for word in ("added", "unchanged", "skipped") if outcomes.count(word)]
    sources = "1 source" if len(outcomes) == 1 else f"{len(outcomes)} sources"
    return f"{sources}: {', '.join(parts) or 'nothing'}; {_count(result.cubes)} written"


def _stat_lines(stats: Stats) -> dict[str, str]:
    lines = {"memory": stats.location, "memories": str(stats.cubes)}
    lines.update({f"  in {name}": str(number) for name, number in stats.by_space.items()})
    if not stats.cubes:
        lines["note"] = "counted is what the caller may read; with --user, what that user may"
    lines["size"] = size_of(stats.bytes)
    lines["embedder"] = stats.embedder
    lines["pending"] = f"{stats.pending} without a vector"
    for name, value in stats.detail.items():
        if name == "mounts" and isinstance(value, Mapping):
            lines.update({f"  mounted as {mounted}": str(place) for mounted, place in value.items()})
        else:
            lines[name] = str(value)
    return lines


def _health(health: Health, look: Look) -> str:
    lines = [*(f"{line}" for line in health.repairs)]
    if health.is_sound:
        lines.append(look.paint("sound: no problem found", _BOLD))
    lines.extend(look.paint(f"problem: {problem}", _BOLD) for problem in health.problems)
    table = {} if health.stats is None else _stat_lines(health.stats)
    table.update(health.versions)
    table.update({path: size_of(size) for path, size in health.files.items()})
    return "\n".join([*lines, _table(table)])


# --- words beside the data -----------------------------------------------------------------------------------------


def remarks_of(result: object) -> list[str]:
    """Return what a person should know beside the result, one line each, for stderr."""
    lines: list[str] = []
    match result:
        case Added():
            lines = [_added(result)]
        case Imported():
            lines = [f"skipped {source.source}: {source.reason}" for source in result.skipped]
        case Hits():
            lines = [*result.notes, *(["nothing found"] if not result.hits else [])]
        case Recall():
            lines = [*result.found.notes, *(["nothing found"] if not result.hits else [])]
        case Answer():
            lines = [*result.recall.found.notes]
        case Page():
            if not result.cubes:
                lines = ["nothing here"]
            if result.cursor is not None:
                lines = [f"more: --cursor={result.cursor}"]
        case Health() if result.stats is None:
            lines = ["hint: keep the file as it is, and restore a copy or import an archive into a new memory"]
        case Health() if not result.is_sound and not result.repairs:
            lines = ["hint: `pinyon doctor --repair` builds again what is derived from the memories"]
        case _:
            pass
    return [visible(_one_line(line)) for line in lines]


def _added(result: Added) -> str:
    counts = {"new": result.created, "changed": result.updated, "known already": result.unchanged}
    said = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    return f"{said or 'nothing'} in {result.ms:.0f} ms"


# --- pieces --------------------------------------------------------------------------------------------------------


class _Marker:
    """Marks the words of a text that are terms of a question."""

    def __init__(self, terms: Mapping[str, int], look: Look) -> None:
        self._terms = frozenset(terms)
        self._look = look
        self._analyzer = Analyzer()
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        if not self._look.is_colored or not self._terms:
            return text
        return _WORD.sub(lambda found: self._marked(found[0]), text)

    def _marked(self, word: str) -> str:
        return self._look.paint(word, _MARK) if self.is_term(word) else word

    def is_term(self, word: str) -> bool:
        """Return whether a word has a term of the question."""
        return bool(self._term(word))

    def _term(self, word: str) -> str:
        if word not in self._known:
            self._known[word] = next((term for term in self._analyzer.terms(word) if term in self._terms), "")
        return self._known[word]

    def matched(self, text: str) -> list[str]:
        """Return the terms of the question that occur in a text, in order."""
        return list(dict.fromkeys(term for word in _WORD.findall(text) if (term := self._term(word))))


def _excerpt(text: str, is_term: Callable[[str], bool]) -> str:
    """Return the part of a long text that holds most of the wanted words."""
    text = textwrap.dedent(text.strip("\n")).strip()
    if len(text) <= _EXCERPT:
        return text
    places = [found.start() for found in _WORD.finditer(text) if is_term(found[0])]
    start = max(0, min(_densest(places) - 40, len(text) - _EXCERPT))
    if start > 0:
        start = text.find(" ", start, start + 40) + 1 or start
    end = start + _EXCERPT
    if end < len(text):
        end = max(text.rfind(" ", start, end), start + _EXCERPT // 2)
    return f"{'… ' if start else ''}{text[start:end].strip()}{' …' if end < len(text) else ''}"


def _densest(places: Sequence[int]) -> int:
    """Return the first place from which most others lie within an excerpt; 0 when there are none."""
    best, most, last = 0, 0, 0
    for first, place in enumerate(places):
        while last < len(places) and places[last] < place + _EXCERPT - 60:
            last += 1
        if last - first > most:
            best, most = place, last - first
    return best


def _about(cube: Cube) -> str:
    """Return day, speaker, session or source of a cube on one line."""
    p = cube.header.provenance
    known = cube.header.life.valid_from
    day = day_of(known) if known is not None else f"added {day_of(cube.created)}"
    parts = [day, p.speaker or p.role, cube.owner.session if p.unit == "turn" else None, _origin(cube)]
    return _one_line(" · ".join(part for part in parts if part))


def _origin(cube: Cube) -> str:
    """Return where a cube was read from, precise enough to go back there."""
    p = cube.header.provenance
    if p.source is None:
        return ""
    if p.page is not None:
        return f"{p.source}:page {p.page}"
    if p.source.lower().endswith(_EXTRACTED):  # its characters are counted in the words read out of it
        return ":".join(filter(None, [p.source, " > ".join(p.section)]))
    return p.source if p.span is None else f"{p.source}:{p.span[0]}-{p.span[1]}"


def _short(cube: Cube) -> str:
    return cube.id[:_ID_SHOWN]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment.year >= 1000 else moment.isoformat(" ", "seconds")


def _count(number: int) -> str:
    return "1 memory" if number == 1 else f"{number} memories"


def _table(lines: Mapping[str, str], look: Look | None = None) -> str:
    width = max((len(name) for name in lines), default=0)
    dim = look.paint if look is not None else lambda text, _: text
    return "\n".join(f"{dim(f'{name:<{width}}', _DIM)}  {value}" for name, value in lines.items())
