"""What of a layer's tensors and gains is fetched, by role."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import data

from dtqatten.hw.memory.descriptor import flag
from dtqatten.interface.descriptor import Flag

__all__ = ["LayerShape"]


@dataclass(frozen=True, eq=False)
class LayerShape:
    """Heads and queries of a layer as the core gets them.

    Parameters
    ----------
    layer : View of descriptor_layout()
    heads, repeats : Value
        Heads of the core; how many of those need each head of K and V.
    queries, four_bit : Value
        Queries of such a head, and how many of them are of the 4-bit class.
    group, edge : Value or int
        Rows of a query, one for each query head that shares them; queries of the 4-bit class.
    kept : Value or None
        Which heads of the tensors are computed, where they can be pruned.
    """

    layer: data.View
    heads: Value
    repeats: Value
    queries: Value
    four_bit: Value
    group: Value | int = 1
    edge: Value | int = 0
    kept: Value | None = None

    @classmethod
    def of(
        cls,
        layer: data.View,
        repeats: Value,
        query_four_bit: Value,
        rows: data.View | None,
        kept: Value | None,
    ) -> "LayerShape":
        """Return the shape of a layer.

        Parameters
        ----------
        layer : View of descriptor_layout()
        repeats : Value
            Query heads that share a head of K and V.
        query_four_bit : Value
            Queries of the 4-bit class.
        rows : View of rows_layout(config) or None
            Rows, where query heads are grouped.
        kept : Value or None
            A bit for each head of the tensors, where heads can be pruned.
        """
        if rows is None:
            return cls(layer, layer.heads, repeats, layer.queries, query_four_bit, kept=kept)
        return cls(layer, rows.heads, rows.repeats, rows.rows, rows.four_bit, rows.group, rows.edge)

    def plan(self, m: Module, plan: data.View, role: str, base: Value) -> None:
        """Plan a role's tensor, or its gains.

        Parameters
        ----------
        m : Module
        plan : View of plan_layout(system)
        role : str
            ``"q"``, ``"k"`` or ``"v"``; or ``"bias"``, of keys for each query head.
        base : Value
            Where it is.
        """
        layer = self.layer
        chained = flag(layer, Flag.QUERY_CHAINED)
        heads: Value
        repeats: Value | int
        if role == "q":
            heads, repeats, tokens, listed = self.heads, 1, self.queries, chained
            capacity = Mux(chained, layer.stored, self.queries)
        else:
            heads, repeats, tokens = layer.kv_heads, self.repeats, layer.tokens
            listed = flag(layer, Flag.CHAINED) | flag(layer, Flag.KEY_LIST)
            capacity = layer.capacity
            if role == "bias":
                heads, repeats = layer.heads, 1
        m.d.comb += [
            plan.base.eq(base),
            plan.heads.eq(heads),
            plan.repeats.eq(repeats),
            plan.capacity.eq(capacity),
            plan.tokens.eq(tokens),
            plan.listed.eq(listed),
        ]
        if self.kept is not None:
            m.d.comb += plan.kept.eq(self.kept)
        if role != "q" and "first" in dict(plan.shape()):
            # Where rows can be merged, keys may begin at any place.
            m.d.comb += plan.first.eq(layer.key_start)

    def plan_tensor(self, m: Module, plan: data.View, role: str, base: Value) -> None:
        """Plan a role's tensor, as of :meth:`plan`, where heads may be tried or values chosen.

        Of a trial queries come twice, keys as their verdict is, and values once.

        Parameters
        ----------
        m, plan, role, base
            As of :meth:`plan`.
        """
        self.plan(m, plan, role, base)
        fields = dict(plan.shape())
        if "trial" in fields:
            trial = flag(self.layer, Flag.PROGRESSIVE)
            if role != "v":
                m.d.comb += plan.repeats.eq(Mux(trial, 2, 1 if role == "q" else self.repeats))
            m.d.comb += plan.trial.eq(trial & (role == "k"))
        if "chosen" in fields:
            m.d.comb += plan.chosen.eq(flag(self.layer, Flag.CHOSEN_VALUES) & (role == "v"))

    @property
    def value_options(self) -> dict[str, Value]:
        """What the stream of values says of heads, by field."""
        layer = self.layer
        follows, chosen = (flag(layer, f) for f in (Flag.FOLLOWS, Flag.CHOSEN_VALUES))
        return {"follows": follows, "share": layer.value_share, "chosen": chosen}
