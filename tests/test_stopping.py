"""Where text stops, however it is cut into tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from helpers import make_engine, small_model
from hypothesis import given
from hypothesis import strategies as st

from miniapr.engine import operations as op
from miniapr.engine.branch import Limits
from miniapr.engine.engine import Engine
from miniapr.engine.request import Program
from miniapr.engine.sampling import Sampling
from miniapr.engine.stopping import TextStream

WARM = Sampling(temperature=1.0, seed=2)


class Pieces:
    """A vocabulary of byte strings: characters may be split over tokens, and tokens hold several characters."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.pieces[id] for id in ids).decode("utf-8", errors="replace")


def stream(pieces: list[bytes], stops: list[str], keep: bool = False) -> tuple[list[str], TextStream]:
    """What comes out token by token, and the stream at its end."""
    s = TextStream(Pieces(pieces).decode, stops, keep)
    said = [s.push(id) for id in range(len(pieces))]
    return [*said, s.finish()], s


def first_stop(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The text before the stop that is complete first (of two that end together, the longer), said plainly."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            stop = max(ending, key=len)
            return text[: end - len(stop)], stop
    return text, None


texts = st.text(alphabet="ab€é😀 ", max_size=14)
stop_lists = st.lists(st.text(alphabet="ab€ ", min_size=1, max_size=4), max_size=3)


@given(texts, stop_lists, st.lists(st.integers(0, 40), max_size=12), st.booleans())
def test_f44_f45_how_text_is_cut_into_tokens_changes_nothing(
    text: str, stops: list[str], cuts: list[int], keep: bool
) -> None:
    raw = text.encode()
    edges = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    pieces = [raw[a:b] for a, b in itertools.pairwise(edges)]
    said, s = stream(pieces, stops, keep)
    before, stop = first_stop(text, stops)
    assert s.stopped == stop
    assert s.text == before + (stop if keep and stop else "")
    assert "".join(said) == s.text, "streaming equals not streaming"


broken = st.lists(
    st.sampled_from([*range(0x61, 0x64), *"\u20ac\U0001f600\ufffd".encode(), 0xC3, 0xFF]), max_size=24
).map(bytes)


@given(broken, stop_lists, st.lists(st.integers(0, 40), max_size=12))
def test_f44_bytes_that_are_no_characters_are_streamed_as_they_are_said_at_once(
    raw: bytes, stops: list[str], cuts: list[int]
) -> None:
    edges = sorted(cut % (len(raw) + 1) for cut in cuts)  # some pieces are empty
    pieces = [raw[a:b] for a, b in itertools.pairwise([0, *edges, len(raw)])]
    whole = Pieces(pieces).decode(list(range(len(pieces))))
    for wanted, stopping in ((whole, []), (first_stop(whole, stops)[0], stops)):
        said, s = stream(pieces, stopping)
        assert "".join(said) == s.text == wanted


def test_f44_a_run_of_broken_bytes_is_shown_as_it_comes_and_decoded_once() -> None:
    decoded = 0
    pieces = Pieces([b"\xff"] * 1000)

    def decode(ids: Sequence[int]) -> str:
        nonlocal decoded
        decoded += len(ids)
        return pieces.decode(ids)

    s = TextStream(decode)
    said = [s.push(id) for id in range(1000)]
    assert set(said[1:]) == {"\ufffd"} and s.finish() == "\ufffd"
    assert decoded < 8 * 1000


@given(texts, stop_lists)
def test_f44_only_what_may_yet_become_a_stop_is_held_back(text: str, stops: list[str]) -> None:
    s = TextStream(Pieces([c.encode() for c in text]).decode, stops)
    given_out = ""
    for id in range(len(text)):
        given_out += s.push(id)
        if s.stopped:
            break
        held = text[len(given_out) : id + 1]
        assert text.startswith(given_out)
        assert held == "" or any(stop.startswith(held) and stop != held for stop in stops)


def test_f44_an_unfinished_character_waits_and_a_broken_one_comes_out_at_the_end() -> None:
    euro = "€".encode()
    said, s = stream([euro[:1], euro[1:2], euro[2:], b"a"], [])
    assert said == ["", "", "€", "a", ""]
    said, s = stream([b"a", euro[:2]], [])
    assert said[:2] == ["a", ""]
    assert s.text.startswith("a")
    assert len(s.text) > 1, "the tail of an answer is not dropped"


@pytest.mark.parametrize(
    "text, stops, before, stop",
    [
        ("xab", ["ab"], "x", "ab"),
        ("abab", ["ab"], "", "ab"),  # the leftmost one
        ("aab", ["ab"], "a", "ab"),  # after a false start
        ("xabc", ["abc", "b"], "xa", "b"),  # complete first
        ("xab", ["ab", "b"], "x", "ab"),  # complete together: the longer
        ("xa", ["ab"], "xa", None),  # -1 is not an index
        ("", ["a"], "", None),
    ],
)
def test_f45_which_stop_wins(text: str, stops: list[str], before: str, stop: str | None) -> None:
    _, s = stream([c.encode() for c in text], stops)
    assert (s.text, s.stopped) == (before, stop)
    assert (before, stop) == first_stop(text, stops)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        TextStream(str, ["a", ""])


def test_nothing_comes_out_after_the_stop() -> None:
    said, s = stream([b"a", b"|", b"b", b"c"], ["|"])
    assert "".join(said) == "a"
    assert s.push(0) == s.finish() == ""


# In the engine


def said(engine: Engine, n: int = 12) -> tuple[list[int], str]:
    """Without any stop."""
    (done,) = engine.decode([engine.start("abc", WARM)], max_tokens=n)
    return [token.id for token in done.tokens], done.text


@pytest.mark.parametrize("keep", [False, True])
def test_f46_a_stop_string_over_several_tokens_ends_a_branch_and_is_shown_if_asked(keep: bool) -> None:
    ids, text = said(make_engine())
    stop = text[4:7]
    at = text.index(stop)
    engine = make_engine()
    root = engine.start("abc", WARM)
    (done,) = engine.decode([root], stop=["~~", stop], max_tokens=12, keep_stop=keep)
    assert done.finish == "stop"
    assert done.text == text[:at] + (stop if keep else "")
    assert root.history[3:] == ids[: at + 3], "the tokens of the stop string stay in the history"
    streamed = "".join(event.data["text"] for event in engine.events if event.kind == "decoded")
    assert streamed == done.text


def test_f46_a_control_token_ends_a_branch_and_stays_in_its_history() -> None:
    ids, text = said(make_engine())
    for until in (ids[3], text[3]):
        engine = make_engine()
        root = engine.start("abc", WARM)
        (done,) = engine.decode([root], until=[until], max_tokens=12)
        assert [token.id for token in done.tokens] == ids[: ids.index(ids[3]) + 1]
        assert (done.finish, root.history[-1]) == ("stop", ids[3])


def test_an_unknown_control_token_is_refused() -> None:
    engine = make_engine()
    root = engine.start("abc")
    with pytest.raises(ValueError, match="no token"):
        engine.decode([root], until=["<plan>"])
    with pytest.raises(ValueError, match="empty"):
        engine.decode([root], stop=[""])
    engine.decode([root], max_tokens=1)


def test_f47_a_stop_in_one_branch_ends_that_branch_only() -> None:
    engine = make_engine()
    free = make_engine()
    texts = []
    for e in (free, engine):
        root = e.settle(e.start("abc", WARM))
        children = e.fork(root, 3)
        texts.append((e, children))
    plain = free.decode(texts[0][1], max_tokens=8)
    stop = plain[1].text[2:5]
    done = engine.decode(texts[1][1], max_tokens=8, stop=stop)
    for before, after in zip(plain, done, strict=True):
        cut, found = first_stop(before.text, [stop])
        assert after.text == cut
        assert after.finish == ("stop" if found else "length")
    assert done[1].finish == "stop"


def test_f47_a_stop_does_not_match_across_a_fork_or_a_prompt() -> None:
    """The prompt's or the parent's tail and the branch's head together are not a stop."""
    _, text = said(make_engine())
    engine = make_engine()
    root = engine.start("abc", WARM)
    (done,) = engine.decode([root], stop="c" + text[0], max_tokens=2)
    assert done.text == text[:2]
    (child,) = engine.fork(engine.settle(root), 1)
    (plain,) = engine.decode([child], max_tokens=3)
    other = make_engine()
    root = other.start("abc", WARM)
    other.decode([root], max_tokens=2)
    (child,) = other.fork(other.settle(root), 1)
    (done,) = other.decode([child], stop=root.text[-1] + plain.text[0], max_tokens=3)
    assert done.text == plain.text


def test_f46_no_token_at_all_is_a_completion_too() -> None:
    engine = make_engine(small_model())
    root = engine.start("abc")
    (done,) = engine.decode([root], max_tokens=0, stop="x")
    assert (done.tokens, done.text, done.finish) == ((), "", "length")


@given(width=st.integers(1, 9), limit=st.integers(0, 40), seeded=st.booleans())
def test_f48_no_step_decodes_more_than_its_request_has_left(width: int, limit: int, seeded: bool) -> None:
    def program() -> Program:
        root = yield op.Start([1, 2, 3])
        yield op.Settle([root])
        branches = yield op.Fork(root, [[4]] * width if seeded else width)
        done = yield op.Decode(branches, max_tokens=6)
        return [len(one.tokens) for one in done], {one.finish for one in done}

    engine = make_engine(record=False)
    request = engine.submit(program(), Limits(tokens=limit))
    counts, ends = engine.wait(request)
    assert request.cost.decoded == sum(counts) == min(limit, 6 * width) and ends == {"length"}
    assert max(counts) - min(counts) <= 1 and counts == sorted(counts, reverse=True)  # the oldest first
