"""The chapters' pictures: drawn from live objects, and nothing but what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundles import write_nonsense
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

import miniapr
from miniapr import Engine
from miniapr.engine.branch import Branch
from miniapr.show import draw


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> miniapr.Bundle:
    return miniapr.load(write_nonsense(tmp_path_factory.mktemp("nonsense"), -5.0))


@pytest.fixture
def engine(bundle: miniapr.Bundle) -> Engine:
    return Engine(bundle.model, bundle.tokenizer, num_blocks=12, block_size=4, reuse_prefixes=False)


def forked(engine: Engine) -> tuple[Branch, list[Branch]]:
    """A prompt of 6 tokens, and two branches of 3 and 5."""
    root = engine.start("8 7 3 -> 29 :")
    seeds = [engine.tokenizer.encode(text) for text in ("a+b 15 3", "b*c 21 8 a+b 29")]
    branches = engine.fork(root, seeds)
    for branch in branches:
        engine.settle(branch)
    return root, branches


def plot(picture: draw.Picture) -> Axes:
    return picture.figure.axes[0]


def texts(picture: draw.Picture) -> list[str]:
    return [text.get_text() for text in plot(picture).texts]


def filled(picture: draw.Picture, colour: str) -> list[Rectangle]:
    boxes = [patch for patch in plot(picture).patches if isinstance(patch, Rectangle)]
    return [box for box in boxes if to_hex(box.get_facecolor()) == colour]


def test_a_picture_shows_and_saves_itself(tmp_path: Path) -> None:
    picture, axes = draw.axes("a curve")
    axes.plot([1, 2, 3])
    png, about = picture._repr_png_()
    assert png.startswith(b"\x89PNG") and about["width"] == 700
    picture.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_neighbouring_spans_differ_in_colour() -> None:
    assert len(set(draw.SPANS)) == len(draw.SPANS) >= 12


def test_pool_shows_every_written_slot_in_its_owners_colour(engine: Engine) -> None:
    root, (left, right) = forked(engine)
    picture = draw.pool(engine)
    for span, tokens in ((root.view.pieces[0].span, 6), (left.span, 3), (right.span, 5)):
        assert len(filled(picture, draw.colour(span))) == tokens + 1  # and one in the legend
    shown = texts(picture)
    assert shown.count("held 3x") == 2  # the prompt's two blocks: parent and two children
    assert {"->", "29", "b*c", "span 0"} <= set(shown)
    assert {str(block) for block in range(12)} <= set(shown)


def test_an_empty_pool_has_no_owner(engine: Engine) -> None:
    assert set(texts(draw.pool(engine))) == {str(block) for block in range(12)}


def test_cached_blocks_are_hatched(bundle: miniapr.Bundle) -> None:
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=12, block_size=4)
    root = engine.start("8 7 3 -> 29 :")
    assert not any(box.get_hatch() for box in plot(draw.pool(engine)).patches)
    engine.settle(root)
    engine.release(root)
    assert any(box.get_hatch() for box in plot(draw.pool(engine)).patches)


def test_table_tells_blocks_and_positions_in_the_order_of_the_view(engine: Engine) -> None:
    _, (left, right) = forked(engine)
    picture = draw.table(engine, right)
    places = [text for text in texts(picture) if text.startswith("in block")]
    assert places == [f"in block {block}" for piece in (*right.view, right.span.whole()) for block in piece.span.blocks]
    # Both branches go on at position 6: positions 6 to 10 stand over the right one's five tokens.
    assert {str(position) for position in range(11)} <= set(texts(picture))
    assert len([text for text in plot(picture).texts if text.get_text() == ""]) == len(places)  # the lines
    assert len(filled(picture, draw.colour(left.span))) == 3  # in the pool only


def test_table_says_what_is_not_computed_yet(engine: Engine) -> None:
    root = engine.start("8 7 3 ->")
    engine.extend(root, "29 :")
    assert "not computed yet" in texts(draw.table(engine, root))


def test_mask_shows_who_sees_whom_and_shifts(engine: Engine) -> None:
    root, branches = forked(engine)
    left, then = branches[0], engine.tokenizer.encode("hit")
    overlap = engine.join(root, branches, "stitch", then=then, keep=True)
    moved = engine.join(root, branches, "stitch_contiguous", then=then, keep=True)
    assert not any(text.startswith("+") for text in texts(draw.mask(overlap)))
    picture = draw.mask(moved)
    assert texts(picture).count("+3") == 5  # the right branch's tokens, seen by the one token after the join
    ours = left.view.pieces[-1].span
    assert len(filled(picture, draw.colour(ours))) == 6 + 3  # causally among themselves, then from after the join
    assert len(texts(draw.mask(moved, rows=1))) < len(texts(picture))


def test_tree_draws_every_span_once_at_its_positions(engine: Engine) -> None:
    root, branches = forked(engine)
    joined = engine.join(root, branches, "stitch", then=engine.tokenizer.encode("hit"))
    picture = draw.tree(joined)
    boxes = [patch for patch in plot(picture).patches if isinstance(patch, Rectangle)]
    assert [round(box.get_x()) for box in boxes] == [0, 6, 6, 11]
    assert [round(box.get_x() + box.get_width()) for box in boxes] == [6, 9, 11, 12]
    assert len({box.get_y() for box in boxes}) == 3  # the join is back in the first row
    assert {"hit", "->", "b*c"} <= set(texts(picture))


def test_tree_of_long_spans_tells_their_lengths(engine: Engine) -> None:
    root = engine.start(list(range(300, 340)))
    (label,) = texts(draw.tree(root))
    assert label.startswith("40 tokens: 300 301") and label.endswith("…")


def test_matrix_prints_numbers_and_labels() -> None:
    values = torch.tensor([[1.0, float("nan")], [0.25, -2.0]])
    picture = draw.matrix(values, ["a", "b"], ["x", "y"], "some numbers")
    assert {"1.00", "0.25", "-2.00", "a", "b", "x", "y"} <= set(texts(picture)) and "nan" not in texts(picture)
    assert texts(draw.matrix([[True, False]])) == ["●", ""]
    assert texts(draw.matrix([[3, None, "word"]])) == ["3", "", "word"]
