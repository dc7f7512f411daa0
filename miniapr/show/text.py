"""A report in the terminal: the tree of branches, the joins side by side, what it all cost.

Everything goes through rich, which sees to NO_COLOR, pipes and narrow windows. The words are plain ASCII, so
that they can be printed anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..methods.compare import Joined, Thread
from ..plain import plain
from ..tasks.vocabulary import HIT, MISS
from .report import Report, Spent, spent_until_first_answer
from .words import TITLES, see_cost, see_joins

LABELS = 18  # columns for the names of the rows
VERDICTS = {True: "bold green", False: "bold red"}


class Terminal(Console):
    """What a model or a server wrote can neither command the terminal nor fail for a character that it does not have:
    all that is printed passes here, before rich's own commands are put around it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            text = plain(segment.text).encode(self.encoding, "replace").decode(self.encoding)
            yield segment if segment.control else segment._replace(text=text)


def console() -> Console:
    """Without rich's own colouring of numbers: here colours mean something."""
    return Terminal(highlight=False, soft_wrap=False)


def print_report(report: Report, out: Console | None = None) -> None:
    """All of it, as far as it got."""
    out = out or console()
    _head(report, out)
    out.print(tree(report))
    if report.comparison.joins:
        out.print(joins_table(report, out.width))
        _paragraph(see_joins(report), out)
    for how, why in report.comparison.left_out.items():
        out.print(Text(f"{TITLES[how]} could not be done: {why}.", "yellow"))
    if not report.comparison.joins and not report.forked and report.comparison.before and not report.interrupted:
        _no_fork(report, out)
    if report.sequential:
        spent = spent_until_first_answer(report.events)
        out.print(cost_table(report, spent))
        if not report.interrupted:
            _paragraph(see_cost(report, spent), out)
    if report.interrupted:
        out.print(Text("\nStopped early: this is as far as it got. The pool was checked and is consistent.", "yellow"))


def _paragraph(sentences: list[str], out: Console) -> None:
    for sentence in sentences:
        out.print(Text(sentence, "italic"))


def _head(report: Report, out: Console) -> None:
    model, problem = report.model, report.problem
    threads = f"{model['threads']} thread{'s' * (model['threads'] != 1)}"
    size = f"{model['parameters'] / 1e6:.2f} M parameters"
    out.print(
        Text.assemble(
            ("miniapr compare", "bold"),
            f"  model {model['name']} ({size}), backend {model['backend']}, {threads}",
        )
    )
    numbers = " ".join(map(str, problem.descending))
    known = (
        f"  the exact solver knows {report.solution}"
        if report.solution
        else "  cannot be solved, says the exact solver"
    )
    out.print(Text.assemble("Problem  ", (f"{numbers} -> {problem.target}", "bold"), (known, "dim")))
    out.print()


def tree(report: Report) -> Tree:
    """The root's text up to the fork, then one line for each thread."""
    result = report.comparison
    root = Text.assemble(("branch 0", "bold cyan"), (" from position 0: the model writes\n", "dim"))
    root.append_text(_coloured(result.before))
    if gloss := report.gloss(result.before):
        root.append(f"\n({gloss.sentence})", "dim")
    if report.forked:
        where = f"forks at position {result.fork_position} into {_branches(len(result.threads))}"
        root.append(f"\nand {where}, decoded side by side:", "dim")
    grown = Tree(root, guide_style="dim")
    digits = max((len(str(thread.id)) for thread in result.threads), default=1)
    for thread in result.threads:
        grown.add(_thread(report, thread, digits))
    return grown


def _branches(count: int) -> str:
    return "1 branch" if count == 1 else f"{count} branches"


def _thread(report: Report, thread: Thread, digits: int) -> Text:
    begin = thread.seed.partition("> ")[2]
    body = thread.text.removesuffix("</thread>").strip()
    end = thread.position + len(thread.seed.split()) + len(thread.text.split())
    line = Text.assemble((f"{thread.id:>{digits}}", "bold cyan"), (f" {thread.position}..{end - 1}  ", "dim"))
    line.append(f"{begin} ", "bold")
    if gloss := report.gloss(begin):
        line.append(f"({gloss.short}) ", "dim")
    line.append_text(_coloured(body))
    if thread.finish != "stop":
        line.append(f"  (cut short: {thread.finish})", "yellow")
    return line


def _coloured(text: str) -> Text:
    """Control tokens and verdicts stand out."""
    styles = {HIT: "bold green", MISS: "red"}
    out = Text()
    for i, word in enumerate(text.split(" ")):
        out.append(" " * bool(i))
        out.append(word, styles.get(word, "magenta" if word.startswith("<") and word.endswith(">") else ""))
    return out


def joins_table(report: Report, width: int = 80) -> Table:
    """One column a join, one row a quantity; ``width`` is the window's."""
    joins = report.comparison.joins
    table = join_columns(joins, width)
    for label, show in ROWS.items():
        table.add_row(label, *[show(joined) for joined in joins.values()])
    table.add_section()
    table.add_row("conclusion", *[Text(_conclusion(joined.text)) for joined in joins.values()])
    table.add_row("answer", *[Text(report.answer(joined.text) or "none", "bold") for joined in joins.values()])
    table.add_row("verdict", *[_verdict(report, joined.text) for joined in joins.values()])
    return table


def join_columns(joins: Iterable[str], width: int) -> Table:
    """An empty table with a column for each join."""
    names = list(joins)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", style="dim", width=LABELS)
    each = min(24, max(10, (width - LABELS - 3) // len(names) - 1))
    for how in names:
        table.add_column(TITLES[how], justify="right", width=each, overflow="fold")
    return table


def _agrees(joined: Joined) -> str:
    return "-" if joined.top1_agrees is None else f"{100 * joined.top1_agrees:.0f} %"


def _kl(joined: Joined) -> str:
    kl = joined.kl_to_reprefill
    return "-" if kl is None else "0" if kl == 0 else f"{kl:.4f}" if kl >= 0.0001 else f"{kl:.0e}"


ROWS = {
    "next position": lambda j: f"{j.position}",
    "tokens recomputed": lambda j: f"{j.tokens_recomputed}",
    "tokens taken over": lambda j: f"{j.tokens_reused}",
    "bytes moved": lambda j: f"{j.bytes_moved:,}",
    "keys shifted": lambda j: f"{j.keys_shifted}",
    "ms, taken once": lambda j: f"{1000 * j.seconds:.1f}",
    "KL, nats a token": _kl,
    "same top token": _agrees,
}


def _conclusion(text: str) -> str:
    return text.replace("<eos>", "").strip() or "-"


def _verdict(report: Report, text: str) -> Text:
    verdict = report.verdict(text)
    return Text(verdict.reason, VERDICTS[verdict.correct])


def _no_fork(report: Report, out: Console) -> None:
    verdict = report.verdict(report.comparison.before)
    answer = report.answer(report.comparison.before) or "none"
    out.print()
    out.print(
        Text.assemble(
            "The model did not fork: it answered at once. Nothing was joined.\n",
            ("Answer  ", "dim"),
            (answer, "bold"),
            "  ",
            (verdict.reason, VERDICTS[verdict.correct]),
        )
    )


def cost_table(report: Report, spent: Spent) -> Table:
    """The same problem with and without a fork."""
    result, line = report.comparison, report.sequential
    assert line is not None
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", style="dim", width=LABELS)
    for title in ("critical path", "total tokens", "passes", "ms", "verdict"):
        table.add_column(title, justify="right")
    first = next(iter(result.joins), None)
    name = f"forked, {TITLES[first]}" if first else "adaptive, no fork"
    text = result.joins[first].text if first else result.before
    rows = (
        (name, result.critical_path, result.total_tokens, spent.steps, spent.seconds, text),
        (
            "sequential, part" if report.interrupted else "sequential",
            line.critical_path,
            line.total_tokens,
            line.steps,
            line.seconds,
            line.text,
        ),
    )
    for label, critical, total, steps, seconds, answer in rows:
        table.add_row(label, f"{critical}", f"{total}", f"{steps}", f"{1000 * seconds:.0f}", _verdict(report, answer))
    return table
