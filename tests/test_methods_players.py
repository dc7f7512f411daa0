"""Players: problems put to models in roles, and what their words mean, whatever they wrote."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Script, Scripted, Words

import miniapr
from miniapr.methods.budget import Budget
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.model.bundle import Bundle
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.model.tokenizer import Tokenizer
from miniapr.players import Game, game_of
from miniapr.tasks.countdown import Problem
from miniapr.tasks.states import State
from miniapr.tasks.words import LABELS, LATER, WORDS, build_tokenizer, control

PROBLEM = State((8, 7, 3), 29)
STEP = "b*c"  # what is asked of others is always a step
APART = {"agent": (STEP,), "returned": ("5", "miss"), "point": ("", "1", STEP), "expand": ("", "1", STEP)}


@pytest.fixture(scope="module")
def nonsense() -> Bundle:
    """A model that knows the words of all roles, and not one of the roles."""
    tokenizer = Tokenizer(build_tokenizer(LATER))
    config = ModelConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=512,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Decoder(config).requires_grad_(False)
        for word in (*LABELS, *control(LATER).values()):  # what matters comes often
            model.lm_head.weight[tokenizer.id(word)] *= 4
    return Bundle("nonsense", model, tokenizer, control(LATER), {"ranges": {}})


@pytest.fixture(scope="module")
def game(nonsense: Bundle) -> Game:
    return game_of(nonsense)


def asked(game: Game, bundle: Bundle, role: str, *texts: str) -> str:
    return bundle.tokenizer.decode(game.player[role].ask(PROBLEM, *texts))


def test_a_question_about_a_line_is_put_about_what_its_steps_leave(game: Game, nonsense: Bundle) -> None:
    assert asked(game, nonsense, "chain") == "<bos> <chain> 8 7 3 -> 29 :"
    assert asked(game, nonsense, "value", "b*c 21 8") == "<bos> <value> 21 8 -> 29 :"
    assert asked(game, nonsense, "propose", "b*c 99 99") == "<bos> <propose> 21 8 -> 29 :"  # its steps count alone
    assert asked(game, nonsense, "value", "b*c 21 8 a+b 29 hit b*c a+b <eos>") == "<bos> <value> 29 -> 29 :"


def test_a_line_stands_where_its_steps_lead(game: Game) -> None:
    read = game.player["step"].read
    assert read(PROBLEM, "b*c 21 8").key == (21, 8) and not read(PROBLEM, "b*c").final
    end = read(PROBLEM, "b*c 21 8 a+b 29")
    assert end.final and game.player.check(PROBLEM, end.answer)
    missed = read(PROBLEM, "b*c 21 8 a-b 13")
    assert missed.final and missed.answer == "( 7 * 3 ) - 8" and not game.player.check(PROBLEM, missed.answer)
    assert read(PROBLEM, "a/b 1 1") is None  # 8 / 7 is no step
    assert read(PROBLEM, "21 8") is None and read(PROBLEM, "") is None


def test_a_line_that_has_ended_says_itself_what_it_is_worth(game: Game) -> None:
    step, chain = game.player["step"].read, game.player["chain"].read
    hit, missed = "b*c 21 8 a+b 29 hit b*c a+b <eos>", "b*c 21 8 a-b 13 <eos>"
    assert step(PROBLEM, "b*c 21 8").value is None and not step(PROBLEM, "b*c 21 8").unsaid
    assert step(PROBLEM, "b*c 21 8 a+b").unsaid and step(PROBLEM, "b*c 21 8 a+b 29 hit").unsaid
    assert (step(PROBLEM, hit).value, step(PROBLEM, hit).unsaid) == (1.0, False)
    assert (step(PROBLEM, missed).value, step(PROBLEM, missed).unsaid) == (0.0, False)
    assert (chain(PROBLEM, hit).value, chain(PROBLEM, missed).value) == (1.0, 0.0)
    boast = "b*c 21 8 a-b 13 hit b*c a-b <eos>"  # wrong: it is believed, for nobody verifies it
    assert step(PROBLEM, boast).value == chain(PROBLEM, boast).value == 1.0


SCORED = [
    ("tree-of-thoughts", {}),
    ("tree-of-thoughts", {"generate": "sample"}),
    ("tree-of-thoughts-dfs", {}),
    ("mcts", {}),
    ("mcts", {"evaluate": "value"}),
    ("best-of-n", {"judge": "value"}),
]


@pytest.mark.parametrize(("name", "options"), SCORED)
@pytest.mark.parametrize("seed", range(3))
def test_nobody_asks_what_one_number_is_worth(name: str, options: dict[str, Any], seed: int) -> None:
    """The model saw two numbers and more."""
    bundle = miniapr.load()
    game, budget = game_of(bundle), Budget(400)
    engine = miniapr.Engine(bundle.model, bundle.tokenizer, num_blocks=1000)
    outcome = play(engine, METHODS[name](PROBLEM, game.player.seeded(seed), budget, **options), budget)
    assert outcome is not None and outcome.candidates
    values = [thought.text.split() for thought in outcome.tree if thought.text.startswith("<bos> <value>")]
    assert all(words.index("->") > 3 for words in values)
    assert values or (name, options) in (("mcts", {}), ("best-of-n", {"judge": "value"}))  # these look at ends alone


def test_a_part_is_a_step_of_a_problem_and_returns_the_steps_that_hit(game: Game, nonsense: Bundle) -> None:
    roles, decode = game.player.roles, nonsense.tokenizer.decode
    wrong, part, again = "a/b", "b*c", "b*c"
    (below,) = roles["call"].read(PROBLEM, f"<plan> {wrong} {part} {again} </plan>")
    assert decode(roles["child"].ask(below)) == "<bos> <child> 8 7 3 -> 29 : b*c"
    assert decode(roles["parent"].ask(below)) == "<bos> <parent> 21 8 -> 29 :"
    assert roles["child"].read(below, "21 8 : a+b 29 hit b*c a+b <eos>") == "hit b*c a+b"
    assert roles["parent"].read(below, "<plan> a+b </plan> hit a+b <join> a+b <eos>") == "hit b*c a+b"
    assert roles["parent"].read(below, "<plan> a-b </plan> miss <join> miss <eos>") == "miss"
    told = roles["call"].ask(PROBLEM, "<plan> b*c </plan>", "hit b*c a+b")
    assert decode(told) == "<plan> b*c </plan> hit b*c a+b <join>"  # as it was trained: the call stays


def test_proposals_are_steps_with_what_they_leave(game: Game, nonsense: Bundle) -> None:
    steps = game.player["propose"].read(PROBLEM, "b*c 21 8 a-b 3 1 <eos>")
    assert [nonsense.tokenizer.decode(step) for step in steps] == ["b*c 21 8", "a-b 3 1"]
    assert game.player["propose"].read(PROBLEM, "29 : hit") == []


@given(st.lists(st.sampled_from([*LABELS, *WORDS, *control(LATER).values(), "0", "7", "400"]), max_size=30))
def test_F49_reading_never_fails(game: Game, nonsense: Bundle, words: list[str]) -> None:
    text = " ".join(words)
    roles = game.player.roles
    for name, role in roles.items():
        if name != "child":  # who is asked a part of a problem
            role.read(PROBLEM, text)
            role.ask(PROBLEM, *{"value": (text,), "propose": (text,), "call": (text,), **APART}.get(name, ()))
    for part in roles["call"].read(PROBLEM, text):
        assert [roles[name].ask(part) and str(roles[name].read(part, text)) for name in ("parent", "child")]


@settings(max_examples=12)
@given(st.sampled_from(sorted(METHODS)), st.integers(0, 99))
def test_every_method_that_it_plays_survives_a_model_that_knows_nothing(
    game: Game, nonsense: Bundle, name: str, seed: int
) -> None:
    engine = miniapr.Engine(nonsense.model, nonsense.tokenizer, num_blocks=400, record=False)
    budget = Budget(120)
    try:
        program = METHODS[name](PROBLEM, game.player.seeded(seed), budget)
    except ValueError as error:
        assert "does not play" in str(error)
        return
    outcome = play(engine, program, budget)
    assert outcome is not None and outcome.costs.decoded <= 120
    engine.kv.flush()
    assert engine.pool.free == len(engine.pool)


def test_the_shipped_model_is_asked_as_it_was_trained() -> None:
    bundle = miniapr.load()
    game = game_of(bundle)
    problem = game.draw(random.Random(0), None) if game.draw else None
    assert isinstance(problem, State) and game.show(problem).count("->") == 1
    text = bundle.tokenizer.decode(game.player["adaptive"].ask(game.put(Problem((3, 7, 8), 29))))
    assert text == "<bos> <adaptive> 8 7 3 -> 29 :"
    assert game.player.answer(problem, "nonsense") is None
    with pytest.raises(ValueError, match="does not play organizer"):
        game.player["organizer"]


class Talk(Words):
    """Words, and the turns of a conversation."""

    template = "words"

    @property
    def ends(self) -> frozenset[int]:
        return frozenset((self.id("<|end|>"),))

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return self.encode(" ".join(f"{m['role']}: {m['content']} <|end|>" for m in messages) + " assistant:")

    def turn(self, text: str) -> list[int]:
        return self.encode(f"<|end|> user: {text} <|end|> assistant:")


def talker(script: Script) -> tuple[Scripted, Game]:
    engine = Scripted(script)
    engine.words = engine.tokenizer = Talk()  # type: ignore[assignment]
    return engine, game_of(Bundle("talker", None, engine.words, {}, {}))  # type: ignore[arg-type]


def test_a_chat_model_is_asked_in_words() -> None:
    def script(words: list[str]) -> str:
        said = words[len(words) - list(reversed(words)).index("assistant:") :]
        asked = " ".join(words[: len(words) - len(said)])
        if "outline of the answer:" in asked and "short headings" in asked:
            return ["Food", "2.", "Warmth", "<|end|>"][len(said) - 1]
        return "<|end|>" if "so" in said else "so"

    engine, game = talker(script)
    engine.words.encode("1.")
    outcome = engine.play(METHODS["skeleton-of-thought"], game.player, Budget(400), "What does a cat need?", width=4)
    assert outcome.answer == "1. Food 2. Warmth so" and len(outcome.tree) == 2  # in one line, so it is one point


@settings(max_examples=12)
@given(st.sampled_from(sorted(METHODS)), st.integers(0, 10**6))
def test_a_chat_model_may_say_anything(name: str, seed: int) -> None:
    dice = random.Random(seed)
    engine, game = talker(lambda words: dice.choice(["1.", "sure", "cat", ".", "!", "<|end|>", "2", "impossible"]))
    try:
        METHODS[name]("What?", game.player, Budget(0))
    except ValueError as error:
        assert "does not play" in str(error)
        return
    outcome = engine.play(METHODS[name], game.player.seeded(seed), Budget(100), "What does a cat need?")
    assert outcome.answer is None or "<|" not in outcome.answer


def test_a_model_that_says_nothing_of_itself_has_no_player(nonsense: Bundle) -> None:
    mute = Bundle("mute", nonsense.model, nonsense.tokenizer, {}, {})
    with pytest.raises(ValueError, match="no player is known for mute"):
        game_of(mute)
