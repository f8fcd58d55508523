"""The verb that measures memories, as a table; it opens no memory of the user."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .outcomes import Shown
from .verb import Given, Parameter, Verb

if TYPE_CHECKING:
    from ..memory import Memory

__all__ = ["MEASURE_VERBS"]


def _measure(memory: Memory, given: Given) -> Shown:  # noqa: ARG001  # what is measured is made for it
    desk = import_module("pinyon.measure.desk")  # a room beside this one: named where it is used, not imported
    found = desk.measured(
        given.text("task"),
        given.texts("names"),
        subjects=given.text("subjects"),
        small=given.is_set("small"),
        data=given.maybe("data", str),
        rivals=given.maybe("rivals", str),
        out=given.text("out"),
        items=given.maybe("items", int),
        seed=given.integer("seed"),
        seconds_per_item=given.integer("seconds_per_item"),
        seconds=given.integer("seconds"),
        processes=given.integer("processes"),
        progress=given.progress,
    )
    return Shown(found.data, tuple(found.text.rstrip().split("\n")), found.is_good)


MEASURE_VERBS: tuple[Verb, ...] = (
    Verb(
        "measure",
        "Measure memories on questions with known evidence: pinyon, plain controls, rivals, any server.",
        "list shows measures and subjects; run puts every measure to every subject and keeps items and reports in a"
        " folder; compare shows two results beside each other; report prints a folder and writes report.md, report.html"
        " and report.png into it. No model is needed.\n\n"
        "Each measure and subject has a process of its own: one that crashes or hangs is recorded as failed, and the"
        " same command again goes on where it ended.",
        (
            "pinyon measure list",
            "pinyon measure run needles --subjects pinyon,bm25 --small",
            "pinyon measure compare before.report.json after.report.json",
            "pinyon measure report measured",
        ),
        (
            Parameter("task", "What to do: list, run, compare or report", "choice", "argument", is_required=True,
                      choices=("list", "run", "compare", "report"), shown="TASK"),
            Parameter("names", "Measures to run, or files and folders of results", "text", "argument", is_many=True),
            Parameter("subjects", "Names divided by commas; also server.toml, or file.py:Name", "text", "option",
                      ("--subjects",), "NAMES", "pinyon,bm25,dense,hybrid,random"),
            Parameter("small", "A sample of each measure, for a first impression", "flag", "option", ("--small",)),
            Parameter("data", "Folder of the question sets", "file", "option", ("--data",), "FOLDER"),
            Parameter("rivals", "Folder of the rivals' environments", "file", "option", ("--rivals",), "FOLDER"),
            Parameter("out", "Folder for results", "file", "option", ("--out",), "FOLDER", "measured"),
            Parameter("items", "Most items of a measure, drawn at random", "integer", "option", ("--items",), "N",
                      least=1),
            Parameter("seed", "Of every random choice", "integer", "option", ("--seed",), "N", 0, least=0),
            Parameter("seconds_per_item", "Longest time of one item", "integer", "option", ("--seconds-per-item",),
                      "S", 60, least=1),
            Parameter("seconds", "Longest time of one measure on one subject", "integer", "option", ("--seconds",),
                      "S", 3600, least=1),
            Parameter("processes", "Subjects at once; more than one falsifies the times", "integer", "option",
                      ("--processes",), "N", 1, least=1),
        ),
        ("pinyon.measure.desk:measured",),
        _measure,
        can_create=True,
    ),
)  # fmt: skip
"""Measure."""
