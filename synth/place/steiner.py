"""Rectilinear Steiner trees of many nets at once."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tree", "steiner_trees"]

#: Elements of the largest array that nets of one size share.
CHUNK = 1 << 22


@dataclass(frozen=True)
class Tree:
    """A tree that connects the points of a net.

    Attributes
    ----------
    at : array [nodes, 2]
        The net's points in their order, then Steiner points.
    parent : array [nodes]
        Towards the first point, whose parent is -1.
    """

    at: NDArray[np.float64]
    parent: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.float64]:
        """Rectilinear length of the edge from each node to its parent; 0 of the first."""
        lengths = np.abs(self.at - self.at[self.parent]).sum(axis=1)
        lengths[0] = 0.0
        return lengths

    def downward(self) -> tuple[list[int], dict[int, list[int]]]:
        """Return all nodes, each after its parent, and the children of those that have some."""
        children: dict[int, list[int]] = defaultdict(list)
        for node, parent in enumerate(self.parent.tolist()):
            children[parent].append(node)
        order = list(children[-1])
        for node in order:
            order += children.get(node, [])
        return order, children


def steiner_trees(nets: Sequence[NDArray[np.float64]], direct: float = 0.0) -> list[Tree]:
    """Return a short rectilinear tree of each net, exact up to three points.

    Points join in the order in which Prim's algorithm adds them to a minimal spanning tree, each
    by the shortest way to the tree: as the bends of an edge are free, this ends anywhere in the
    rectangle that an edge spans, where it leaves a Steiner point. So a tree is never longer than
    the spanning tree, unless ways from the root count too.

    Parameters
    ----------
    nets : sequence of array [points, 2]
        At least one point each; the first becomes the root.
    direct : float
        How much of its way from the root counts where a point joins, as in the trees of Prim and
        Dijkstra: with 0 a tree is short, with 1 no point takes a detour.
    """
    trees: list[Tree | None] = [None] * len(nets)
    by_size: defaultdict[int, list[int]] = defaultdict(list)
    for number, points in enumerate(nets):
        by_size[len(points)].append(number)
    for size, numbers in by_size.items():
        step = max(1, CHUNK // (4 * size))
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step]
            at, parent, count = grown(np.stack([nets[number] for number in some]), direct)
            for i, number in enumerate(some):
                trees[number] = Tree(at[i, : count[i]], parent[i, : count[i]])
    return [tree for tree in trees if tree is not None]


def grown(
    points: NDArray[np.float64], direct: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Grow trees over nets ``[nets, points, 2]``; return nodes, parents and numbers of nodes."""
    nets, size, _ = points.shape
    every = np.arange(nets)
    at = np.zeros((nets, 2 * size, 2))
    at[:, :size] = points
    parent = np.full((nets, 2 * size), -1)
    count = np.full(nets, size)
    # Length from the root to each node, along the tree.
    way = np.zeros((nets, 2 * size))
    # What it costs to join each point to another one; inf once it is part of the tree.
    far = np.abs(points - points[:, :1]).sum(axis=2)
    way[:, :size] = far
    far[:, 0] = np.inf
    for step in range(1, size):
        new = far.argmin(axis=1)
        here = points[every, new]
        if step == 1:
            parent[every, new] = 0
        else:
            # The nearest place on any edge: the point moved into the edge's rectangle.
            up = np.where(parent < 0, 0, parent)
            ends = np.take_along_axis(at, up[:, :, None], axis=1)
            low, high = np.minimum(at, ends), np.maximum(at, ends)
            near = np.clip(here[:, None], low, high)
            distance = np.abs(near - here[:, None]).sum(axis=2)
            before = np.take_along_axis(way, up, axis=1) + np.abs(near - ends).sum(axis=2)
            cost = distance + direct * before
            cost[parent < 0] = np.inf
            edge = cost.argmin(axis=1)
            place = near[every, edge]
            father = parent[every, edge]
            way[every, new] = distance[every, edge] + before[every, edge]
            at_child = (place == at[every, edge]).all(axis=1)
            at_father = (place == at[every, father]).all(axis=1)
            inside = ~at_child & ~at_father
            parent[every, new] = np.where(at_child, edge, father)
            rows, node = every[inside], count[inside]
            at[rows, node] = place[inside]
            way[rows, node] = before[rows, edge[inside]]
            parent[rows, node] = father[inside]
            parent[rows, edge[inside]] = node
            parent[rows, new[inside]] = node
            count[inside] += 1
        joined = np.abs(points - here[:, None]).sum(axis=2) + direct * way[every, new][:, None]
        far = np.where(np.isinf(far), np.inf, np.minimum(far, joined))
        far[every, new] = np.inf
    return at, parent, count
