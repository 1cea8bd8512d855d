import sys; sys.path[:0]=['/tmp/wt-machine/tests/algorithm','/tmp/wt-machine/tests/helpers']
import torch, pytest
from test_decoding import decoded, spattens
@pytest.mark.parametrize("seed", range(4))
def test_s(llama, seed):
    torch.manual_seed(seed)
    ids = torch.randint(3, 50, (2, 14))
    exact, one, _ = decoded(llama, spattens(recent=2), "integer", ids, 8)
    fast, two, session = decoded(llama, spattens(recent=2), "fake-quant", ids, 8)
    print(seed, [torch.equal(a,b) for a,b in zip(one.precisions(), two.precisions())], session.tally.rows_again/session.tally.rows)
