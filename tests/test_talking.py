"""A chat model is asked in words: Graph-of-Thoughts on any question, a router, headers, and what prompts can put."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import chance
from command_line import Run, parse
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted
from test_methods_players import Talk, talker
from vocabularies import byte_level

from miniapr.methods.budget import Budget
from miniapr.methods.outcome import Outcome
from miniapr.methods.search.graph_of_thoughts import graph_of_thoughts
from miniapr.methods.skeleton_of_thought import skeleton_of_thought
from miniapr.methods.weaves import hogwild
from miniapr.model import checkpoint
from miniapr.model.bundle import Bundle
from miniapr.players import Game, game_of
from miniapr.players.parts import PARTS, Part
from miniapr.players.speech import Speech

END = "<|end|>"
QUESTION = "What does a cat need?"


def lines(*said: str) -> list[str]:
    return [*said, END]


# Graph-of-Thoughts


def thinking(list_of: Callable[[str], list[str]], judged: str = "likely") -> tuple[Scripted, Game]:
    """Divides what ``list_of`` says of the last thing it was asked, answers a part "warm" or "cold" by chance, and puts
    together what it was asked to."""

    def script(words: list[str]) -> str | dict[str, float]:
        begin = len(words) - words[::-1].index("assistant:")
        asked, said = " ".join(words[:begin]).rpartition("user:")[2], words[begin:]
        if "smaller questions" in asked:
            want = ["1.", *list_of(asked)]
        elif "sure, likely or impossible" in asked:
            want = ["This", "answer", "is", *lines("sure" if "An answer: warm" in asked else judged)]
        elif "together" in asked:
            want = ["In", "short,", *lines("all")]
        elif "better" in asked:
            want = lines("warm")
        else:
            return {"warm": 0.5, "cold": 0.5} if not said else END
        return want[len(said)] if len(said) < len(want) else END

    engine, game = talker(script)
    return engine, game


@pytest.fixture
def two_parts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """A list of two, in a vocabulary where a line's end is a word."""
    decode = Talk.decode
    monkeypatch.setattr(Talk, "decode", lambda self, ids: decode(self, ids).replace("<|br|>", "<|br|>\n"))
    return lambda asked: lines("Food?", "<|br|>", "2.", "Warmth?")


def graph(list_of: Callable[[str], list[str]], **options: object) -> tuple[Scripted, Outcome]:
    engine, game = thinking(list_of)
    budget = Budget(1000)
    return engine, engine.play(
        graph_of_thoughts, game.player, budget, QUESTION, **{"judge": "value", "width": 2, **options}
    )


def test_a_question_is_divided_and_its_answers_are_joined(two_parts: Callable[[str], list[str]]) -> None:
    engine, outcome = graph(two_parts)
    assert outcome.answer == "In short, all" and outcome.judge == "value" and not outcome.spent
    joined = [event for event in engine.events if event.kind == "joined" and event.data["how"] == "stitch"]
    assert len(joined) == 1 and joined[0].data["recomputed"] == 0
    (read,) = {text for text in engine.read if "put the answers" in text and text.endswith("In short,")}
    first, second = read.index("one or two sentences: Food?"), read.index("one or two sentences: Warmth?")
    assert first < second < read.index("put the answers")
    parts = [f"{QUESTION} Answer only this part of it, in one or two sentences: {one}" for one in ("Food?", "Warmth?")]
    for part in parts:  # a value is asked of a part by a question that stands alone
        assert any(f"user: {part} An answer:" in text for text in engine.read)


def test_what_is_better_is_kept_and_what_is_not_right_is_improved(two_parts: Callable[[str], list[str]]) -> None:
    for seed in range(6):
        engine, game = thinking(two_parts, "impossible")
        outcome = engine.play(
            graph_of_thoughts, game.player.seeded(seed), Budget(1000), QUESTION, judge="value", width=2, improve=1
        )
        (read, *_) = [text for text in engine.read if "put the answers" in text]
        assert read.count("warm") >= 2, "each part was right, or was improved"
        assert outcome.answer == "warm"  # "all" was impossible, and was improved too


def test_parts_are_divided_again(two_parts: Callable[[str], list[str]]) -> None:
    engine, outcome = graph(two_parts, depth=2)
    assert outcome.answer == "In short, all"
    assert sum(event.kind == "joined" and event.data["how"] == "stitch" for event in engine.events) == 3
    assert any("one short paragraph: Warmth?" in text for text in engine.read), "a part's answer is put together"


def test_as_published_every_thought_is_a_prompt_of_its_own(two_parts: Callable[[str], list[str]]) -> None:
    engine, outcome = graph(two_parts, join="message")
    assert outcome.answer == "In short, all"
    told = [text for text in engine.read if "found about its parts: - " in text]
    assert told and all("smaller questions" not in text for text in told)


@pytest.mark.parametrize("said", [lines("cats"), lines(), lines("no", "list", "1", "2")])
def test_what_is_no_list_is_answered_whole(said: list[str]) -> None:
    _, outcome = graph(lambda asked: said)
    assert outcome.answer in ("warm", "cold")


def test_of_ten_thousand_items_a_few_are_read_and_an_endless_list_is_cut(
    two_parts: Callable[[str], list[str]],
) -> None:
    _, game = thinking(two_parts)
    split = game.player["split"]
    items = "Why?\n" + "\n".join(f"{n}. what {n}?" for n in range(2, 10_000))
    assert [part.asked for part in split.read(QUESTION, items)] == ["Why?", "what 2?", "what 3?"][:PARTS]
    deep: object = QUESTION
    for _ in range(50):
        deep = Part("a?", deep)
    assert split.read(deep, "b?")[0].whole is deep and str(deep).count("a?") == 50
    _, outcome = graph(lambda asked: ["on"] * 2000)
    assert outcome.answer in ("warm", "cold")
    assert max(thought.decoded for thought in outcome.tree) == split.most
    assert outcome.costs.decoded < 100


# Skeleton-of-Thought's router


@pytest.mark.parametrize(
    ("reply", "outlined"), [("Yes.", True), ("well, yes", True), ("No", False), ("yesterday", False), ("", False)]
)
def test_a_question_that_does_not_suit_an_outline_is_answered_in_line(reply: str, outlined: bool) -> None:
    def script(words: list[str]) -> str:
        begin = len(words) - words[::-1].index("assistant:")
        asked, said = " ".join(words[:begin]), words[begin:]
        if "yes or no" in asked:
            want = lines(*reply.split())
        elif "short headings" in asked:
            want = ["1.", *lines("Food")]
        else:
            want = lines("plainly")
        return want[len(said)] if len(said) < len(want) else END

    engine, game = talker(script)
    outcome = engine.play(skeleton_of_thought, game.player, Budget(200), QUESTION, router=1)
    assert (outcome.answer == "plainly") != outlined and (outcome.answer or "").startswith("1. Food") == outlined


# Hogwild!


OTHERS, OWN = "### Work in progress (others)", "<...> ### Work in progress (own)"
ALICE, BOB = "**Alice [1]:** Hi, I'm Alice. Here's how we can", "**Bob [1]:** Hi, I'm Bob."


def hogwild_reads(layout: str, paragraph: bool = False) -> tuple[Scripted, list[str]]:
    """``paragraph``: Bob's first step ends with one; else nobody's does."""

    def script(words: list[str]) -> str:
        me = max((at, name) for name in ("**Alice", "**Bob", "") for at in at_of(words, name))[1]
        if paragraph and words[-1] == "b" and "[1]:**" in words[-6:]:
            return ".|br|"
        return {"**Alice": "a", "**Bob": "b"}.get(me, END)

    def at_of(words: list[str], name: str) -> list[int]:
        return [at for at, word in enumerate(words) if word == name] if name else [-1]

    engine, game = talker(script)
    engine.play(hogwild, game.player, Budget(12), QUESTION, width=2, reserve=0, layout=layout)
    return engine, engine.read


@pytest.mark.parametrize("layout", ["contiguous", "combined"])
def test_headers_stand_before_the_work_of_others_and_before_ones_own(layout: str) -> None:
    engine, read = hogwild_reads(layout)
    past = "### Past steps " * (layout == "combined")
    assert any(text.endswith(f"assistant: {past}{OTHERS} {BOB} b b b b b b {OWN} {ALICE} a a") for text in read)
    woven = [text for text in read if "Hi, I'm" in text]
    assert woven and all(f"{OTHERS} **" in text and f"{OWN} **" in text for text in woven), "whole, from the first word"
    computed = [event for event in engine.events if event.kind == "computed" and event.data["start"] == 0]
    assert len(computed) == len({event.data["span"] for event in computed})


def test_a_step_ends_after_a_sentence_and_moves_before_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = Talk.decode
    monkeypatch.setattr(Talk, "decode", lambda self, ids: decode(self, ids).replace("|br|", "\n\n"))
    _, read = hogwild_reads("combined", paragraph=True)
    done = f"### Past steps {BOB} b ."
    assert any(f"{done} {OTHERS} **Bob [2]:** b b {OWN} {ALICE}" in text for text in read)
    _, game = talker(lambda words: "a")
    assert "\n\n" not in game.player["teammate"].stop  # a blank line alone ends none


def test_where_the_others_are_not_seen_there_is_the_history_alone() -> None:
    _, read = hogwild_reads("interleaved")
    woven = [text for text in read if "Hi, I'm" in text]
    assert woven and all("### Past steps **" in text and "progress" not in text for text in woven)


def test_there_is_no_room_for_headers() -> None:
    engine, game = talker(lambda words: "a")
    outcome = engine.play(hogwild, game.player, Budget(20), "cat " * 930, width=2)
    assert outcome.answer is None and outcome.spent


# Marks


class Llama2(Talk):
    """Its turns end with a mark of another kind."""

    @property
    def ends(self) -> frozenset[int]:
        return frozenset((self.id("</s>"),))


def test_the_mark_that_ends_a_turn_is_no_part_of_an_answer() -> None:
    talk = Llama2()
    game = game_of(Bundle("talker", None, talk, {}, {}))  # type: ignore[arg-type]
    assert game.player["chain"].read(QUESTION, "milk </s>") == "milk"
    state = game.player["teammate"].read(QUESTION, "milk </s>")
    assert state.final and state.answer == "milk"
    assert not game.player["teammate"].read(QUESTION, "</s> is a mark").final
    assert Speech(talk).plain("a <|x|> b </s> ") == "a  b"  # type: ignore[arg-type]


@pytest.mark.parametrize(("said", "value"), [("Likely.", 0.05), ("unlikely", 0.0), ("sure!", 1.0), ("", 0.0)])
def test_a_value_is_one_of_its_words(said: str, value: float) -> None:
    assert talker(lambda words: END)[1].player["value"].read(QUESTION, said) == value


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 120), st.integers(0, 3), st.sampled_from(["stitch", "message"]))
def test_F49_a_graph_of_nonsense_ends_within_its_budget(seed: int, tokens: int, depth: int, join: str) -> None:
    dice = random.Random(seed)
    engine, game = talker(lambda words: dice.choice(["1.", "sure", "cat", "2.", END, "impossible", "###", "yes"]))
    outcome = engine.play(
        graph_of_thoughts, game.player.seeded(seed), Budget(tokens), QUESTION, judge="value", depth=depth, join=join,
        improve=1,
    )  # fmt: skip
    assert outcome.costs.decoded <= tokens and (outcome.answer is None or "<|" not in outcome.answer)


# From the command line, with a model that has learnt nothing

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LOUD = {"bytes": "", "lists": "12.\n a", "ends": "\x00", "sentences": ". \n"}  # \x00: the end of a turn
PROMPTED = (
    "sequential",
    "self-consistency",
    "budget-aware",
    "best-of-n",
    "best-of-n:judge=confidence",
    "deepconf:window=8",
    "deepconf-online:window=8,width=4,more=4",
    "skeleton-of-thought",
    "skeleton-of-thought:router=1",
    "skeleton-joined",
    "tree-of-thoughts",
    "tree-of-thoughts-dfs",
    "graph-of-thoughts",
    "graph-of-thoughts:depth=2,improve=1,width=2",
    "graph-of-thoughts:join=message",
    "mcts",
    "parathinker",
    "group-think",
    "hogwild",
    "hogwild:layout=contiguous,every=8",
    "hogwild:layout=interleaved,every=8",
)


@pytest.fixture(scope="module", params=LOUD)
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of Llama's family, whose weights are chance, with some letters said more than others."""
    folder, inner = tmp_path_factory.mktemp("chat"), byte_level()
    inner.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    inner.save(str(folder / "tokenizer.json"))
    named = {"chat_template": TEMPLATE, "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    model = chance(inner.get_vocab_size(), context=4096)
    ids = [inner.token_to_id("<|im_end|>") if c == "\x00" else inner.encode(c).ids[0] for c in LOUD[request.param]]
    model.lm_head.weight[ids, 0] = 1.5
    checkpoint.save(model, folder)
    return folder


@pytest.mark.parametrize("method", PROMPTED)
def test_a_chat_model_thinks_in_every_way_that_prompts_can_put(
    run: Run, chat: Path, tmp_path: Path, method: str
) -> None:
    page = tmp_path / "run.html"
    said = ("think", method, "--model", chat, "--prompt", QUESTION, "--budget", 150, "--blocks", 3000)
    code, out, err = run(*said, "--json", "--html", page)
    assert (code, err) == (0, "")
    told = parse(out)
    assert told["problem"] == QUESTION and told["correct"] is None
    assert 0 < told["costs"]["decoded"] <= 150
    assert sum(thought["decoded"] for thought in told["tree"]) == told["costs"]["decoded"]
    assert told["answer"] is None or "<|im_end|>" not in told["answer"]
    assert told["judge"] != "exact" and told["options"].get("judge") != "exact"  # there is no verifier of answers
    assert method.partition(":")[0] in page.read_text("utf-8")


def test_what_it_thought_is_shown(run: Run, chat: Path) -> None:
    code, out, err = run("think", "graph-of-thoughts", "--model", chat, "--prompt", QUESTION)
    assert (code, err) == (0, "") and "Decoded" in out and QUESTION in out
