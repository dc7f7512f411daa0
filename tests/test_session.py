"""The live session: whatever is said to it, it does as a whole or not at all, and all of it can be undone."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import Letters, distance, make_engine, small_model
from hypothesis import event, given
from hypothesis import strategies as st

import miniapr
from miniapr.engine.engine import Engine
from miniapr.methods.budget import Budget
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.stepper.commands import SLOT
from miniapr.stepper.level import figure
from miniapr.stepper.levels import LEVELS
from miniapr.stepper.play import LONGEST, Play
from miniapr.stepper.session import COMMANDS, Session
from miniapr.stepper.tree import LIMITS
from miniapr.tasks import Problem, extract_answer, prompt_text
from miniapr.tasks.states import State


@pytest.fixture(scope="module")
def bundle() -> miniapr.Bundle:
    return miniapr.load()


def small(**options: Any) -> Session:
    return Session(make_engine(reuse_prefixes=False, **{"num_blocks": 300, **options}), [1, 2, 3, 4])


def computed(engine: Engine) -> int:
    return sum(e.data["stop"] - e.data["start"] for e in engine.events if e.kind == "computed")


def seen(session: Session) -> object:
    """Everything of a state that can be told from outside."""
    alive = session.root.request.alive
    texts = [(branch.id, branch.text, branch.position, branch.critical) for branch in alive]
    cost = {name: n for name, n in vars(session.cost).items() if name != "seconds"}
    return figure(session), texts, session.focus, session.history, session.blocks, cost


def drawn(session: Session) -> object:
    """The branches and the pool as one who knows nothing but the trace's events must think they are."""
    branches: dict[int, list[Any]] = {}
    refs: dict[str, int] = {}
    (run,) = session.trace.runs
    for told in run["events"]:
        kind, data, branch = told["kind"], told["data"], told["branch"]
        if kind == "sealed" and branch not in branches:
            continue  # it has left a weave that goes on
        if kind in ("started", "cached", "sealed", "joined"):
            branches[branch] = [data["span"], data["view"], data["tokens"][:]]
        elif kind == "forked":
            branches |= {c["branch"]: [c["span"], c["view"], c["tokens"][:]] for c in data["children"]}
        elif kind == "woven":
            members = [member for member in data["members"] if member["branch"] in branches]
            branches |= {m["branch"]: [m["span"], m["view"], m["tokens"][:]] for m in members}
        elif kind == "extended":
            branches[branch][2] += data["tokens"]
        elif kind == "decoded":
            branches[branch][2].append(data["token"])
        elif kind in ("merged", "released", "aborted"):
            del branches[branch]
        elif kind == "pool":
            refs |= data["refs"]
    return branches, {block: n for block, n in refs.items() if n}


def real(session: Session) -> object:
    """The same, by the engine itself."""
    engine = session.engine
    refs = engine.pool.refs - engine.kv.kept_refs
    branches = {
        b.id: [b.span.id, [[p.span.id, p.start, p.stop, p.shift] for p in b.view], b.span.tokens]
        for b in session.root.request.alive
    }
    return branches, {str(block): int(n) for block, n in enumerate(refs) if n}


# The whole of it

number = st.integers(0, 5).map(str)
then = st.sampled_from(("", " then a", " then xyz"))
sensible = st.one_of(
    st.builds("fork {}".format, st.integers(1, 3)),
    st.sampled_from(
        ("fork a | bc", "fork .|z|ab", "spawn a | bc", "weave shared a | bc", "weave contiguous 2", "weave a|b")
    ),
    st.builds("decode {}".format, st.integers(1, 4)),
    st.builds("branch {}".format, number),
    st.builds("join {}{}".format, st.sampled_from(("stitch", "contiguous", "copied", "reprefill", "message")), then),
    st.sampled_from(("cancel a", "cancel e", "cancel x")),
    st.builds("join select {}".format, number),
    st.builds("drop {}".format, number),
    st.builds("write {}".format, st.sampled_from(("a", "hello"))),
)
travel = st.sampled_from(("undo", "undo 2", "undo all", "redo", "redo all", "help"))
unfinished = st.builds("{} {}".format, st.sampled_from(list(COMMANDS)), st.text())
nonsense = st.one_of(st.text(max_size=12), unfinished)
joins = st.sampled_from(("join stitch then a", "join contiguous then b", "join copied then c", "join reprefill"))
forks = st.sampled_from(("fork 2", "fork 3", "weave shared 2", "weave a | bc | d", "spawn a | b"))
figures = st.one_of(  # whole figures too, so that most sessions get as far as going back over a join
    st.tuples(forks, st.sampled_from(("decode 2", "decode 3")), joins, travel),
    st.tuples(sensible, sensible, sensible),
    st.tuples(travel, sensible),
    st.tuples(nonsense),
)
lines = st.lists(figures, min_size=2, max_size=6).map(lambda some: [line for figure in some for line in figure])


@given(lines, st.sampled_from((1, 3, 16)))
def test_any_commands_do_what_they_say_and_can_all_be_undone(said: list[str], size: int) -> None:
    session = small(block_size=size, num_blocks=900 // size)
    engine, states = session.engine, {(): seen(session)}
    for line in said:
        before, work = seen(session), computed(engine)
        try:
            session.do(line)
            event(line.split()[0] if line.split() else "")
        except ValueError as error:
            assert str(error)
            assert seen(session) == before, line
        engine.check()
        assert drawn(session) == real(session), line
        if line.split()[:1] in (["undo"], ["redo"], ["help"]):
            assert computed(engine) == work  # going back costs nothing
        path = (*session.history,)
        assert len(path) == len(session.history)
        if path in states:
            old, new = states[path], seen(session)
            assert without_names(old) == without_names(new), f"{path} was not the same the second time"
        states[path] = seen(session)
    for back in range(len(session.history), -1, -1):  # time travel through all that led here
        assert seen(session) == states[tuple(session.history)]
        if back:
            work = computed(engine)
            session.undo()
            assert computed(engine) == work
            engine.check()
    used = len(engine.pool) - engine.pool.free
    assert session.blocks <= used
    session.close()
    session.close()
    assert engine.pool.free == len(engine.pool) and not engine.kv.kept_refs.any()


def without_names(state: Any) -> object:
    """A state without the numbers of its branches, which are never given twice."""
    figure, texts, _, history, blocks, cost = state
    return figure, [text[1:] for text in texts], history, blocks, cost


@given(st.lists(st.integers(0, 100), max_size=8))
def test_every_offer_can_be_taken(choices: list[int]) -> None:
    session = small()
    session.control = None
    for choice in choices:
        offered = [line for line in session.offers if not line.startswith("branch") or choice % 3]
        line = offered[choice % len(offered)]
        if line.startswith("join") and "select" not in line:
            line += " then a"
        if line.startswith("weave"):
            line = "weave shared 2"  # the context has no room for slots
        if line == "decode":
            continue  # a hundred tokens each time: the context is 400
        if line.startswith("fork") and session.leaves[0].depth >= LIMITS.depth:
            continue
        session.do(line)
        event(line.split()[0])
    session.close()


@pytest.mark.parametrize("how", ["stitch", "contiguous", "copied", "reprefill"])
def test_after_undo_the_same_commands_say_the_same(how: str) -> None:
    session = small()
    session.play("fork 3", "decode 4", "branch 2", "decode 2", "branch 0", f"join {how} then a", "decode 6")
    first, text = seen(session), session.root.text
    session.undo(2)
    session.play(f"join {how} then a", "decode 6")
    assert seen(session) == first and session.root.text == text
    session.do("undo all")
    session.do("redo all")
    assert seen(session) == first
    # The oracle: a session that never went back says the same.
    straight = small()
    straight.play("fork 3", "decode 4", "branch 2", "decode 2", "branch 0", f"join {how} then a", "decode 6")
    assert straight.root.text == text
    session.engine.settle(session.root)
    straight.engine.settle(straight.root)
    # What was undone and can no longer be redone holds nothing.
    session.do("undo")
    session.do("write a")
    straight.do("undo")
    straight.do("write a")
    assert session.engine.pool.free == straight.engine.pool.free
    assert distance(session.root.logits, straight.root.logits) < 1e-12


def test_what_was_undone_does_not_count() -> None:
    session = small()
    session.play("fork 2", "decode 3")
    cost = vars(session.cost) | {"seconds": 0}
    session.play("join reprefill then a", "decode 5")
    assert session.cost.recomputed > 0
    session.undo(2)
    assert vars(session.cost) | {"seconds": 0} == cost
    assert session.root.request.cost.recomputed > 0  # the engine has done it all the same


def test_a_full_pool_forgets_the_past_first_and_undo_still_works() -> None:
    session = small(num_blocks=14, block_size=2)
    session.play("fork 2", "decode 4")
    texts = [branch.text for branch in session.leaves]
    session.do("decode 4")
    session.do("undo")
    assert [branch.text for branch in session.leaves] == texts
    session.do("decode 3")
    with pytest.raises(ValueError, match="does not fit"):
        session.do("decode 40")
    session.engine.check()
    session.do("undo all")
    assert session.history == [] and session.root.text == ""
    session.do("decode 2")
    session.close()
    assert session.engine.pool.free == 14


# What is said

MISTAKES = {
    "": "no command is called ''",
    "frok 3": "`fork`?",
    "xyzzy": "`help` lists them",
    "fork": "for example|For example",
    "fork 0": "1 to 16",
    "fork 17": "1 to 16",
    "fork -1": "whole number",
    "fork a |": "both sides",
    "fork 9999999999": "whole number",
    "decode x": "whole number",
    "decode ٣": "whole number",
    "decode 1.5": "whole number",
    "branch": "whole number",
    "branch 7": "there are 0",
    "join": "join how",
    "join stich": "not 'stich'",
    "join stitch": "`fork 3` first",
    "join stitch 0": "is the root",
    "join select 9": "no branch 9",
    "drop 0": "is the root",
    "weave": "weave into how many",
    "weave 0": "1 to 16",
    "spawn": "spawn into how many",
    "spawn 2": "0 of 2 children have a question",
    "spawn a |": "both sides",
    "cancel": "waits for one word",
    "cancel ab": "waits for one word",
    "write": "write what",
    "undo": "nothing to undo",
    "redo": "nothing to redo",
    "undo x": "whole number",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes_are_told_and_change_nothing(line: str) -> None:
    session = small()
    before = seen(session)
    with pytest.raises(ValueError, match=MISTAKES[line]):
        session.do(line)
    assert seen(session) == before
    session.engine.check()


def test_where_it_is_not_clear_which_branch_is_meant() -> None:
    session = small().play("fork 2", "branch 1", "fork 2", "branch 2", "fork 2", "branch 0")
    with pytest.raises(ValueError, match="say `branch 1` first, of 1 or 2"):
        session.do("join stitch then a")
    with pytest.raises(ValueError, match="which branch is to fork"):
        session.do("fork 2")
    with pytest.raises(ValueError, match="has forked"):
        session.do("join stitch 1 2 then a")
    with pytest.raises(ValueError, match="needs words to go on from"):
        session.play("branch 1").do("join stitch")
    with pytest.raises(ValueError, match="select goes on from one branch: `join select 3`"):
        session.do("join select")
    session.play("join stitch then a", "branch 2", "join copied 5 6 then b", "branch 0", "join reprefill then c")
    assert session.leaves == [session.root]


def test_a_prompt_that_cannot_be_read_leaves_the_engine_as_it_was() -> None:
    engine = make_engine()
    for prompt in ([], [99], [1] * 1000):
        with pytest.raises(ValueError):
            Session(engine, prompt)
    assert engine.scheduler.requests == {} and engine.pool.free == len(engine.pool)
    with pytest.raises(ValueError, match="record=True"):
        Session(Engine(small_model(), Letters(), record=False), [1])  # type: ignore[arg-type]


def test_an_interrupted_command_has_not_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    session = small().play("fork 2")
    before, step, steps = seen(session), session.engine.advance, []

    def third() -> Any:
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return step()

    monkeypatch.setattr(session.engine, "advance", third)
    with pytest.raises(KeyboardInterrupt):
        session.do("decode 5")
    monkeypatch.undo()
    assert seen(session) == before
    session.engine.check()
    assert session.play("decode 5").history == ["fork 2", "decode 5"]


def test_the_shipped_model_thinks_it_through(bundle: miniapr.Bundle) -> None:
    with Session(bundle) as session:
        session.play("fork 3", "decode", "join stitch", "decode")
        assert extract_answer(session.root.text, Problem((8, 7, 3), 29)) == "( 7 * 3 ) + 8"
        assert session.cost.recomputed == session.cost.bytes_moved == 0
        session.undo(2)
        session.play("join reprefill", "decode")
        assert extract_answer(session.root.text, Problem((8, 7, 3), 29)) == "( 7 * 3 ) + 8"
        assert session.cost.recomputed > 0


def test_by_hand_every_last_token_is_computed_and_that_is_all_that_differs(bundle: miniapr.Bundle) -> None:
    """As docs/methods.md says it: the counts of forward passes there."""
    engine, problem, game = Engine(bundle.model, bundle.tokenizer), Problem((8, 7, 3), 29), game_of(bundle)
    program = METHODS["multiverse"](State((8, 7, 3), 29), game.player, Budget())
    outcome = play(engine, program, Budget())
    with Session(bundle, bundle.tokenizer.ids(prompt_text(problem).split())) as session:
        session.play("decode", "fork 8", "decode", "join stitch", "decode")
        assert session.critical == outcome.costs.critical
        assert (outcome.costs.passes, session.cost.steps) == (40, 41)
    with Session(bundle, bundle.tokenizer.ids(prompt_text(problem, "sequential").split())) as line:
        line.play("decode", "decode")
        assert (line.cost.decoded, line.cost.steps) == (104, 105)


# Workers, children, early cancel


@pytest.fixture(scope="module")
def roles() -> miniapr.Bundle:
    return miniapr.load("countdown")


def asked(roles: miniapr.Bundle, role: str, problem: str = "8 7 3 -> 29") -> Session:
    return Session(roles, roles.tokenizer.ids(f"<bos> <{role}> {problem} :".split()))


def test_in_a_weave_each_sees_what_the_others_write_and_undo_takes_it_back(roles: miniapr.Bundle) -> None:
    with asked(roles, "worker") as session:
        session.play("weave 2", "decode 8")
        texts, picture = [leaf.text for leaf in session.leaves], figure(session)
        positions = [leaf.born_at for leaf in session.leaves]
        assert positions[1] - positions[0] == SLOT
        session.do("undo all")
        session.play("fork 1 | 2", "decode 8")
        assert figure(session) != picture
        session.do("undo all")
        session.play("weave 2", "decode 3", "decode 5")
        assert [leaf.text for leaf in session.leaves] == texts and figure(session) == picture
        first = session.leaves[0].id
        session.play(f"drop {first}", "undo")
        assert [leaf.text for leaf in session.leaves] == texts
        with pytest.raises(ValueError, match="is in a weave"):
            session.play(f"branch {first}", "fork 2")


def test_a_child_sees_its_question_alone_and_the_parent_hears_its_answer(roles: miniapr.Bundle) -> None:
    with asked(roles, "parent", "9 5 4 -> 41") as session:
        session.play("decode", "spawn 8", "decode")
        children = [leaf.text for leaf in session.leaves]
        assert all(text.startswith("<bos> <child> 9 5 4 -> 41 : ") for text in children)
        assert session.leaves[0].span.view.tokens[:1] == [roles.tokenizer.id("<bos>")]
        assert "join stitch" not in session.offers and "join message" in session.offers
        session.do("join message")
        heard = session.root.text.split("</plan> ")[1].split(" <join>")[0]
        assert heard == "miss miss miss miss miss miss hit a*b a-b hit a*c a+b"
        assert session.play("decode").root.text.endswith(" <eos>")


def test_the_first_that_hits_ends_the_others_in_the_same_step(roles: miniapr.Bundle) -> None:
    with asked(roles, "adaptive", "9 5 4 -> 41") as session:
        said = session.play("decode", "fork 8").do("cancel")
        (left,) = session.leaves
        assert left.text.split()[-1] == "hit" and f"Branch {left.id} said `hit`" in said
        early, held = session.cost.decoded, session.blocks
        session.play("undo", "decode")
        assert session.cost.decoded > early and session.blocks > held


def test_whoever_is_beside_the_first_goes_and_nobody_else() -> None:
    session = small().play("fork 2", "branch 1", "fork 2", "branch 0")
    leaf = session.branch(3)
    assert [branch.id for branch in session.beside(leaf)] == [2, 4]
    session.do("branch 1")
    assert [branch.id for branch in session.beside(leaf)] == [4]


def test_text_cannot_become_a_control_token(bundle: miniapr.Bundle) -> None:
    with Session(bundle) as session, pytest.raises(ValueError, match="no token for '<plan>'"):
        session.do("write <plan>")


# Play: what the page shows


def test_a_level_from_beginning_to_end(bundle: miniapr.Bundle) -> None:
    play = Play(Session(bundle))
    number = [level.title for level in LEVELS].index("Stitch") + 1
    state = play.do(f"level {number}")
    assert not state["error"] and state["level"]["text"] == state["said"] and not state["level"]["solved"]
    assert state["level"]["moves"] == 0 and state["goal"]["runs"][0]["events"]
    hints = [play.do("hint")["said"] for _ in range(4)]
    assert hints[0] != hints[1] == hints[2] == hints[3]
    assert play.do("join reprefill")["level"]["solved"] is False
    assert play.do("undo")["level"]["moves"] == 0
    state = play.do("join stitch")
    assert state["level"]["solved"] and state["level"]["moves"] == 1 and state["levels"][number - 1]["solved"]
    assert play.do("reset")["level"]["solved"] is False
    state = play.do("free")
    assert state["level"] is None and state["levels"][number - 1]["solved"] and state["history"] == []
    play.close()


def test_mistakes_are_shown_and_nothing_else_changes(bundle: miniapr.Bundle) -> None:
    play = Play(Session(bundle))
    play.do("fork 2")
    for line in ("level 0", "level 99", "level x", "hint", "x" * (LONGEST + 1), "<script>", "\x00"):
        state = play.do(line)
        assert state["error"] and state["history"] == ["fork 2"]
    play.close()
