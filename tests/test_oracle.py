"""The central property: whatever the engine does, its logits are those of the plain decoder."""

from __future__ import annotations

import pytest
import torch
from helpers import backend_or_skip, share
from hypothesis import given
from programs import Scenario, run, scenarios

BACKENDS = [
    pytest.param("reference", torch.float64, 1e-10, id="reference-float64"),
    pytest.param("cpp", torch.float64, 1e-10, id="cpp-float64"),
    pytest.param("cpp", torch.float32, 1e-4, id="cpp-float32"),
    pytest.param("cuda (emulated)", torch.float32, 1e-4, id="cuda-emulated-float32"),
]


@pytest.mark.parametrize("name, dtype, tolerance", BACKENDS)
@share(2)
@given(scenario=scenarios())
def test_engine_equals_oracle_for_random_programs(
    name: str, dtype: torch.dtype, tolerance: float, scenario: Scenario
) -> None:
    run(scenario, backend_or_skip(name), dtype, tolerance)
