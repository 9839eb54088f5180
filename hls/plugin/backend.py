# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""hls4ml backend "M3ViT": Vitis HLS for the ZCU104, an engine with weights in DRAM, layers with our own kernels."""

import ctypes
import shutil
from typing import Any

from hls4ml.backends.vitis.vitis_backend import VitisBackend
from hls4ml.backends.vivado.vivado_backend import VivadoBackend
from hls4ml.model.flow import get_flow, register_flow

from m3vit.hls.plugin import BACKEND
from m3vit.hls.plugin.codegen import TEMPLATES
from m3vit.hls.plugin.passes import PASSES
from m3vit.model.config import BoardConfig
from m3vit.model.errors import UserError
from m3vit.sim.regmap import Error

CLOCK_PERIOD_NS = 3.33
"""300 MHz, an assumption until a vendor tool closes timing."""
NO_IMAGE = 1 << 16
"""What the C-simulation library reports when it finds no memory image beside itself."""


class M3ViTBackend(VitisBackend):
    """hls4ml's Vitis backend with other options, a flow that replaces layers, and a `predict` that sees errors."""

    def __init__(self) -> None:
        super(VivadoBackend, self).__init__(name=BACKEND)  # as VitisBackend does, which would call itself Vitis
        for pass_class in PASSES:
            instance = pass_class()
            self.register_pass(instance.name, instance)
        for template in TEMPLATES:
            self.register_template(template)
        self._register_layer_attributes()
        self._register_flows()

    def _register_flows(self) -> None:
        """Our replacement of layers, then what the Vitis backend does, with our templates and our writer."""
        prefix = BACKEND.lower()
        replacement = register_flow(
            "replace", [f"{prefix}:replace_layers", f"{prefix}:fuse_program"], backend=self.name
        )
        init = "vivado:init_layers"
        templates = register_flow("apply_templates", self._get_layer_templates, requires=[init], backend=self.name)
        requirements = get_flow("vivado:ip").requires.copy()
        requirements.insert(requirements.index("vivado:apply_templates"), templates)
        self._default_flow = register_flow("ip", None, requires=[replacement, *requirements], backend=self.name)
        passes = ["make_stamp", f"{prefix}:write_hls"]
        self._writer_flow = register_flow("write", passes, requires=[self._default_flow], backend=self.name)

    def create_initial_config(
        self,
        part: str | None = None,
        clock_period: float | None = None,
        clock_uncertainty: str | None = None,
        io_type: str = "io_stream",
        namespace: str | None = None,
        write_tar: bool = False,
        tb_output_stream: str = "both",
    ) -> dict[str, Any]:
        """Options of a conversion, as hls4ml names them.

        Args:
            part: FPGA, the ZCU104's by default.
            clock_period: ns.
            clock_uncertainty: as Vitis HLS takes it.
            io_type: io_stream only; replace.py refuses others.
            namespace: of the generated code.
            write_tar: pack the project, too.
            tb_output_stream: where the test bench writes: stdout, file, both.
        """
        from m3vit.hls.plugin.handlers import register_handlers

        register_handlers()
        writer = {
            "Namespace": namespace,
            "WriteWeightsTxt": False,
            "WriteTar": write_tar,
            "TBOutputStream": tb_output_stream,
            "WriteEmulationConstants": False,
        }
        return {
            "Part": part or BoardConfig().part,
            "ClockPeriod": clock_period or CLOCK_PERIOD_NS,
            "ClockUncertainty": clock_uncertainty or "27%",
            "IOType": io_type,
            "HLSConfig": {},
            "WriterConfig": writer,
        }

    def predict(self, model: Any, x: Any) -> Any:
        """Run the C-simulation, as `ModelGraph.predict` does without this method, and look at the engine's error.

        Raises:
            UserError: the engine refused its program, or its memory image is missing.
        """
        result = model._predict(x)
        library = model._top_function_lib
        if hasattr(library, "m3vit_error"):
            check_error(int(ctypes.c_uint32.in_dll(library, "m3vit_error").value), model.config.get_output_dir())
        return result

    def build(self, model: Any, **options: Any) -> Any:
        """Run Vitis HLS on the project; options as hls4ml's Vitis backend takes them.

        Raises:
            UserError: Vitis is not installed.
        """
        if shutil.which("vitis-run") is None:
            raise UserError(
                "Vitis is not installed: there is no 'vitis-run' on the PATH; copy the folder "
                f"{model.config.get_output_dir()} to a machine that has it and run 'vitis-run --mode hls --tcl "
                "build_prj.tcl' there"
            )
        return super().build(model, **options)


def check_error(error: int, folder: str) -> None:
    """Raise what the C-simulation library reported.

    Raises:
        UserError: `error` is not 0.
    """
    if error == NO_IMAGE:
        raise UserError(f"there is no memory image firmware/weights/image.bin in {folder}; write the project again")
    if error:
        raise UserError(
            f"the engine refused its program: error {error} ({Error(error).name}); export the pathway again"
        )
