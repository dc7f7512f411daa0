"""The commands: compare, methods, think, race, lab, play, learn, doctor, train, evaluate, serve."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from .interrupt import INTERRUPTED
from .plain import is_text, plain


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other error of the program."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, plain(f"miniapr: error: {message} (see {self.prog} --help)\n"))


def parser_for(command: str | None) -> argparse.ArgumentParser:
    """The whole parser; options that are slow to look up are only there if ``command`` has them."""
    from . import __version__

    parser = Parser("miniapr", description="A small engine for adaptive parallel reasoning.")
    parser.add_argument("--version", action="version", version=f"miniapr {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_compare(commands.add_parser("compare", help="fork, think in branches, join in four ways, side by side"))
    doctor = commands.add_parser("doctor", help="what is installed, what is missing, and what to do about it")
    doctor.add_argument("--json", action="store_true", help="as one JSON object")
    models = commands.add_parser("models", help="the models known by name, and which of them are here")
    models.add_argument("--json", action="store_true", help="as one JSON list")
    train = commands.add_parser("train", help="train a model: on demonstrations, or by reinforcement")
    if command == "train":
        add_train(train.add_subparsers(dest="how", metavar="HOW", required=True))
    learn = commands.add_parser("learn", help="exercises that check themselves: chapters, progress, hints")
    if command == "learn":
        from .learn.command import add_arguments as add_learn_arguments

        add_learn_arguments(learn)
    serve = commands.add_parser("serve", help="an OpenAI-compatible server, with parallel reasoning")
    if command == "serve":
        from .serve.command import add_arguments as add_serve_arguments

        add_serve_arguments(serve)
    sides = commands.add_parser("sides", help="the same thoughts in the engine and through a server, phase by phase")
    if command == "sides":
        from .show.sides_command import add_arguments as add_sides_arguments

        add_sides_arguments(sides)
    methods = commands.add_parser("methods", help="the published ways of thinking in parallel, two lines each")
    methods.add_argument("name", nargs="?", help="say all of this one")
    methods.add_argument("--json", action="store_true", help="as one JSON list")
    methods.add_argument("--file", type=Path, metavar="FILE.py", help="methods of your own as well; it is run")
    think = commands.add_parser("think", help="one of them on one problem: its tree, its answer, what it cost")
    if command == "think":
        from .show.think import add_arguments as add_think_arguments

        add_think_arguments(think)
    race = commands.add_parser("race", help="all of them on the same problems, within the same budget")
    if command == "race":
        from .show.race import add_arguments as add_race_arguments

        add_race_arguments(race)
    lab = commands.add_parser("lab", help="experiments: each from nothing to a table, a plot and a paragraph")
    if command == "lab":
        from .lab.command import add_arguments as add_lab_arguments

        add_lab_arguments(lab)
    play = commands.add_parser("play", help="drive the engine in the browser: fork, decode, join, undo, and levels")
    play.add_argument("--model", default="countdown", help="name of a shipped model, or a folder")
    play.add_argument("--prompt", help="what free play begins with (default: a small Countdown problem with a plan)")
    play.add_argument("--port", type=int, default=0, help="0: any that is free")
    play.add_argument("--no-browser", action="store_true", help="only print the address")
    evaluate = commands.add_parser("evaluate", help="held-out figures of every role, as JSON")
    evaluate.add_argument("model", nargs="?", default="countdown", help="name of a shipped model, or a folder")
    evaluate.add_argument("--pairs", type=int, default=500, help="held-out (numbers, target) pairs")
    evaluate.add_argument("--sets", type=int, default=300, help="problems with held-out number sets")
    evaluate.add_argument("--seed", type=int, default=0)
    return parser


def add_train(ways: Any) -> None:
    """`miniapr train sft`, `miniapr train rl` and `miniapr train collect`."""
    from .rl import collect
    from .show import reinforce
    from .train import command

    command.add_arguments(ways.add_parser("sft", help="on demonstrations by an exact solver (also without `sft`)"))
    reinforce.add_arguments(ways.add_parser("rl", help="by reinforcement: what it writes is paid by a reward"))
    collect.add_arguments(ways.add_parser("collect", help="its own right answers, as demonstrations for `sft`"))


def add_compare(parser: argparse.ArgumentParser) -> None:
    """The options of `miniapr compare`."""
    problem = parser.add_argument_group("problem")
    problem.add_argument("--numbers", type=int, nargs="+", metavar="N", help="2 to 4 numbers, each used once")
    problem.add_argument("--target", type=int, metavar="T", help="what to make of them")
    problem.add_argument("--random", action="store_true", help="draw a problem, from --seed")
    problem.add_argument("--prompt", help="what to think about, for a language model")
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="countdown", help="a name that `miniapr models` lists, a folder, a .gguf")
    model.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of the weights")
    model.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    model.add_argument("--top-k", type=int, default=0, help="0: all")
    model.add_argument("--top-p", type=float, default=1.0)
    model.add_argument("--min-p", type=float, default=0.0)
    model.add_argument("--seed", type=int, default=0, help="of sampling and of --random")
    engine = parser.add_argument_group("engine")
    engine.add_argument("--backend", choices=("auto", "reference", "cpp"), default="auto")
    engine.add_argument("--width", type=int, help="how many branches a fork may have (64; with --prompt 8)")
    engine.add_argument(
        "--max-tokens", type=int, help="of each stretch of decoding, 16 such in all (1000; with --prompt 128)"
    )
    engine.add_argument("--blocks", type=int, default=256, help="blocks in the pool")
    engine.add_argument("--block-size", type=int, default=16, help="tokens in a block")
    engine.add_argument("--threads", type=int, help="CPU threads")
    remote = parser.add_argument_group("through a server (for joins that need only text)")
    remote.add_argument("--engine", metavar="URL", help="any OpenAI-compatible one, such as http://127.0.0.1:8000/v1")
    remote.add_argument("--join", default="reprefill", help="how the branches become one again")
    remote.add_argument("--tokenizer", metavar="MODEL", help="whose tokenizer is the server's (default: --model)")
    remote.add_argument("--template", default="chatml", help="of a chat model whose tokenizer is not here")
    remote.add_argument("--concurrency", type=int, default=16, help="completions at the same time")
    remote.add_argument("--timeout", type=float, default=120.0, help="seconds without an answer")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    output.add_argument("--trace", type=Path, metavar="FILE", help="write all events, as JSON: what the stepper draws")
    output.add_argument(
        "--html", type=Path, metavar="FILE.html", help="a page to step through: stitch beside re-prefill"
    )
    output.add_argument("--plot", type=Path, metavar="FILE.png", help="draw who decoded when, and the pool")
    output.add_argument("--step", action="store_true", help="walk through it, one operation at a time")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0, 1 (failed), 2 (bad input), 130 (Ctrl-C)."""
    words = list(sys.argv[1:] if argv is None else argv)
    for word in words:
        if not is_text(word):
            return _complain(ValueError(f"the argument {word!r} is no text in this terminal's encoding"), 2)
    if words[:1] == ["train"] and words[1:2] not in (["sft"], ["rl"], ["collect"], ["-h"], ["--help"]):
        words.insert(1, "sft")  # as it was called when there was nothing else
    args = parser_for(words[0] if words else None).parse_args(words)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning  # type: ignore[assignment]
            return COMMANDS[args.command](args)
    except ValueError as error:
        return _complain(error, 2)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ImportError, RuntimeError, MemoryError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain(RuntimeError("interrupted"), INTERRUPTED)


def _complain(error: Exception, code: int) -> int:
    text = plain(" ".join(str(error).split())) or type(error).__name__
    print(f"miniapr: error: {text}", file=sys.stderr)
    return code


def _say_warning(message: Warning | str, *_: object) -> None:
    print(plain(f"miniapr: note: {message}"), file=sys.stderr)


def _compare(args: argparse.Namespace) -> int:
    from .show.command import compare

    if args.width is None:
        args.width = 8 if args.prompt else 64
    if args.max_tokens is None:
        args.max_tokens = 128 if args.prompt else 1000
    return compare(args)


def _doctor(args: argparse.Namespace) -> int:
    from .show.doctor import examine, print_findings

    findings = examine()
    print_findings(findings, args.json)
    return 0 if findings.usable else 1


def _models(args: argparse.Namespace) -> int:
    from .show.models import print_models

    print_models(args.json)
    return 0


def _train(args: argparse.Namespace) -> int:
    from .rl import collect
    from .show import reinforce
    from .train import command

    if args.how != "sft":
        return {"rl": reinforce, "collect": collect}[args.how].run(args)
    command.run(args)
    return 0


def _methods(args: argparse.Namespace) -> int:
    from .show.methods import print_methods
    from .show.setting import known_methods

    print_methods(args.json, args.name, known_methods(args.file))
    return 0


def _think(args: argparse.Namespace) -> int:
    from .show.think import think

    return think(args)


def _race(args: argparse.Namespace) -> int:
    from .show.race import run

    return run(args)


def _lab(args: argparse.Namespace) -> int:
    from .lab.command import run

    return run(args)


def _play(args: argparse.Namespace) -> int:
    if not 0 <= args.port < 65536:
        raise ValueError(f"--port must be in 0..65535, is {args.port}")
    from .model.bundle import load
    from .stepper.serve import serve

    serve(load(args.model), args.prompt, args.port, browse=not args.no_browser)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    import json

    from .examine.figures import figures
    from .model.bundle import SHIPPED
    from .tasks.task import Split

    shipped = SHIPPED / args.model
    folder = shipped if shipped.is_dir() else Path(args.model)
    sizes: dict[Split, int] = {"pairs": args.pairs, "sets": args.sets}
    report = {"seed": args.seed} | {split: figures(folder, count, split, args.seed) for split, count in sizes.items()}
    print(json.dumps(report, indent=2))
    return 0


def _learn(args: argparse.Namespace) -> int:
    from .learn.command import run

    return run(args)


def _serve(args: argparse.Namespace) -> int:
    from .serve.command import run

    return run(args)


def _sides(args: argparse.Namespace) -> int:
    from .show.sides_command import run

    return run(args)


COMMANDS = {
    "compare": _compare,
    "doctor": _doctor,
    "models": _models,
    "train": _train,
    "serve": _serve,
    "sides": _sides,
    "methods": _methods,
    "think": _think,
    "race": _race,
    "lab": _lab,
    "play": _play,
    "evaluate": _evaluate,
    "learn": _learn,
}
