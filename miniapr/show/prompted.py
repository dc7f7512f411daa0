"""`miniapr compare --prompt`: a language model thinks by outline, threads and conclusion, joined in every way."""

from __future__ import annotations

import argparse
import json
import re
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..engine.branch import Limits
from ..engine.engine import Engine
from ..engine.operations import Decode, Start
from ..engine.request import Program
from ..interrupt import Interrupt
from ..methods.compare import Comparison, Joined, compare
from ..methods.distance import TRUTH, distances
from ..methods.skeleton import CONCLUDE, FIRST, IN_SHORT, OUTLINE, OUTLINE_TOKENS, POINT, Skeleton, read_points
from ..model.bundle import Bundle
from .run import STRETCHES, Options
from .text import ROWS, console, join_columns
from .words import TITLES, how_far, stitch_and_reprefill, turned_and_copied

WORDS = 6  # of a sentence that comes again: fewer may well be meant


@dataclass
class Plain:
    """The same question asked without a fork. ``finish``: "length" if it was cut short."""

    text: str
    critical_path: int
    seconds: float
    finish: str


@dataclass
class Answers:
    """What came of it, filled in while it runs."""

    question: str
    model: dict[str, Any]
    points: list[str] = field(default_factory=list)
    comparison: Comparison = field(default_factory=Comparison)
    plain: Plain | None = None
    interrupted: bool = False

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


class PromptedRun:
    """Owns an engine; ``answers`` holds what has been found so far. Raises ValueError for a model without a chat
    template."""

    def __init__(self, bundle: Bundle, question: str, options: Options) -> None:
        if not question.strip():
            raise ValueError("--prompt is empty: there is nothing to think about")
        if bundle.tokenizer.template is None:
            raise ValueError(f"{bundle.name} has no chat template: it cannot be asked for an outline")
        self.options, self.talk = options, bundle.tokenizer
        self.method = Skeleton(question, bundle.tokenizer, options.width, options.max_tokens)
        self._new_engine = partial(
            Engine,
            bundle.model,
            bundle.tokenizer,
            num_blocks=options.blocks,
            block_size=options.block_size,
            backend=options.backend,
        )
        self.engine = self._new_engine(record=True)
        model = {
            "name": bundle.name,
            "parameters": bundle.model.parameter_count,
            "dtype": str(bundle.model.dtype).removeprefix("torch."),
            "backend": self.engine.ops.name.rpartition(".")[2],
            "threads": torch.get_num_threads(),
        }
        self.answers = Answers(question, model)

    def execute(self, stop: Interrupt) -> Answers:
        """All of it, or as much as there was before ``stop`` said so."""
        self.engine.run(_rehearsal(self.method.prompt))  # the first pass of a process is slow: not to be measured
        self.engine.kv.flush()
        self.engine.events.clear()
        answers, sampling = self.answers, self.options.sampling
        concluded = self._drive(compare(self.engine, answers.comparison, self.method, sampling=sampling), stop)
        if concluded and TRUTH in concluded:
            engine = self._new_engine()
            reading = distances(answers.comparison, self.method, concluded[TRUTH], sampling)
            engine.drive(engine.submit(reading, self._limits()), stop)
        answers.points = read_points(FIRST + answers.comparison.before, self.options.width)
        if not answers.interrupted:
            begun = time.perf_counter()
            root = self._drive(self._plain(), stop)
            if root:
                answers.plain = Plain(
                    _clean(root.completion.text), root.critical, time.perf_counter() - begun, root.completion.finish
                )
        return answers

    def _plain(self) -> Program:
        asked = self.talk.chat([{"role": "user", "content": self.method.question}])
        root = yield Start(asked, self.options.sampling)
        row = (
            OUTLINE_TOKENS + 2 * self.options.max_tokens
        )  # as much as outline, thread and conclusion may have in a row
        yield Decode([root], until=self.talk.ends, max_tokens=row)
        return root

    def _limits(self) -> Limits:
        return Limits(STRETCHES * self.options.max_tokens, self.options.width)

    def _drive(self, program: Program, stop: Interrupt) -> Any:
        request = self.engine.submit(program, self._limits())
        value = self.engine.wait(request, stop)
        if request.state == "running":
            self.answers.interrupted = True
            self.engine.abort(request)
        self.engine.check()
        return value


def _rehearsal(prompt: list[int]) -> Program:
    root = yield Start(prompt)
    yield Decode([root], max_tokens=2)


def compare_prompted(args: argparse.Namespace, bundle: Bundle, options: Options, stop: Interrupt) -> bool:
    """Run it, show it, write it. Gives whether it was interrupted."""
    for name in ("step", "html"):
        if getattr(args, name, None):
            raise ValueError(f"--{name} is for Countdown problems: it does not go with --prompt")
    run = PromptedRun(bundle, args.prompt, options)
    try:
        answers = run.execute(stop)
    finally:
        if args.trace:
            from ..stepper.trace import Trace

            Trace.of(run.engine, args.prompt).save(args.trace)
        if args.plot:
            from .plot import plot

            names = {t.id: point for t, point in zip(run.answers.comparison.threads, run.answers.points, strict=False)}
            plot(run.engine.events, args.plot, names, f"{args.prompt[:60]}, model {bundle.name}")
    if args.json:
        print(answers.as_json())
    else:
        show(answers)
    return answers.interrupted


def show(answers: Answers, out: Console | None = None) -> None:
    """The tree of threads, the joins side by side, their conclusions, and the answer without a fork."""
    out = out or console()
    model, result = answers.model, answers.comparison
    size = f"{model['parameters'] / 1e6:.0f} M parameters, {model['dtype']}"
    what = f"  model {model['name']} ({size}), backend {model['backend']}, {model['threads']} threads"
    out.print(Text.assemble(("miniapr compare", "bold"), what))
    out.print(Text.assemble("Question  ", (answers.question, "bold"), "\n"))
    out.print(tree(answers))
    if result.joins:
        out.print(joins_table(result.joins, out.width))
        out.print(Text(f"Every joined branch is asked: {CONCLUDE}", "dim"))
        for how, joined in result.joins.items():
            out.print(Text.assemble((f"{TITLES[how]}: ", "bold"), readable(IN_SHORT + _clean(joined.text))))
        for sentence in _sentences(result.joins):
            out.print(Text(sentence, "italic"))
    for how, why in result.left_out.items():
        out.print(Text(f"{TITLES[how]} could not be done: {why}.", "yellow"))
    if answers.plain:
        cut = f"  (cut short after {answers.plain.critical_path} tokens)" if answers.plain.finish == "length" else ""
        out.print(Text.assemble(("\nwithout a fork: ", "bold"), readable(answers.plain.text), (cut, "dim")))
        if result.joins:
            out.print(Text(_cost(answers), "italic"))
    if answers.interrupted:
        out.print(Text("\nStopped early: this is as far as it got.", "yellow"))


def tree(answers: Answers) -> Tree:
    """The outline, and a line for each thread."""
    result = answers.comparison
    asked = OUTLINE.format(question="").strip()  # after an example, which small models need
    root = Text.assemble(("branch 0", "bold cyan"), (f" is asked: {asked}\n", "dim"), FIRST + _clean(result.before))
    if result.fork_position is None:
        root.append("\nwhich has no points to fork into: nothing was joined.", "yellow")
    else:
        count = f"{len(result.threads)} thread{'s' * (len(result.threads) != 1)}"
        root.append(f"\nand forks at position {result.fork_position} into {count}, decoded side by side.", "dim")
        root.append(f" Each is asked: {POINT.format(number='N', point='...')}", "dim")
    grown = Tree(root, guide_style="dim")
    for thread, point in zip(result.threads, answers.points, strict=False):
        line = Text.assemble((f"{thread.id} ", "bold cyan"), (f"{point}: ", "bold"), readable(_clean(thread.text)))
        line.append(f"  ({thread.tokens} tokens{', cut short' if thread.finish == 'length' else ''})", "dim")
        grown.add(line)
    return grown


def joins_table(joins: dict[str, Joined], width: int) -> Table:
    table = join_columns(joins, width)
    for label, cell in ROWS.items():
        table.add_row(label, *[cell(joined) for joined in joins.values()])
    return table


def _sentences(joins: dict[str, Joined]) -> list[str]:
    found = []
    if {"stitch", "reprefill"} <= joins.keys():
        found.append(stitch_and_reprefill(joins["stitch"], joins["reprefill"]))
        found += how_far(joins["stitch"])
    if {"stitch_contiguous", "stitch_copied"} <= joins.keys():
        found.append(turned_and_copied(joins["stitch_contiguous"], joins["stitch_copied"], False))
    return found


def _cost(answers: Answers) -> str:
    result, plain = answers.comparison, answers.plain
    assert plain is not None
    return (
        f"With the fork {result.critical_path} tokens had to be decoded one after the other, {result.total_tokens} in "
        f"all; the plain answer is {plain.critical_path} tokens."
    )


def readable(text: str) -> str:
    """A weak model says one thing over and over: once is enough, with how often."""
    told: list[list[Any]] = []
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        if told and sentence == told[-1][0] and len(sentence.split()) >= WORDS:
            told[-1][1] += 1
        else:
            told.append([sentence, 1])
    return " ".join(s if n == 1 else f"{s} (and so {n} times: the model is weak)" for s, n in told)


def _clean(text: str) -> str:
    """Without the marks of the chat."""
    for mark in ("<|im_end|>", "<|endoftext|>", "<|eot_id|>"):
        text = text.replace(mark, "")
    return text.rstrip()
