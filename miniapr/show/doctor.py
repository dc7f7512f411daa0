"""`miniapr doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from .. import __version__
from ..engine.engine import Engine
from ..model import bundle as bundles
from ..model.bundle import Bundle
from ..ops import available
from .text import console


@dataclass
class Findings:
    """``backends``: how each was built, or why it is missing. ``models``: what each is, or what is wrong.
    ``trial``: whether a few tokens could be decoded on each backend, or the error. ``advice``: what to do.
    """

    python: str
    system: str
    miniapr: str
    packages: dict[str, str]
    threads: dict[str, int]
    backends: dict[str, str]
    models: dict[str, str] = field(default_factory=dict)
    trial: dict[str, str] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)
    usable: bool = False


def examine() -> Findings:
    """Look at everything; nothing that is broken raises."""
    found = Findings(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        miniapr=__version__,
        packages={name: _version(name) for name in ("torch", "tokenizers", "safetensors", "rich", "matplotlib")},
        threads={"cpus": os.cpu_count() or 1, "torch": torch.get_num_threads()},
        backends=available(),
    )
    bundle = _look_at_models(found)
    if bundle:
        _try_backends(found, bundle)
    _advise(found)
    found.usable = bool(bundle) and any(not outcome.startswith("failed") for outcome in found.trial.values())
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _look_at_models(found: Findings) -> Bundle | None:
    """One that loads, if there is one."""
    usable: Bundle | None = None
    folder = bundles.SHIPPED
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir():
            continue
        try:
            bundle = bundles.load(path)
        except Exception as error:
            found.models[path.name] = f"broken: {error}"
            continue
        config = bundle.model.config
        size = bundle.model.parameter_count
        found.models[path.name] = (
            f"{size / 1e6:.2f} M parameters, {config.num_hidden_layers} layers of {config.hidden_size}, "
            f"{config.vocab_size} tokens, context {config.max_position_embeddings}"
        )
        usable = usable or bundle
    return usable


def _try_backends(found: Findings, bundle: Bundle) -> None:
    """A few tokens on each: being importable is not yet working."""
    for name, state in found.backends.items():
        if state.startswith("missing"):
            continue
        try:
            there = bundles.load(bundle.name, device="cuda") if name == "cuda" else bundle
            engine = Engine(there.model, bundle.tokenizer, num_blocks=8, backend=name)
            root = engine.start([0, 1, 2])
            engine.decode([root], max_tokens=8)
            engine.release(root)
            engine.check()
            found.trial[name] = "tried: works"
        except Exception as error:
            found.trial[name] = f"failed: {error}"


def _advise(found: Findings) -> None:
    if found.backends["cpp"].startswith("missing"):
        found.advice.append(
            "The C++ kernels are missing: everything works in plain PyTorch, more slowly. Install a C++17 compiler "
            "(Debian, Ubuntu: apt install g++; macOS: xcode-select --install) and install the package again."
        )
    broken = [name for name, state in found.models.items() if state.startswith("broken")]
    for name in broken:
        found.advice.append(f"The model {name} cannot be read: install the package again.")
    if not found.models:
        found.advice.append(
            "No model ships with this installation: install the package again, or train one "
            "(miniapr train --out FOLDER) and say --model FOLDER."
        )
    for name, outcome in found.trial.items():
        if outcome.startswith("failed"):
            found.advice.append(f"The backend {name} does not work here: try --backend reference.")
    for name, version in found.packages.items():
        if version == "missing":
            found.advice.append(f"The package {name} is missing: pip install {name}.")


def print_findings(found: Findings, as_json: bool) -> None:
    """To the standard output."""
    if as_json:
        print(json.dumps(asdict(found), indent=2))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for label, value in _rows(found):
        bad = value.startswith(("missing", "broken", "failed"))
        table.add_row(label, Text(value, "yellow" if bad else ""))
    out = console()
    out.print(table)
    out.print()
    for number, advice in enumerate(found.advice, start=1):
        out.print(Text(f"{number}. {advice}", "yellow"))
    word, style = ("Usable: try `miniapr compare`.", "bold green") if found.usable else ("Not usable.", "bold red")
    out.print(Text(word, style))


def _rows(found: Findings) -> list[tuple[str, Any]]:
    packages = ", ".join(f"{name} {version}" for name, version in found.packages.items())
    rows = [
        ("miniapr", f"{found.miniapr}, on Python {found.python}, {found.system}"),
        ("packages", packages),
        ("threads", f"torch uses {found.threads['torch']}, of {found.threads['cpus']} CPUs"),
    ]
    for name, state in found.backends.items():
        trial = f" ({found.trial[name]})" if name in found.trial else ""
        rows.append((f"backend {name}", state + trial))
    rows += [(f"model {name}", state) for name, state in found.models.items()] or [("models", "missing")]
    return rows
