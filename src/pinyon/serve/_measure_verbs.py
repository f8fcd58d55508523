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
        sizes=given.maybe("sizes", str),
        seed=given.integer("seed"),
        seconds_per_item=given.integer("seconds_per_item"),
        seconds=given.integer("seconds"),
        processes=given.integer("processes"),
        reader=given.maybe("reader", str),
        judge=given.maybe("judge", str),
        writer=given.maybe("writer", str),
        model=given.text("model"),
        policy=given.text("policy"),
        ratio=given.text("ratio"),
        question=given.text("question"),
        lengths=given.text("lengths"),
        depths=given.text("depths"),
        profile=given.maybe("profile", str),
        facts=given.maybe("facts", str),
        png=given.maybe("png", str),
        progress=given.progress,
    )
    return Shown(found.data, tuple(found.text.rstrip().split("\n")), found.is_good)


MEASURE_VERBS: tuple[Verb, ...] = (
    Verb(
        "measure",
        "Measure memories on questions with known evidence: pinyon, plain controls, rivals, any server.",
        "list shows measures and subjects; run puts every measure to every subject and keeps items and reports in a"
        " folder; compare shows two results beside each other, or two subjects of one folder; report prints a folder"
        " and writes report.md, report.html and report.png into it. These need no model; with --reader a model answers"
        " from what each subject recalls, and with --judge one says whether it is right.\n\n"
        "needle hides facts in texts that a local model reads, cuts what it holds by a policy, and asks for them; it"
        " needs the extra torch. Policies: none, sink_window, random, key_norm, snap_kv, surprisal, spec_kv,"
        " kvzip, retrieval_heads, retrieval_heads_shared.\n\n"
        "Each measure and subject has a process of its own: one that crashes or hangs is recorded as failed, and the"
        " same command again goes on where it ended and asks again what failed.",
        (
            "pinyon measure list",
            "pinyon measure run needles --subjects pinyon,bm25 --small",
            "pinyon measure run locomo --subjects pinyon,bm25,mem0",
            "pinyon measure run convomem --subjects pinyon,bm25 --sizes 1,10,100,300",
            "pinyon measure compare before.report.json after.report.json",
            "pinyon measure compare measured --subjects pinyon,bm25",
            "pinyon measure report measured",
            "pinyon measure needle --model smollm2 --policy none,snap_kv --ratio 0.25 --png needle.png",
        ),
        (
            Parameter("task", "What to do: list, run, compare, report or needle", "choice", "argument",
                      is_required=True, choices=("list", "run", "compare", "report", "needle"), shown="TASK"),
            Parameter("names", "Measures to run, or files and folders of results", "text", "argument", is_many=True),
            Parameter("subjects", "Names divided by commas; also server.toml, or file.py:Name", "text", "option",
                      ("--subjects",), "NAMES", "pinyon,bm25,dense,hybrid,random"),
            Parameter("small", "A sample of each measure, for a first impression", "flag", "option", ("--small",)),
            Parameter("data", "Folder of the question sets, or one of their files; PINYON_DATA when not given", "file",
                      "option", ("--data",), "FOLDER"),
            Parameter("rivals", "Folder of the rivals' environments; PINYON_BENCH_CACHE when not given", "file",
                      "option", ("--rivals",), "FOLDER"),
            Parameter("out", "Folder for results", "file", "option", ("--out",), "FOLDER", "measured"),
            Parameter("items", "Most items of a measure, drawn at random", "integer", "option", ("--items",), "N",
                      least=1),
            Parameter("sizes", "Sizes of histories or haystacks, divided by commas", "text", "option", ("--sizes",),
                      "N,N"),
            Parameter("seed", "Of every random choice", "integer", "option", ("--seed",), "N", 0, least=0),
            Parameter("seconds_per_item", "Longest time of one item", "integer", "option", ("--seconds-per-item",),
                      "S", 60, least=1),
            Parameter("seconds", "Longest time of one measure on one subject", "integer", "option", ("--seconds",),
                      "S", 3600, least=1),
            Parameter("processes", "Subjects at once; more than one falsifies the times", "integer", "option",
                      ("--processes",), "N", 1, least=1),
            Parameter("reader", "Model that answers from what each subject recalls: openai:<model>@<base_url>,"
                      " anthropic:<model> or hf:<id>", "text", "option", ("--reader",), "SPEC"),
            Parameter("judge", "Model that says whether an answer is right", "text", "option", ("--judge",), "SPEC"),
            Parameter("writer", "Model with which mem0-llm writes its memories: openai:<model>@<base_url>", "text",
                      "option", ("--writer",), "SPEC"),
            Parameter("model", "For needle: id on the Hugging Face hub, folder, .gguf file, or smollm2", "text",
                      "option", ("--model",), "MODEL", "smollm2"),
            Parameter("policy", "For needle: names of policies, divided by commas", "text", "option", ("--policy",),
                      "NAMES", "none"),
            Parameter("ratio", "For needle: share of the cache that goes, from 0 to below 1", "text", "option",
                      ("--ratio",), "SHARE", "0.5"),
            Parameter("question", "For needle: whether the cache is cut before the question is read, or after",
                      "choice", "option", ("--question",), default="unseen", choices=("unseen", "seen")),
            Parameter("lengths", "For needle: tokens of the prompts, divided by commas", "text", "option",
                      ("--lengths",), "N,N", "400,700,1000"),
            Parameter("depths", "For needle: where the facts lie, 0 to 1, divided by commas", "text", "option",
                      ("--depths",), "D,D", "0,0.25,0.5,0.75,1"),
            Parameter("profile", "For needle: file of the head profile, for policies by heads", "file", "option",
                      ("--profile",), "FILE"),
            Parameter("facts", "For needle: file of facts, JSON lines with told, question and answer", "file",
                      "option", ("--facts",), "FILE"),
            Parameter("png", "For needle: file for a heat map", "file", "option", ("--png",), "FILE"),
        ),
        ("pinyon.measure.desk:measured",),
        _measure,
        can_create=True,
    ),
)  # fmt: skip
"""Measure."""
