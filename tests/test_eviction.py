"""Which cached prefix goes first when blocks are needed: the heap against what it is there for."""

from __future__ import annotations

from helpers import distance, make_engine, plain_logits, poison, small_model
from hypothesis import example, given
from hypothesis import strategies as st
from test_prefix import logits_of, words

from miniapr.kv.prefix import PrefixTree
from miniapr.kv.span import Piece, Span, View


@given(st.lists(st.tuples(st.sampled_from(("insert", "match", "read", "leave", "evict")), words), max_size=40))
@example([("insert", [0]), ("insert", [1]), ("read", [2]), ("evict", [0])])  # all of them are read
def test_the_next_leaf_is_the_least_recently_used_that_is_idle_or_else_of_all(
    calls: list[tuple[str, list[int]]],
) -> None:
    """The heap against its definition, over the leaves that there are."""
    prefixes, read = PrefixTree(), set[Span]()
    for name, word in calls:
        if name == "insert":
            prefixes.insert([Span(0, View(), word).whole()])
        elif name == "match":
            prefixes.match(word)
        elif name == "read":
            read.update(node.piece.span for node in prefixes if node.piece.tokens[0] <= word[0])
        elif name == "leave":
            for span in [span for span in read if span.tokens[0] >= word[0]]:
                read.remove(span)
                prefixes.wake(span)
        else:
            leaves = sorted((node for node in prefixes if not node.children), key=lambda node: node.used)
            expected = next((leaf.piece for leaf in leaves if leaf.piece.span not in read), None)
            expected = expected or next((leaf.piece for leaf in leaves), None)
            assert prefixes.next_leaf(lambda piece: piece.span not in read) == expected


def leaves(*words: list[int]) -> PrefixTree:
    prefixes = PrefixTree()
    for word in words:
        prefixes.insert([Span(0, View(), word).whole()])
    return prefixes


def nobody_reads(piece: Piece) -> bool:
    return True


def test_a_leaf_that_was_matched_or_inserted_again_goes_after_one_that_was_not() -> None:
    for again in (lambda tree: tree.match([1]), lambda tree: tree.insert([Span(0, View(), [1]).whole()])):
        prefixes = leaves([1], [2])
        again(prefixes)
        assert [prefixes.next_leaf(nobody_reads).tokens for _ in range(2)] == [[2], [1]]


def test_a_leaf_that_was_taken_out_while_somebody_read_it_is_not_taken_again() -> None:
    prefixes = leaves([1], [2])
    taken = prefixes.next_leaf(lambda piece: False)  # all are read: the oldest, out of those that wait aside
    assert taken.tokens == [1]
    for span in [taken.span, *(node.piece.span for node in prefixes)]:
        prefixes.wake(span)  # and then nobody reads any
    assert [piece and piece.tokens for piece in (prefixes.next_leaf(nobody_reads) for _ in range(2))] == [[2], None]


def test_a_leaf_that_has_been_gone_on_from_while_somebody_read_it_is_none_any_more() -> None:
    prefixes, span = leaves([3]), Span(0, View(), [1, 1, 2])
    prefixes.insert([Piece(span, 0, 2)])
    assert prefixes.next_leaf(lambda piece: False).tokens == [3]  # the other now waits aside
    prefixes.insert([span.whole()])
    taken = [prefixes.next_leaf(lambda piece: False) for _ in range(3)]
    assert taken == [Piece(span, 2, 3), Piece(span, 0, 2), None]


def test_a_prefix_in_part_or_once_read_goes_before_one_that_was_used_later() -> None:
    engine = make_engine(block_size=1, num_blocks=30)
    kv, prompts = engine.kv, [[1] * 4, [2] * 4, [3] * 4, [4] * 4]

    def make_room(blocks: int) -> list[int]:
        """How the prefixes begin that are left."""
        kv.make_room(kv.pool.free + blocks)
        return sorted(node.piece.tokens[0] for node in kv.tree)

    for prompt in prompts:
        logits_of(engine, prompt)
    first, second = (node.piece for node in sorted(kv.tree, key=lambda node: node.used)[:2])
    kv.hold((first, Piece(second.span, 0, 2)))
    assert make_room(2) == [1, 3, 4], "of the second, two blocks are nobody else's"
    kv.drop((Piece(second.span, 0, 2),))
    kv.drop((first,))
    assert make_room(4) == [3, 4], "nobody reads the first any more"


def test_least_recently_used_goes_first_and_what_a_branch_reads_stays() -> None:
    engine = make_engine(block_size=1, num_blocks=30)
    old, recent, read = [1] * 4, [2] * 4, [3] * 4
    for prompt in (old, recent, read):
        logits_of(engine, prompt)
    root = engine.settle(engine.start([*read, 4]))
    logits_of(engine, old[:2])
    engine.kv.make_room(engine.pool.free + 4)
    assert [len(engine.kv.match([*p, 9])) for p in (old[:2], recent, read)] == [2, 0, 4]
    engine.kv.make_room(engine.kv.available)
    poison(engine)
    engine.extend(root, [5])
    assert distance(engine.settle(root).logits, plain_logits(small_model(), [*read, 4, 5])) < 1e-10
