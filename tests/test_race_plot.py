"""The picture of a race: all of it is in the picture, and whatever is written can be read."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from miniapr.methods.outcome import Costs, Outcome
from miniapr.methods.race import Row
from miniapr.show.labels import Box, placed
from miniapr.show.race_plot import plot

FRAME = Box(0, 0, 600, 400)


def row(number: int, right: int, cost: int, judge: str = "none") -> Row:
    outcomes = [Outcome(None, costs=Costs(decoded=3 * cost, critical=cost))] * 20
    return Row(f"method-{number}:width={number},layout=interleaved", judge, right, outcomes)


def crowd(count: int) -> list[Row]:
    """Most of them nearly always right, and near to each other."""
    return [row(i, 20 - i % 3, 20 + i % 7, "exact" if i % 5 == 0 else "none") for i in range(count - 1)] + [
        row(count, 3, 9)
    ]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    figures: list[Figure] = []
    save = Figure.savefig

    def saved(figure: Figure, *words: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *words, **options)

    monkeypatch.setattr(Figure, "savefig", saved)
    yield figures


def box(artist: Any) -> Box:
    found = artist.get_window_extent()
    return Box(found.x0, found.y0, found.x1, found.y1)


@pytest.mark.parametrize(
    "rows",
    [crowd(3), crowd(12), crowd(35), [row(i, 18, 9) for i in range(35)], [row(1, 0, 0)]],
    ids=["3", "12", "35", "35 the same", "nothing done"],
)
def test_every_method_is_named_and_nothing_is_cut_off_or_written_over(
    rows: Sequence[Row], drawn: list[Figure], tmp_path: Path
) -> None:
    plot(rows, tmp_path / "race.png", "A title")
    (figure,) = drawn
    picture = Box(0, 0, *figure.canvas.get_width_height())  # type: ignore[attr-defined]
    (legend,) = figure.legends
    written = [text for panel in figure.axes for text in panel.texts]
    assert {f"{number}  {row.name}" for number, row in enumerate(rows, 1)} <= {t.get_text() for t in legend.get_texts()}
    assert all(box(one).within(picture) for one in (*legend.get_texts(), *written, *figure.texts))
    assert not any(box(one).meets(box(other)) for one, other in itertools.combinations(written, 2))
    for panel, cost in zip(figure.axes, ("critical", "decoded"), strict=True):
        least = min(row.costs[cost] for row in rows)
        assert least / 2 < panel.get_xlim()[0] <= max(1, least) and len(panel.get_xticks()) >= 1


def test_who_is_on_the_frontier_is_named_beside_its_point(drawn: list[Figure], tmp_path: Path) -> None:
    rows = [row(1, 9, 10), row(2, 18, 50), row(3, 9, 70), row(4, 18, 45, "exact")]
    plot(rows, tmp_path / "race.png", "A title")
    for panel in drawn[0].axes:
        said = " ".join(" ".join(text.get_text().split()) for text in panel.texts)
        assert [one.name in said for one in rows] == [True, True, False, True] and "3" in said


def test_a_picture_goes_into_a_page_as_svg() -> None:
    stream = io.BytesIO()
    plot(crowd(3), stream, "A title")
    assert b"<svg" in stream.getvalue()


def test_labels_are_beside_their_points_in_a_file_of_any_resolution(drawn: list[Figure], tmp_path: Path) -> None:
    """An SVG has other pixels than those in which places were looked for."""
    plot(crowd(3), tmp_path / "race.png", "A title")
    (figure,) = drawn

    def corners() -> list[float]:
        return [place for panel in figure.axes for text in panel.texts for place in box(text)[:2]]

    before, _ = corners(), figure.set_dpi(72)
    assert corners() == pytest.approx([72 / 150 * place for place in before], abs=2)


Pair = tuple[float, float]
coordinates = st.tuples(st.floats(10, 590), st.floats(10, 390))


@given(st.lists(st.tuples(coordinates, st.tuples(st.floats(5, 200), st.floats(5, 30))), max_size=12))
def test_labels_meet_neither_points_nor_each_other(asked: list[tuple[Pair, Pair]]) -> None:
    points, sizes = [point for point, _ in asked], [size for _, size in asked]
    places = placed(points, sizes, FRAME, 4)
    found = [place for place in places if place]
    assert all(place.within(FRAME) for place in found)
    assert not any(one.meets(other) for one, other in itertools.combinations(found, 2))
    dots = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    assert not any(place.meets(dot) for place in found for dot in dots)
    if len(asked) == 1:
        assert len(found) == 1


def test_a_label_keeps_off_lines_and_is_left_out_where_there_is_no_room() -> None:
    line = Box(0, 90, 600, 110)
    (place,) = placed([(100, 100)], [(40, 10)], FRAME, 4, [line])
    assert place and not place.meets(line)
    assert placed([(100, 100)], [(700, 10)], FRAME, 4) == [None]
