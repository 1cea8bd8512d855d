"""The block in plain Python, a row at a time, with segments and sinks: equations and no NumPy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from dtqatten.golden.numerics.codes import quantize

# A busy machine may stop a test at any time: what an example takes says nothing. One that hangs is
# ended by pytest's own limit.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

LUT = [65535] + [round(65535 * 2 ** (-(i + 0.5) / 32)) for i in range(1, 32)]
POWERS = [65536] + [round(2 ** (16 - (i + 0.5) / 256)) for i in range(1, 256)]


def worth(code, bits):
    return {0: 0, 4: ((code + 8) >> 4) * 16, 8: code}[int(bits)]


def divide(divisor):
    z = divisor.bit_length()
    return ((1 << (z + 16)) - 1) // divisor, z


def down(x, u, left=0):
    """Scale by ``2**(left - u/256)``, half up."""
    if u >= 32 * 256:
        return 0
    right = 16 + u // 256 - left
    return (x * POWERS[u % 256] + (1 << (right - 1))) >> right


def head_factor(unit, d):
    factor = unit / d**0.5 * float(np.log2(np.e)) * 32
    shift = 0
    while factor * 2 ** (shift + 1) < 65535.5 and shift < 40:
        shift += 1
    return round(factor * 2**shift), shift


def soft(place, cap):
    """``cap * tanh(place / cap)`` by straight lines between 128 points for each 1."""
    x = (min(abs(place), 8 * cap) * 65536) // cap
    i = min(x // 512, 1023)
    low, high = (round(65536 * math.tanh(j / 128)) for j in (i, i + 1))
    size = (cap * (low + ((high - low) * (x - 512 * i) >> 9)) + 32768) >> 16
    return size if place >= 0 else -size


def segment(scores, row_m, shift, gains, values, top, low):
    """Result of one segment: ``scores`` and ``values`` by place, of the keys that are seen."""
    largest = max(scores.values())
    e = {}
    for j, s in scores.items():
        t = ((largest - s) * row_m) >> shift
        e[j] = LUT[t & 31] >> (t >> 5)
    w = {j: e[j] * (256 if gains is None else gains[j]) for j in e}
    lead = 0 if gains is None else 24 - max(w.values()).bit_length()
    p = {j: ((w[j] << lead) * top + (1 << 23)) >> 24 for j in e}
    half, step = {119: (8, 4), 1911: (136, 8), 255: (8, 4), 4095: (128, 8)}[top]
    p = {j: min((p[j] + half) >> step, 15) << step if j in low else p[j] for j in e}
    total = sum(e.values())
    divisor = 16 * sum(p.values()) if gains is None else (total * top + 2048) >> 12
    sums = [sum(p[j] * values[j][c] for j in e) for c in range(len(next(iter(values.values()))))]
    return {"m": largest, "E": total, "D": divisor, "lead": lead, "N": sums, "e": e}


def join(a, b, row_m, shift, lead):
    top = max(a["m"], b["m"])
    out = {"m": top, "lead": lead, "E": 0, "D": 0, "N": [0] * len(a["N"])}
    for x in (a, b):
        u = (((top - x["m"]) * row_m) << 3) >> shift
        out["E"] += down(x["E"], u)
        out["D"] += down(x["D"], u)
        scaled = [down(n, u, lead - x["lead"]) for n in x["N"]]
        out["N"] = [n + s for n, s in zip(out["N"], scaled, strict=True)]
    return out


def block(inputs, options):
    """Outputs ``[heads, n_q, d]`` and importance ``[n_k]`` of 16-bit outputs."""
    heads, n_q, d = inputs.q.codes.shape
    n_k = inputs.k.codes.shape[1]
    bits_q = np.full(n_q, 8) if inputs.q_bits is None else inputs.q_bits
    bits_k = np.full(n_k, 8) if inputs.k_bits is None else inputs.k_bits
    bits_v = np.full(n_k, 8) if inputs.v_bits is None else inputs.v_bits
    lead = {2: 4, 3: 0}[options.p_planes]
    top = {2: (119, 255), 3: (1911, 4095)}[options.p_planes][options.unsigned_weights]
    ends = [0, *inputs.cuts, n_k]
    total, rows = [0] * n_k, []
    for h in range(heads):
        m, shift = head_factor(float(inputs.q.unit[h] * inputs.k.unit[h]), d)
        gains_v = None if inputs.v.gains is None else inputs.v.gains[h].tolist()
        values = [[worth(int(c), bits_v[j]) for c in inputs.v.codes[h, j]] for j in range(n_k)]
        for i in range(n_q):
            gain = 256 if inputs.q.gains is None else int(inputs.q.gains[h, i])
            row_m = row_factor = (m * gain + 128) >> 8
            row_shift = shift
            if termed := inputs.softcap is not None or inputs.bias is not None:
                # Scores are whole 1/256 octaves then.
                row_factor, row_shift = 1, 3
            parts = []
            spans = list(itertools.pairwise(ends))
            for number in range(len(spans)) if inputs.order is None else inputs.order:
                start, end = spans[number]
                scores = {}
                for j in range(start, end):
                    hidden = inputs.mask is not None and not inputs.mask[i, j]
                    if hidden or not bits_q[i] or not bits_k[j]:
                        continue
                    s = sum(
                        worth(int(a), bits_q[i]) * worth(int(b), bits_k[j])
                        for a, b in zip(inputs.q.codes[h, i], inputs.k.codes[h, j], strict=True)
                    )
                    gain = 256 if inputs.k.gains is None else int(inputs.k.gains[h, j])
                    scores[j] = (s * gain + 128) >> 8
                    if termed:
                        scores[j] = (scores[j] * row_m * 8) >> shift
                    if inputs.softcap is not None:
                        scores[j] = soft(scores[j], inputs.softcap)
                    if inputs.bias is not None:
                        scores[j] += int(inputs.bias[h, i, j])
                if scores:
                    low = {
                        j
                        for j in scores
                        if (options.p_follows_token and bits_v[j] == 4)
                        or (options.p_follows_query and bits_q[i] == 4)
                    }
                    seen = {j: values[j] for j in scores}
                    parts.append(segment(scores, row_factor, row_shift, gains_v, seen, top, low))
            if not parts:
                rows.append([0] * len(values[0]))
                continue
            row = parts[0]
            for part in parts[1:]:
                row = join(row, part, row_factor, row_shift, lead)
            sum_e, divisor = row["E"], row["D"]
            if inputs.sinks is not None and int(inputs.sinks[h]) != -32768:
                place = (row["m"] * row_factor) << 3
                u = (place - (int(inputs.sinks[h]) << row_shift)) >> row_shift
                octave = max(u >> 8, -29)
                e = POWERS[u & 255] >> octave if octave >= 0 else POWERS[u & 255] << -octave
                sum_e, divisor = sum_e + e, divisor + ((e * top + 2048) >> 12)
            r, z = divide(sum_e)
            if inputs.observed is None or inputs.observed[i]:
                for part in parts:
                    u = (((row["m"] - part["m"]) * row_factor) << 3) >> row_shift
                    for j, e in part["e"].items():
                        total[j] += min((down(e, u) * r + (1 << z >> 1)) >> z, 65535)
            r, z = divide(divisor)
            found = [
                (n * r + (1 << (z + row["lead"] + 3))) >> (z + row["lead"] + 4) for n in row["N"]
            ]
            rows.append([max(-32768, min(32767, o)) for o in found])
    return np.array(rows).reshape(heads, n_q, -1), np.array(total)


@pytest.fixture(scope="session")
def plain_block():
    """Return the block in plain Python."""
    return block


def codes(seed, granularity="head", m=5, n=24, heads=2, d=8, size=1.0):
    """Q of ``m``, K and V of ``n`` tokens of different size."""
    rng = np.random.default_rng(seed)
    return [
        quantize(
            size * rng.normal(size=(heads, count, d)) * rng.uniform(0.3, 2, (heads, count, 1)),
            granularity,
        )
        for count in (m, n, n)
    ]


@pytest.fixture(scope="session")
def random_codes():
    """Return what makes random codes of Q, K and V."""
    return codes
