"""A cache of keys and values in the machine's memory."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtqatten.driver.blocks import check_gains, check_key_bias
from dtqatten.driver.calls import Call
from dtqatten.driver.errors import LayoutError
from dtqatten.golden.memory import gain_bytes, tensor_bytes
from dtqatten.golden.numerics.codes import Codes, FloatArray, IntArray
from dtqatten.golden.numerics.gains import SIGNED_STEP
from dtqatten.golden.numerics.importance import IMPORTANCE_MAX
from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.golden.numerics.options import Options
from dtqatten.golden.numerics.tokens import CacheImportance, TokenList
from dtqatten.interface.descriptor import BIAS_BYTES, Flag

if TYPE_CHECKING:
    from dtqatten.driver.device import Device

__all__ = ["Cache"]


class Cache:
    """Keys and values of one layer of a decoder, a token at its id, written once.

    It has memory of its own among the device's inputs for as long as the device lives. Scales of
    heads are those that it begins with, or is written again at; tokens may have gains.

    Parameters
    ----------
    device : Device
    capacity : int
        Tokens that there is room for.
    k_scale, v_scale : float array ``[kv_heads]``
        Worth of one code, as of :class:`~dtqatten.golden.numerics.codes.Codes`.
    k_gains, v_gains : bool
        Each token has a gain; ``v_gains`` as the machine was generated.
    biased : int
        Query heads for each of which a key has a bias; 0: keys have none.
    importance : bool
        Each token has an importance, in the machine's memory, to which every call adds.

    Attributes
    ----------
    stored : int
        Tokens appended so far, evicted ones too: ids of the next ones begin here.
    ids : int64 array
        Of the tokens that are not evicted, ascending.
    key_bias : int16 array ``[biased, capacity]``, optional
        Biases of the keys.
    placed : dict of int
        Addresses, by the name of the descriptor's field.

    Raises
    ------
    LayoutError
        If the machine, or its memory, has no room for so many tokens; or scales disagree.
    """

    def __init__(
        self,
        device: "Device",
        capacity: int,
        k_scale: FloatArray,
        v_scale: FloatArray,
        *,
        k_gains: bool = False,
        v_gains: bool = False,
        biased: int = 0,
        importance: bool = False,
    ) -> None:
        if k_scale.ndim != 1 or k_scale.shape != v_scale.shape or not len(k_scale):
            raise LayoutError(
                f"scales of shapes {k_scale.shape} and {v_scale.shape}: give one a head of K and V"
            )
        if not 1 <= capacity <= device.sizes["capacity"]:
            raise LayoutError(
                f"a cache of {capacity} tokens, but the machine has places 1 to "
                f"{device.sizes['capacity']}: generate it with more capacity"
            )
        self.device, self.capacity, self.stored = device, capacity, 0
        self.ids: NDArray[np.int64] = np.arange(0)
        self.placed: dict[str, int] = {}
        self._tensors: dict[str, Codes] = {}
        heads, d = len(k_scale), device.sizes["d_head"]
        self._signed = bool(Flag(device.sizes["flags"]) & Flag.SIGNED_GAINS)
        for name, scale, gains in (("k", k_scale, k_gains), ("v", v_scale, v_gains)):
            self._tensors[name] = Codes(
                np.zeros((heads, capacity, d), np.int8),
                np.asarray(scale, np.float64),
                np.full((heads, capacity), SIGNED_STEP, np.int16) if gains else None,
            )
            self.placed[name] = device.inputs.keep(heads * capacity * d)
            if gains:
                self.placed[f"{name}_gains"] = device.inputs.keep(heads * capacity)
        self.key_bias = np.zeros((biased, capacity), np.int16) if biased else None
        if biased:
            self.placed["key_bias"] = device.inputs.keep(BIAS_BYTES * biased * capacity)
        if importance:
            self.placed["held"] = device.outputs.keep(4 * capacity)
            device.bus.write(self.placed["held"], bytes(4 * capacity))

    @property
    def importance(self) -> CacheImportance:
        """What each token has drawn in all calls so far, by id.

        Raises
        ------
        LayoutError
            If the cache keeps none.
        """
        if "held" not in self.placed:
            raise LayoutError("the cache keeps no importance: make it with importance=True")
        raw = self.device.bus.read(self.placed["held"], 4 * self.capacity)
        return CacheImportance(np.frombuffer(raw, "<u4").astype(np.uint32))

    def protect(self, ids: ArrayLike) -> None:
        """Let tokens rank before all others in every later call, whatever they draw.

        Their importance is set to the largest value, at which sums stay. Of several such tokens the
        lowest id is first, and a call whose ``k0`` is below their number keeps the first of them.

        Parameters
        ----------
        ids : sequence of int
            In the cache.

        Raises
        ------
        LayoutError
            If one is not here, or the cache keeps no importance.
        """
        chosen = self._present(ids, "protect")
        held = self.importance
        raw = held.written(chosen, np.full(len(chosen), IMPORTANCE_MAX)).values.astype("<u4")
        for run in np.split(chosen, np.flatnonzero(np.diff(chosen) != 1) + 1):
            if run.size:
                place = self.placed["held"] + 4 * int(run[0])
                self.device.bus.write(place, raw[run].tobytes())

    @property
    def k(self) -> Codes:
        """Keys ``[kv_heads, capacity, d]``; places from ``stored`` on are without meaning."""
        return self._tensors["k"]

    @property
    def v(self) -> Codes:
        """Values, likewise."""
        return self._tensors["v"]

    def append(self, k: Codes, v: Codes, key_bias: IntArray | None = None) -> NDArray[np.int64]:
        """Write tokens behind those that are here, and return their ids.

        Parameters
        ----------
        k, v : Codes ``[kv_heads, n, d]``
            At the scales of the cache.
        key_bias : int16 array ``[biased, n]``, optional
            Biases of the keys, where they have any.

        Raises
        ------
        LayoutError
            If there is no room, or they do not suit the cache.
        """
        count = k.codes.shape[1]
        for name, given in (("k", k), ("v", v)):
            self._check(name, given, count)
            if not np.array_equal(given.scale, self._tensors[name].scale):
                raise LayoutError(
                    f"{name.upper()} has scales of its own: quantize it with those of the cache, "
                    "or write the cache again at others (rescale)"
                )
        if self.stored + count > self.capacity:
            raise LayoutError(
                f"{count} tokens more than {self.stored} are beyond the cache's {self.capacity} "
                "places, which evicting does not free: make it larger"
            )
        if self.key_bias is None and key_bias is not None:
            raise LayoutError("key_bias, but keys of the cache have none: make it with biased")
        if self.key_bias is not None:
            check_key_bias(key_bias, (len(self.key_bias), count))
        new = np.arange(self.stored, self.stored + count)
        for name, given in (("k", k), ("v", v)):
            self._write(name, given, self.stored)
        if self.key_bias is not None and key_bias is not None:
            self.key_bias[:, new] = key_bias
            for head, biases in enumerate(key_bias.astype("<i2")):
                place = head * self.capacity + self.stored
                self.device.bus.write(
                    self.placed["key_bias"] + BIAS_BYTES * place, biases.tobytes()
                )
        self.stored += count
        self.ids = np.concatenate([self.ids, new])
        return new

    def rescale(self, k: Codes, v: Codes) -> None:
        """Write all tokens that are stored again, at scales that a larger one to come needs.

        Parameters
        ----------
        k, v : Codes ``[kv_heads, stored, d]``
            Those of evicted tokens are without meaning.

        Raises
        ------
        LayoutError
            If they do not suit the cache.
        """
        for name, given in (("k", k), ("v", v)):
            self._check(name, given, self.stored)
        for name, given in (("k", k), ("v", v)):
            own = self._tensors[name]
            scale = np.asarray(given.scale, np.float64)
            self._tensors[name] = Codes(own.codes, scale, own.gains)
            self._write(name, given, 0)

    def _check(self, name: str, given: Codes, count: int) -> None:
        """Refuse ``count`` tokens that do not suit the cache, but for their scales."""
        own = self._tensors[name]
        heads, _, d = own.codes.shape
        if given.codes.shape != (heads, count, d):
            raise LayoutError(
                f"{name.upper()} has shape {given.codes.shape}: give {(heads, count, d)}"
            )
        if (given.gains is None) != (own.gains is None):
            raise LayoutError(
                f"{name.upper()} is of another granularity than the cache, which has "
                f"{'no ' * (own.gains is None)}gains: quantize it likewise"
            )
        check_gains(name.upper(), given, name == "k" and self._signed)

    def _write(self, name: str, given: Codes, at: int) -> None:
        """Write tokens to memory from a place on, a run of bytes a head and plane."""
        own, bus = self._tensors[name], self.device.bus
        heads, count, d = given.codes.shape
        own.codes[:, at : at + count] = given.codes
        vectors = np.frombuffer(tensor_bytes(given.codes), np.uint8).reshape(2 * heads, -1)
        for number, raw in enumerate(vectors):
            place = self.placed[name] + (number * self.capacity + at) * d // 2
            bus.write(place, raw.tobytes())
        if own.gains is not None and given.gains is not None:
            own.gains[:, at : at + count] = given.gains
            for head, gains in enumerate(given.gains):
                place = self.placed[f"{name}_gains"] + head * self.capacity + at
                bus.write(place, gain_bytes(gains, name == "k" and self._signed))

    def evict(self, ids: ArrayLike) -> None:
        """Leave tokens out of all later lists; their places are not used again.

        Raises
        ------
        LayoutError
            If one is not here.
        """
        self.ids = np.setdiff1d(self.ids, self._present(ids, "evict"))

    def _present(self, ids: ArrayLike, to_do: str) -> NDArray[np.int64]:
        """Return ids, ascending, each once; refuse those that are not in the cache."""
        chosen = np.unique(np.asarray(ids, np.int64))
        absent = np.setdiff1d(chosen, self.ids)
        if absent.size:
            raise LayoutError(f"token {absent[0]} is not in the cache: nothing to {to_do}")
        return chosen

    def keys(self, four_bit: ArrayLike = ()) -> TokenList:
        """Return all tokens as a list, those of ``four_bit`` that are here in 4 bits."""
        narrow = np.isin(self.ids, np.asarray(four_bit, np.int64))
        order = np.concatenate([self.ids[narrow], self.ids[~narrow]])
        return TokenList(order, int(narrow.sum()))

    def call(
        self, q: Codes, queries: TokenList, keys: TokenList | None = None, **options: Any
    ) -> Call:
        """Return a layer call on this cache.

        Parameters
        ----------
        q, queries
            As of :class:`~dtqatten.driver.calls.Call`.
        keys : TokenList, optional
            What to compute on. None: all tokens, in 8 bits.
        **options
            Other parameters of the call; ``causal`` unless said otherwise, ``grouped`` where the
            machine has that and there is room for the rows, and ``chosen_values`` where it has
            that, the options have a ``value_share``, and a head is one row block.

        Raises
        ------
        LayoutError
            If lists and tensors disagree.
        """
        listed = self.keys() if keys is None else keys
        evicted = np.setdiff1d(listed.ids, self.ids)
        if evicted.size:
            raise LayoutError(f"key {evicted[0]} is not in the cache: append it first")
        sizes, heads = self.device.sizes, len(self.k.codes)
        rows = q.codes.shape[0] // heads * q.codes.shape[1]
        served = Flag(sizes["flags"])
        fitting = bool(served & Flag.GROUPED) and rows <= sizes["n_max"]
        if self.key_bias is not None:
            fitting = fitting and q.codes.shape[0] // heads <= sizes["bias_heads"]
        grouped = options.get("grouped", fitting)
        local = options.get("options", Options()).value_share < SHARE_ALL
        alone = rows <= sizes["rows"] and (grouped or q.codes.shape[0] == heads)
        chosen = bool(served & Flag.CHOSEN_VALUES) and local and alone
        return Call(
            **{"causal": True, "grouped": grouped, "chosen_values": chosen, **options},
            q=q,
            k=self.k,
            v=self.v,
            queries=queries,
            keys=listed,
            cache=self,
            key_bias=self.key_bias,
        )

    def __len__(self) -> int:
        """How many tokens are not evicted."""
        return len(self.ids)
