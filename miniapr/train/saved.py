"""A run's checkpoint: one file, of which there is always a whole one, in a folder that is the run's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

CHECKPOINT = "checkpoint.safetensors"
PARTIAL = CHECKPOINT + ".partial"


def claim(folder: Path) -> None:
    """Make ``folder`` if it is not there. Raises ValueError if it cannot be made, or holds anything and no checkpoint:
    then it is somebody else's, such as another model's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = {file.name for file in folder.iterdir()} - {PARTIAL}
    except OSError as error:
        raise ValueError(f"{folder} cannot be a folder for a run: {error.strerror}") from error
    if found and CHECKPOINT not in found:
        raise ValueError(f"{folder} holds {len(found)} other files ({min(found)}, ...) and no run: choose a new folder")


def write(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint and move it into place: a kill or a full disk leaves the old one or the new one. Raises
    OSError with the reason."""
    partial = folder / PARTIAL
    try:
        save_file(tensors, partial, metadata={"state": json.dumps(state)})
        partial.replace(folder / CHECKPOINT)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"the checkpoint cannot be written to {folder}: {error}") from error


class Keeper:
    """Writes checkpoints while a run goes on: one every ``seconds``. One that cannot be written is said, and the run
    goes on from memory: a full disk may have room again, and what is lost if not is no more than was before. (The last
    one, at the end, is the run's own to write, and raises.)"""

    def __init__(self, save: Callable[[Path], None], folder: Path, seconds: float, say: Callable[[str], None]) -> None:
        self.save, self.folder, self.seconds, self.say = save, folder, seconds, say
        self.written = time.perf_counter()

    def __call__(self) -> None:
        """Write one if it is time."""
        if time.perf_counter() - self.written <= self.seconds:
            return
        try:
            self.save(self.folder)
        except OSError as error:
            self.say(f"{error}; going on from memory")
        self.written = time.perf_counter()


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the state in ``folder``, None if there are none. Raises ValueError for a file that is damaged."""
    file = folder / CHECKPOINT
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as handle:
            state: dict[str, Any] = json.loads((handle.metadata() or {})["state"])
            return {name: handle.get_tensor(name) for name in handle.keys()}, state  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise damaged(folder, error) from error


def damaged(folder: Path, error: Exception) -> ValueError:
    """What to say of a checkpoint that cannot be taken up. Nothing is deleted: that is the user's to decide."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(f"{folder / CHECKPOINT} is damaged ({reason}); move it away to start the run anew")


def whole(**parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ``part`` takes apart again: all tensors of all parts, each name behind that of its part and a dot."""
    return {f"{prefix}.{name}": tensor for prefix, tensors in parts.items() for name, tensor in tensors.items()}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix`` and a dot, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def same_options(folder: Path, state: dict[str, Any], config: Any, but: Collection[str] = ()) -> None:
    """Raises ValueError if a run was made with other options than those of ``config``, a dataclass, or its state says
    of none. ``but``: these may differ."""
    try:
        theirs = dict(state["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(folder, error) from error
    if other := difference(theirs, asdict(config), usual(config), but):
        raise ValueError(f"the run in {folder} was made {other}")


def difference(
    theirs: dict[str, Any],
    ours: dict[str, Any],
    usual: Mapping[str, Any] = MappingProxyType({}),
    but: Collection[str] = (),
) -> str | None:
    """What two sets of options first differ in, in words; None: in nothing. An option that came later is none as long
    as it is as ``usual``: its default is what was done before anybody could choose. Else another version made it."""
    theirs, ours = ({k: v for k, v in flat(given).items() if k.split(".")[0] not in but} for given in (theirs, ours))
    for name in {**theirs, **ours}:
        if name not in theirs:
            if name in usual and ours[name] == usual[name]:
                continue
            return f"by a version that had no {name}, this one has {name}={ours[name]}"
        if ours.get(name) != theirs[name]:
            return f"with {name}={theirs[name]}, this one has {name}={ours.get(name)}"
    return None


def usual(options: Any) -> dict[str, Any]:
    """What each option of a dataclass, and of dataclasses in it, is if nobody says otherwise, by its whole name."""

    def within(one: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field in fields(one):
            value = getattr(one, field.name)
            if is_dataclass(value):
                found[field.name] = within(value)
            elif field.default is not MISSING:
                found[field.name] = field.default
            elif field.default_factory is not MISSING:
                found[field.name] = field.default_factory()
        return found

    return flat(within(options))


def flat(options: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Options by their whole names, such as ``roles.teacher.line``, as JSON has them."""
    found: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(options)).items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return found
