"""Results of verbs as JSON documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from ..core.cube import Cube, Version, cube_to_json
from ..core.payload import Json
from ..govern.receipts import receipt_to_json
from ..results import Added, Answer, Forgotten, Imported, Page, Recall, Stats
from ..text.base import Hit, Hits
from .outcomes import Exported, Health, Past, Shown

__all__ = ["json_of"]


def json_of(result: object) -> Json:
    """Return the one JSON document of a result."""
    match result:
        case Cube():
            return cube_to_json(result)
        case Added():
            counts: dict[str, Json] = {name: getattr(result, name) for name in ("created", "updated", "unchanged")}
            return {"cubes": _cubes(result.cubes), **counts, "ms": result.ms}
        case Imported():
            sources: list[Json] = [
                {"source": s.source, "outcome": s.outcome, "cubes": s.cubes, "reason": s.reason, "format": s.format}
                for s in result.sources
            ]
            return {"sources": sources, "cubes": result.cubes, "ms": result.ms}
        case Hits():
            repeated: list[Json] = [hit.cube.id for hit in result.repeated]
            return {"hits": [_hit(hit) for hit in result.hits], "repeated": repeated, **_found(result)}
        case Recall():
            return {
                "text": result.text,
                "tokens": result.context.footprint.tokens,
                "hits": [_hit(hit) for hit in result.hits],
                "left_out": [hit.cube.id for hit in result.context.left_out],
                **_found(result.found),
            }
        case Answer():
            return _answer(result)
        case Page():
            return {"cubes": _cubes(result.cubes), "cursor": result.cursor}
        case Forgotten():
            return _forgotten_json(result)
        case Past():
            return {"id": result.id, "versions": [_version(version) for version in result.versions]}
        case Shown():
            return result.data
        case Exported():
            return {"path": result.path, "cubes": result.cubes}
        case Stats():
            return _stats(result)
        case Health():
            return {
                "is_sound": result.is_sound,
                "problems": list(result.problems),
                "repairs": list(result.repairs),
                "stats": None if result.stats is None else _stats(result.stats),
                "versions": dict(result.versions),
                "files": dict(result.files),
            }
        case _:
            raise TypeError(f"a {type(result).__name__} is no result of a verb")


def _cubes(cubes: Iterable[Cube]) -> list[Json]:
    return [cube_to_json(cube) for cube in cubes]


def _hit(hit: Hit) -> Json:
    why: list[Json] = [{"leg": r.leg, "score": float(r.score), "rank": int(r.rank)} for r in hit.why]
    return {"cube": cube_to_json(hit.cube), "score": float(hit.score), "why": why}


def _found(found: Hits) -> dict[str, Json]:
    return {
        "considered": int(found.considered),
        "terms": {term: int(number) for term, number in found.terms.items()},
        "ms": {step: float(ms) for step, ms in found.ms.items()},
        "notes": list(found.notes),
    }


def _forgotten_json(result: Forgotten) -> Json:
    data: dict[str, Json] = {"cubes": _cubes(result.cubes), "is_done": result.is_done}
    if result.plan is not None:
        data["stale"] = [cube.id for cube in result.plan.stale]
        data["mentions"] = [cube.id for cube in result.plan.mentions]
        data["kept"] = [{"id": kept.id, "space": kept.space, "reason": kept.reason} for kept in result.kept]
    if result.receipt is not None:
        data["receipt"] = receipt_to_json(result.receipt)
    if result.not_covered:
        data["not_covered"] = list(result.not_covered)
    return data


def _answer(answer: Answer) -> Json:
    citations: list[Json] = [
        {"number": c.number, "quote": c.quote, "cube": cube_to_json(c.hit.cube), "score": float(c.hit.score)}
        for c in answer.citations
    ]
    return {
        "text": answer.text,
        "is_known": answer.is_known,
        "by": answer.by,
        "citations": citations,
        **({} if answer.saved is None else {"saved": dict(asdict(answer.saved))}),
        **_found(answer.recall.found),
    }


def _version(version: Version) -> Json:
    return {
        "op": version.op,
        "time": version.time.isoformat(),
        "actor": dict(version.actor.given),
        "cube": None if version.cube is None else cube_to_json(version.cube),
    }


def _stats(stats: Stats) -> Json:
    names = ("location", "cubes", "bytes", "embedder", "pending")
    plain: dict[str, Json] = {name: getattr(stats, name) for name in names}
    return {**plain, "by_space": dict(stats.by_space), "detail": dict(stats.detail)}
