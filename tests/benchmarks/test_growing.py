"""What the growing benchmark draws, and its shapes."""

from __future__ import annotations

from benchmarks.growing import LARGE, MIDDLE, PUBLISHED, SERIES, Point, draw, sized
from benchmarks.training import parameters


def test_it_draws_the_same_picture_of_the_same_points(tmp_path):
    points = [Point(name, value, 0.1 * value, 1e8, 10**6) for name, values in SERIES.items() for value in values]
    points += [Point(series, at, at, 1e8) for series in ("text", "tokens") for at in (1.0, 10.0)]
    for name in ("a.png", "b.png"):
        draw(points, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    draw(points[:-1], tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes() != (tmp_path / "a.png").read_bytes()


def test_the_large_model_is_the_published_one():
    assert parameters(sized(**LARGE, vocabulary=PUBLISHED)) == 774_030_080
    assert all(MIDDLE[name] in values for name, values in SERIES.items())
