# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Makes float checkpoints of shipped models, and archives of checkpoints (`m3vit.model.zoo` tells what they hold)."""

import lzma
import tarfile
import tempfile
from pathlib import Path

from m3vit.model import zoo
from m3vit.model.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from m3vit.model.config import Config
from m3vit.model.dequantise import dequantise, norm_parameters
from m3vit.model.errors import UserError, write_atomically
from m3vit.model.quantise import quantise
from m3vit.model.units import Units, units_from_tensors, units_to_tensors
from m3vit.model.vit import M3ViT
from m3vit.sim.pathway import Pathways, read_pathways, write_pathways

ROUNDS = 3


def unpack_checkpoint(unpacked: Path) -> Path:
    """Write the float checkpoint of an unpacked model beside its pathway, once.

    Args:
        unpacked: folder that `zoo.unpack` made.

    Returns:
        The checkpoint; it carries its units, so exporting it gives the pathway's memory image again.
    """
    path = unpacked / zoo.CHECKPOINT
    if not path.exists():
        extras = read_checkpoint(unpacked / zoo.EXTRAS)
        units = units_from_tensors(extras.quant, extras.config.model)
        model = dequantise(read_pathways(unpacked / zoo.PATHWAY), units, extras.model)
        write_checkpoint(path, Checkpoint(extras.config, extras.step, model.state_dict(), {}, quant=extras.quant))
    return path


def settle(model: M3ViT, config: Config, units: Units) -> tuple[Pathways, M3ViT]:
    """Move weights onto the integers' grid until quantising and the way back change nothing.

    Raises:
        UserError: they do not settle, because biases or accumulators limit a channel's scale.
    """
    norms = norm_parameters(model)
    pathways = quantise(model, config, units)
    for _ in range(ROUNDS):
        model = dequantise(pathways, units, norms)
        again = quantise(model, config, units)
        if again.first.image.tobytes() == pathways.first.image.tobytes():
            return pathways, model
        pathways = again
    raise UserError("the weights do not settle on the integers' grid; train longer or with a lower learning rate")


def pack(pathways: Pathways, model: M3ViT, units: Units, step: int, archive: Path) -> None:
    """Write the archive of a settled model.

    Args:
        pathways: with their accuracy.
        model: that `settle` gave with them.
        units: of their quantisation.
        step: optimiser updates of the training.
        archive: file to write.
    """
    config = pathways.first.config
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pathways(pathways, folder / zoo.PATHWAY)
        extras = Checkpoint(config, step, norm_parameters(model), {}, quant=units_to_tensors(units))
        write_checkpoint(folder / zoo.EXTRAS, extras)
        plain = folder / "plain.tar"
        with tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in (folder / zoo.EXTRAS, *sorted((folder / zoo.PATHWAY).iterdir())):
                tar.add(path, path.relative_to(folder).as_posix(), filter=_anonymous)
        write_atomically(archive, lzma.compress(plain.read_bytes(), preset=9))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry
