"""The upscaler's light half."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from handlers.upscaler.params import SPEC, Upscale2x, Upscale4x


def test_endpoints_and_default() -> None:
    assert list(SPEC.endpoints) == ["upscale_2x", "upscale_4x", "upscale_8x"]
    assert (SPEC.type, SPEC.default_endpoint) == ("upscaler", "upscale_2x")


def test_vendors_parameters_are_accepted() -> None:
    for mode in ("artifact_removal", "ironed_out", "high_fidelity"):
        for model_type in ("classic", "gan"):
            params = Upscale2x.model_validate({"mode": mode, "model_type": model_type})
            assert (params.mode, params.model_type) == (mode, model_type)


@pytest.mark.parametrize("wrong", [{"mode": "best"}, {"mode": None}, {"model_type": "GAN"}, {"model_type": 1}])
def test_other_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Upscale2x.model_validate(wrong)


def test_factor_belongs_to_the_endpoint_not_to_the_customer() -> None:
    assert Upscale4x.model_validate({"factor": 64, "extra": 1}).factor == 4
