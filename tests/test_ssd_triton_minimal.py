"""The readable kernel of Mamba-2's scan against the loop, in Triton's interpreter or on a GPU."""

import pytest
import torch
from systems import F64, randn

from minimamba import ssd
from minimamba.scan import why_not

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("length", [1, 15, 16, 17, 40])
def test_minimal_ssd_matches_reference_at_any_length(length, monkeypatch):
    from minimamba.ssd import triton_minimal

    monkeypatch.setattr(triton_minimal, "CHUNK", 16)
    given = (randn(2, length, 3, 16, seed=0), randn(2, length, 3, seed=1).abs(),
             -randn(3, seed=2).exp(), randn(2, length, 1, 32, seed=3),
             randn(2, length, 1, 32, seed=4))
    y = triton_minimal.ssd_minimal(*(part.float().to(DEVICE) for part in given))
    torch.testing.assert_close(y.cpu().to(F64), ssd(*given, method="reference"), rtol=1e-5,
                               atol=1e-5)
