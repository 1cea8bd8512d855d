"""A pass is followed from its outermost module through each layer once."""

import pytest
from torch import nn

from dtqatten.algorithm.models import ModelError
from dtqatten.algorithm.session.passes import Passes, SessionError, bound


class Outer(nn.Module):
    def forward(self, input_ids, attention_mask=None):
        raise NotImplementedError


def begun():
    passes, outer = Passes("Model", [range(2)]), Outer()
    assert passes.enter(outer, ("ids",), {"attention_mask": None})
    assert not passes.runs(0)
    passes.start(0)
    assert passes.runs(0)
    return passes, outer


def test_arguments_go_by_name():
    given = bound(Outer(), ("ids",), {"attention_mask": None})
    assert given == {"input_ids": "ids", "attention_mask": None}


def test_each_layer_attends_once():
    passes, outer = begun()
    inner = Outer()
    assert not passes.enter(inner, (), {})
    for place in (0, 1):
        passes.begin_layer([0, 1])  # one module in two places
        assert passes.attend("Attention", 5, 5) == place
        with pytest.raises(ModelError, match="attends 2 times"):
            passes.attend("Attention", 5, 5)
        passes.end_layer()
    with pytest.raises(ModelError, match="runs again"):
        passes.begin_layer([0, 1])
    assert not passes.finish(inner)
    passes.leave(inner)
    assert passes.running
    assert passes.finish(outer)
    passes.leave(outer)
    assert not passes.running


def test_what_is_left_out_is_named():
    passes, outer = begun()
    passes.begin_layer([1])
    with pytest.raises(ModelError, match="layer 1 of Model has not attended"):
        passes.end_layer()
    with pytest.raises(ModelError, match="outside its layer"):
        passes.attend("Attention", 5, 5)
    with pytest.raises(ModelError, match=r"layers \[0, 1\] of Model did not run"):
        passes.finish(outer)
    passes.leave(outer)
    with pytest.raises(SessionError, match="outside a forward pass"):
        passes.begin_layer([0])
