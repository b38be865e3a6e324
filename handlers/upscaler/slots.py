"""The networks that are there: those of this package, and those of the operator's folder in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from handlers.upscaler.network import Network, UnusableModel, load

VARIANTS = ("clean", "robust", "smooth")
_FACTORS = (2, 4, 8)
_SHIPPED = Path(__file__).with_name("models")


def load_slots(models_dir: Path, threads: int) -> Mapping[str, Network]:
    """Slot, as `clean_2x`, -> its network. An operator's file wins over ours. Raises UnusableModel."""
    found: dict[str, Network] = {}
    for variant in VARIANTS:
        for factor in _FACTORS:
            slot = f"{variant}_{factor}x"
            for folder in (models_dir, _SHIPPED):
                if (folder / f"{slot}.json").exists() or (folder / f"{slot}.onnx").exists():
                    found[slot] = _checked(load(folder / f"{slot}.json", threads), factor, folder)
                    break
    return found


def chain(slots: Mapping[str, Network], variant: str, factor: int) -> Sequence[Network]:
    """The networks that together enlarge `factor` times: one of its own, else that of 2x, then the clean ones."""
    own = slots.get(f"{variant}_{factor}x")
    if own is not None:
        return [own]
    return [slots[f"{variant}_2x"], *chain(slots, "clean", factor // 2)]


def _checked(network: Network, factor: int, folder: Path) -> Network:
    if network.card.scale != factor:
        said = network.card.scale
        raise UnusableModel(f"model {folder / network.name}.onnx enlarges {said} times, but its slot is for {factor}")
    return network
