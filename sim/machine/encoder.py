"""A whole encoder with every attention on the simulated machine; the host does the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dtqatten.algorithm.block.operands import Operands, Result
from dtqatten.algorithm.block.quantized import Quantized
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import Importance, PolicyError, Pruned, Ranking
from dtqatten.algorithm.runtime import attached, calibrated
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.session.session import Session
from dtqatten.algorithm.tasks.embedding import pool
from dtqatten.configuration.core import Config
from dtqatten.driver.chain import Chain
from dtqatten.driver.device import Device
from dtqatten.driver.layers import Layer
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes, Granularity
from dtqatten.golden.numerics.local_values import Arrays
from dtqatten.golden.numerics.select import counts
from dtqatten.interface.descriptor import Flag
from dtqatten.interface.registers import Control
from dtqatten.sim.machine.refusals import refuse, refuse_weights
from dtqatten.sim.machine.refused_blocks import refuse_block

__all__ = [
    "EncoderRun",
    "LayerRun",
    "MachineBlocks",
    "config_for",
    "refusals",
    "run_encoder",
]


def refusals(policy: Policy) -> list[str]:
    """Return what of a policy the machine does not do with an encoder; nothing if it runs."""
    return [
        what
        for what, wanted in (
            ("ranks at random", policy.ranking is Ranking.RANDOM),
            ("ranks by place", policy.ranking is Ranking.FIRST),
            ("keeps pruned queries", not policy.prune_queries),
            ("protects tokens", bool(policy.protect or policy.recent)),
            ("has progressive layers", policy.progressive),
            ("divides importance by counts", policy.count_normalize),
            ("drops tokens", policy.pruned is Pruned.DROP),
            ("begins with mixed precisions", 0 < policy.layers[0].share_8 < 1),
        )
        if wanted
    ]


def config_for(config: Config, policy: Policy) -> Config:
    """Return a configuration with the options that a policy needs.

    Raises
    ------
    PolicyError
        If the machine cannot do what the policy asks for.
    """
    refuse(refusals(policy))
    refuse_weights(config, policy)
    return config.replace(
        local_values=policy.local,
        skip_tiles=config.skip_tiles or policy.local,
        planes=policy.p_planes,
        unsigned_weights=policy.unsigned_weights,
        block_exponents=policy.block_exponents,
        signed_gains=policy.signed_gains,
        v_gains=policy.granularity is Granularity.TOKEN,
        bias_heads=max(config.bias_heads, 1) if policy.center_queries else 0,
        cumulative=policy.importance is Importance.CUMULATIVE,
        head_pruning=policy.prunes_heads,
    )


@dataclass(frozen=True)
class LayerRun:
    """What a layer took on the machine, by its own counters."""

    tokens: int
    four_bit: int
    cycles: int
    bytes_read: int
    bytes_written: int


class MachineBlocks:
    """Attention blocks of one sequence on a machine, layer after layer of one chain.

    A context manager, as the chain is. To be the ``compute`` of a
    :class:`~dtqatten.algorithm.runtime.Session`. The tokens of a
    layer are those that the machine itself kept: its ids stay on it, and are only compared. So are
    its heads, where it has ``head_pruning``; else the host leaves pruned ones out.

    Parameters
    ----------
    device : Device
        On a machine of :func:`config_for`.
    policy : Policy
    tell : callable
        Called with each layer's :class:`LayerRun`.

    Attributes
    ----------
    layers : list of LayerRun
    """

    def __init__(
        self, device: Device, policy: Policy, tell: Callable[[LayerRun], object] = lambda _: None
    ) -> None:
        self.device, self.policy, self.tell = device, policy, tell
        self.layers: list[LayerRun] = []
        self._chain = Chain(device, len(policy.layers))
        self._stored = np.arange(0)
        self._rows = np.arange(0)
        self._four_bit = 0
        self._carried = np.zeros(0)

    def __enter__(self) -> "MachineBlocks":
        self._chain.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._chain.__exit__(*error)

    def __call__(self, layer: int, op: Operands) -> Result:
        """Compute a block.

        Raises
        ------
        UsageError
            As of :func:`refuse_block`.
        PolicyError
            If heads are pruned that share K and V.
        AssertionError
            If the machine keeps other heads, or other tokens, or these in other precisions, than
            the policy.
        """
        refuse_block(layer, op)
        _, heads, n, d = op.q.codes.shape
        policy = self.policy
        own = np.arange(heads) if op.heads is None else np.flatnonzero(op.heads[0].numpy())
        if len(own) < heads and op.k.codes.shape[1] < heads:
            raise PolicyError(
                f"layer {layer} prunes query heads that share K and V, which the machine does not: "
                "choose a policy that keeps all heads"
            )
        if layer == 0:
            self._stored = self._rows = np.arange(n)
            self._four_bit = int((op.k_bits == 4).sum())
            self._carried = np.zeros(n)
        tokens = len(self._rows)
        self._compare(op)
        # What the next layer keeps; after the last one nobody asks.
        k0, k1 = tokens, 0
        if layer + 1 < len(policy.layers):
            k0, k1 = counts(n, policy.layers[layer + 1].shares)
            k0 = min(k0, tokens)
        cumulative = policy.importance is Importance.CUMULATIVE
        keep_heads = self._keep_heads(layer, heads, len(own))
        given = own if keep_heads is None else np.arange(heads)
        biases = op.terms.bias_codes()
        self._chain.add(
            Layer(
                q=_codes(op.q, self._stored, given),
                k=_codes(op.k, self._stored, given),
                v=_codes(op.v, self._stored, given),
                key_bias=None if biases is None else biases[0][np.ix_(given, self._stored)],
                keep_heads=keep_heads or 0,
                heads_chained=keep_heads is not None and layer > 0,
                k0=k0,
                k1=min(k0, k1),
                chained=layer > 0,
                four_bit=self._four_bit if layer == 0 else 0,
                report=True,
                cumulative=cumulative,
                fresh=cumulative and layer == 0,
                options=Options(
                    p_planes=op.p_planes,
                    unsigned_weights=op.unsigned_weights,
                    block_exponents=op.block_exponents,
                    signed_gains=op.signed_gains,
                    p_follows_token=op.p_follows_token,
                    p_follows_query=op.p_follows_query,
                    softmax_scale=op.scaling,
                    value_share=op.value_share,
                ),
            )
        )
        self.device.set_register("control", Control.CLEAR_COUNTERS)
        result = self._chain.run()[-1]
        assert result.ids is not None
        assert result.importance is not None
        assert result.heads is None or np.array_equal(result.heads, own), "heads differ"

        output = torch.zeros(1, heads, n, d, dtype=torch.float64)
        output[0][np.ix_(own, self._rows)] = torch.from_numpy(result.values)
        unit = torch.zeros(1, heads, dtype=torch.float64)
        unit[0, own] = torch.from_numpy(result.output_unit)
        drawn = torch.zeros(1, 1, n, dtype=torch.float64)
        total = result.importance.astype(np.float64)
        earlier = self._carried[self._rows] if cumulative else 0.0
        drawn[0, 0, self._rows] = torch.from_numpy((total - earlier) / 2**16)
        self._carried[self._rows] = total
        counters = [self.device.register(r) for r in ("cycles", "read_bytes", "write_bytes")]
        run = LayerRun(tokens, self._four_bit, *counters)
        self.layers.append(run)
        self.tell(run)
        self._stored, self._rows = self._rows, self._rows[result.ids]
        self._four_bit = k0 - min(k0, k1)
        return Result(output, drawn, unit=unit)

    def _keep_heads(self, layer: int, heads: int, left: int) -> int | None:
        """Return how many heads the machine keeps for the next layer; None: the host does that.

        Parameters
        ----------
        layer : int
        heads, left : int
            Of the model; of those, how many the layer computes.
        """
        policy = self.policy
        if not policy.prunes_heads or not self.device.sizes["flags"] & Flag.HEADS_CHAINED:
            return None
        if layer + 1 == len(policy.layers):
            return 0
        return min(left, policy.layers[layer + 1].kept_heads(heads))

    def _compare(self, op: Operands) -> None:
        """Compare the machine's tokens with those that the policy keeps in this layer."""
        n = op.k_bits.shape[1]
        kept = np.ones(n, bool) if op.visible is None else op.visible[0, 0, 0].numpy()
        bits = op.k_bits[0].numpy()
        four, eight = (np.flatnonzero(kept & (bits == b)) for b in (4, 8))
        assert np.array_equal(np.sort(self._rows[: self._four_bit]), four), "4-bit tokens differ"
        assert np.array_equal(np.sort(self._rows[self._four_bit :]), eight), "8-bit tokens differ"


def _codes(quantized: Quantized, rows: np.ndarray, heads: np.ndarray) -> Codes:
    """Return the codes of one sequence's tokens for the driver, of some heads if all have K and V.

    Parameters
    ----------
    quantized : Quantized
    rows : int array
        Tokens.
    heads : int array
        Query heads that are computed.
    """
    made = quantized.numpy(quantized.codes.shape[1])
    own = heads if quantized.codes.shape[1] > heads.max() else np.arange(quantized.codes.shape[1])
    gains = None if made.gains is None else made.gains[0][np.ix_(own, rows)]
    return Codes(made.codes[0][np.ix_(own, rows)], made.scale[0][own], gains)


@dataclass(frozen=True, eq=False)
class EncoderRun:
    """A sentence's embedding, computed in three ways.

    Parameters
    ----------
    tokens : int
    machine, golden, floating : tensor ``[hidden]``
        Attention on the machine, on the golden block, and without any quantization or pruning.
    layers : list of LayerRun
    """

    tokens: int
    machine: Tensor
    golden: Tensor
    floating: Tensor
    layers: list[LayerRun]

    @property
    def equal(self) -> bool:
        """Whether the machine's embedding is the golden algorithm's, in every bit."""
        return bool(torch.equal(self.machine, self.golden))

    @property
    def cosine(self) -> float:
        """Cosine of the machine's embedding to that in floating point."""
        return float(torch.dot(self.machine.double(), self.floating.double()))


def run_encoder(
    model: Any,
    policy: Policy,
    device: Device,
    batch: dict[str, Tensor],
    tell: Callable[[LayerRun], object] = lambda _: None,
) -> EncoderRun:
    """Embed a sentence: projections, feed-forward and norms in PyTorch, attention on the machine.

    A policy that smooths or centers is calibrated on the sentence.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Encoder.
    policy : Policy
    device : Device
        On a machine of :func:`config_for`.
    batch : dict
        ``input_ids`` and ``attention_mask`` of one sentence.
    tell : callable
        Called with what each layer took.

    Raises
    ------
    LayoutError
        If the sentence or the model is too large for the machine.
    AssertionError
        If the machine keeps other tokens than the policy.
    """

    def embedding(session: Session | None) -> Tensor:
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state
            return pool(hidden, batch["attention_mask"], session)[0]

    sizes = device.sizes
    arrays = Arrays(sizes["rows"], sizes["cols"], sizes["value_depth"], sizes["n_max"])
    floating = embedding(None)
    options: dict[str, Any] = {"arrays": arrays, "calibration": calibrated(model, policy, batch)}
    with attached(model, policy, Mode.INTEGER, **options) as session:
        golden = embedding(session)
    with (
        MachineBlocks(device, policy, tell) as blocks,
        attached(model, policy, Mode.INTEGER, **options) as session,
    ):
        session.compute = blocks
        machine = embedding(session)
    return EncoderRun(batch["input_ids"].shape[1], machine, golden, floating, blocks.layers)
