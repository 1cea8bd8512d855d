"""Steiner trees against spanning trees, exhaustive search and known optima."""

from itertools import combinations

import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree

from dtqatten.synth.place.steiner import Tree, steiner_trees

rng = np.random.default_rng(1)


def spanning(points: np.ndarray) -> float:
    distance = np.abs(points[:, None] - points[None]).sum(axis=2)
    return float(minimum_spanning_tree(distance).sum())


def check(tree: Tree, points: np.ndarray) -> None:
    """A tree over all points: everything reaches the first one."""
    assert (tree.at[: len(points)] == points).all()
    assert tree.parent[0] == -1
    for node in range(len(tree.at)):
        steps = 0
        while node:
            node, steps = tree.parent[node], steps + 1
            assert 0 <= node < len(tree.at)
            assert steps < len(tree.at)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, 30])
def test_trees_connect_and_are_no_longer_than_spanning_trees(size: int) -> None:
    nets = [rng.permutation(1000)[: 2 * size].reshape(size, 2).astype(float) for _ in range(40)]
    for tree, points in zip(steiner_trees(nets), nets, strict=True):
        check(tree, points)
        length = tree.lengths.sum()
        half = np.ptp(points, axis=0).sum()
        assert half <= length + 1e-9
        assert length <= spanning(points) + 1e-9
        if size <= 3:
            assert length == pytest.approx(half)


def test_four_points_are_near_the_optimum() -> None:
    """Of all choices of two Steiner points on Hanan's grid."""
    found = best = 0.0
    for _ in range(20):
        points = rng.integers(0, 50, (4, 2)).astype(float)
        hanan = [np.array([x, y]) for x in points[:, 0] for y in points[:, 1]]
        best += min(spanning(np.vstack([points, *two])) for two in combinations(hanan, 2))
        (tree,) = steiner_trees([points])
        found += tree.lengths.sum()
    assert best <= found <= 1.06 * best


def test_points_may_coincide() -> None:
    points = np.array([[1.0, 1.0], [1.0, 1.0], [4.0, 1.0], [4.0, 1.0]])
    (tree,) = steiner_trees([points])
    check(tree, points)
    assert tree.lengths.sum() == 3.0
    assert steiner_trees([]) == []


def ways(tree: Tree, points: int) -> np.ndarray:
    """Length from the root to each point."""
    found = []
    for node in range(points):
        length = 0.0
        while tree.parent[node] >= 0:
            length += tree.lengths[node]
            node = int(tree.parent[node])
        found.append(length)
    return np.array(found)


@pytest.mark.parametrize("size", [2, 3, 7, 40])
def test_trees_without_detours(size: int) -> None:
    for points in rng.uniform(0, 100, (20, size, 2)):
        (short,), (both,), (straight,) = (steiner_trees([points], d) for d in (0.0, 0.3, 1.0))
        for tree in (short, both, straight):
            check(tree, points)
        away = np.abs(points - points[0]).sum(axis=1)
        assert np.allclose(ways(straight, size), away)
        assert (ways(both, size) >= away - 1e-9).all()


def test_a_little_longer_trees_save_most_detours() -> None:
    """Half of the way to 60 points is a detour in a short tree, a tenth in one 6 % longer."""
    nets = list(rng.uniform(0, 100, (30, 60, 2)))
    detour, length = {}, {}
    for direct in (0.0, 0.3):
        trees = steiner_trees(nets, direct)
        length[direct] = sum(tree.lengths.sum() for tree in trees)
        detour[direct] = np.mean(
            [
                ways(tree, 60)[1:] / np.abs(net - net[0]).sum(axis=1)[1:] - 1
                for tree, net in zip(trees, nets, strict=True)
            ]
        )
    assert detour[0.3] < 0.3 * detour[0.0]
    assert length[0.3] < 1.1 * length[0.0]
