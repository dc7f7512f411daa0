"""Ordinary text to token ids, by a tokenizer in which no control token occurs.

That is the wall between text and control: not a switch that a copy may lose, but a vocabulary. What comes out is
looked through once more, so whatever a file may hold, a control id is never what text became.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tokenizers

from .wall import checked

Spec = dict[str, Any]  # what is in a tokenizer.json

NOT_TEXT = "\uffff"  # begins the names of what text must not reach: Unicode will never make it a character


class Encoder:
    """Encodes text. Owns a tokenizer without control tokens; never gives one of their ids.

    control  the ids of the control tokens, by name
    """

    def __init__(self, spec: Spec, control: Mapping[str, int]) -> None:
        plain, unknown = text_only(spec, control)
        self._start = self._later = made(plain)
        if (later := going_on(plain["pre_tokenizer"])) != plain["pre_tokenizer"]:
            self._later = made({**plain, "pre_tokenizer": later})
        self._never = frozenset((*control.values(), unknown))

    def encode(self, text: str, start: bool = True) -> list[int]:
        """Ids of text that begins here, or goes on after a control token (``start=False``).

        Raises ValueError for text that is not Unicode, or that the vocabulary cannot express.
        """
        coder = self._start if start else self._later
        try:
            encoding = coder.encode(checked(text), add_special_tokens=False)
        except ValueError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"this model's tokenizer cannot encode the text: {error}") from error
        ids = list(encoding.ids)
        if not self._never.isdisjoint(ids):
            begin, end = next(at for id, at in zip(ids, encoding.offsets, strict=True) if id in self._never)
            raise ValueError(f"this model has no token for {text[begin:end]!r}")
        return ids


def text_only(spec: Spec, control: Mapping[str, int]) -> tuple[Spec, int | None]:
    """The tokenizer without control tokens, and the id that it gives to what its vocabulary cannot express (None: the
    library refuses that itself).

    Control tokens are no longer searched for, and what the model's vocabulary has of them gets a name that no text
    spells: a Unigram model, or a BPE that looks up whole words, would find "<s>" among its pieces. Every id stays: the
    library numbers tokens anew that are in no model's vocabulary, so all of them are put there. A model without an
    unknown token gets one: it would leave characters out without a word.
    """
    hidden = {name: f"{NOT_TEXT}{id}" for name, id in control.items()}
    model, added = dict(spec["model"]), {token["content"]: token["id"] for token in spec["added_tokens"]}
    if isinstance(model["vocab"], list):  # Unigram: [piece, score], in the order of ids
        pieces = [
            *model["vocab"],
            *([NOT_TEXT, 0.0] for _ in range(len(model["vocab"]), 1 + max(added.values(), default=-1))),
        ]
        for name, id in added.items():
            pieces[id] = [name, pieces[id][1]]
        model["vocab"] = [[hidden.get(piece, piece), score] for piece, score in pieces]
        unknown = model.get("unk_id")
    else:
        model["vocab"] = {hidden.get(token, token): id for token, id in (model["vocab"] | added).items()}
        model["unk_token"] = hidden.get(model["unk_token"], model["unk_token"])
        if model["unk_token"] not in model["vocab"]:
            model["unk_token"] = NOT_TEXT
            model["vocab"][NOT_TEXT] = 1 + max(model["vocab"].values(), default=-1)
        unknown = model["vocab"][model["unk_token"]]
    if "merges" in model:
        inner = len(model["continuing_subword_prefix"] or "")
        model["merges"] = [(a, b) for a, b in model["merges"] if hidden.keys().isdisjoint((a, b, a + b[inner:]))]
    ordinary = [token for token in spec["added_tokens"] if token["content"] not in control]
    without = {"added_tokens": ordinary, "post_processor": None, "truncation": None, "padding": None}
    return {**spec, "model": model, **without}, unknown


def going_on(part: Any) -> Any:
    """How text is cut that goes on: no space is put before it if the file wants one only where all text starts."""
    if isinstance(part, list):
        return [going_on(one) for one in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Metaspace" and part["prepend_scheme"] == "first":
        return {**part, "prepend_scheme": "never"}
    return {key: going_on(value) for key, value in part.items()}


def made(spec: Spec) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(spec))
