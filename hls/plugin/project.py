# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""One task of a Pathway as an hls4ml project, by hls4ml's own calls."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from m3vit.hls.plugin import BACKEND
from m3vit.hls.plugin.modules import model_for_task
from m3vit.sim.pathway import Pathways


def write_project(pathways: Pathways, task: str, folder: Path) -> Any:
    """Convert a task's network with hls4ml and write the project; nothing is compiled or synthesised.

    Args:
        pathways: of all tasks.
        task: its name.
        folder: new folder of the project; it can be copied anywhere.

    Returns:
        hls4ml's ModelGraph, ready for `compile` and `predict`.

    Raises:
        UserError: there is no such task.
    """
    import hls4ml  # loads all its backends: seconds

    model = model_for_task(pathways, task)
    with redirect_stdout(io.StringIO()):  # hls4ml reports every step
        config = hls4ml.utils.config_from_pytorch_model(
            model, model.input_shape, channels_last_conversion="off", backend=BACKEND
        )
        graph = hls4ml.converters.convert_from_pytorch_model(
            model, backend=BACKEND, output_dir=str(folder), hls_config=config
        )
        graph.write()
    return graph
