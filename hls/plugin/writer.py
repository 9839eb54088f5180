# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Writes the project: hls4ml's Vitis project, with our kernels, memory ports and memory image.

What hls4ml generates is edited at places that must occur as often as expected, so a change in hls4ml is noticed and
not written over.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from hls4ml.writer.vitis_writer import VitisWriter

from m3vit.hls.headers import CONFIG_HEADER, config_header
from m3vit.hls.plugin.codegen import FOLDER
from m3vit.hls.plugin.layers import Engine
from m3vit.model.config import MemoryConfig
from m3vit.sim.pathway import Pathway

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
TEMPLATES = Path(__file__).resolve().parent / "templates"
IMAGE = "image.bin"
PORT_BYTES = MemoryConfig().port_bytes
PORTS = ("hp0", "hp1", "hp2", "hp3")
REGISTERS = ("memory", "memory_bytes", "error")
PARAMETERS = ", ".join(f"const m3vit::beat_t *{port}" for port in PORTS) + (
    ",\n    uint64_t memory, uint32_t memory_bytes, uint32_t &error"
)
ARGUMENTS = "image.beats(), image.beats(), image.beats(), image.beats(), 0, image.bytes(), m3vit_error"


def interface_pragmas(image_bytes: int) -> str:
    """Memory ports, whose addresses come from registers, and the registers; `depth` is for co-simulation."""
    depth = image_bytes // PORT_BYTES
    ports = (
        f"m_axi port={port} bundle={port} offset=off depth={depth} max_widen_bitwidth=128 num_read_outstanding=16 "
        "max_read_burst_length=16"
        for port in PORTS
    )
    registers = (f"s_axilite port={name} bundle=ctrl" for name in (*REGISTERS, "return"))
    return "".join(f"    #pragma HLS INTERFACE {text}\n" for text in (*ports, *registers))


def engine_of(model: Any) -> Pathway | None:
    """The pathway that the model's engine runs, None if it has no engine."""
    pathways = [node.get_attr("pathway") for node in model.get_layers() if node.class_name == Engine.__name__]
    assert len(pathways) <= 1
    return pathways[0] if pathways else None


def edit(path: Path, pattern: str, replacement: str, times: int = 1) -> None:
    """Replace what matches a regular expression in a file.

    Args:
        path: the file.
        pattern: of Python's `re`, `^` and `$` match at lines.
        replacement: may refer to groups.
        times: how often it must match.
    """
    text, count = re.subn(pattern, replacement, path.read_text(), flags=re.MULTILINE)
    if count != times:
        raise RuntimeError(
            f"{path.name} holds {pattern!r} {count} times, not {times}: hls4ml has changed its templates"
        )
    path.write_text(text)


class M3ViTWriter(VitisWriter):
    """Subclass of hls4ml's Vitis writer."""

    def write_project_cpp(self, model: Any) -> None:
        """Top function, with the memory ports if there is an engine."""
        super().write_project_cpp(model)
        if pathway := engine_of(model):
            path, pragmas = _firmware(model) / f"{_name(model)}.cpp", interface_pragmas(pathway.image.size)
            edit(path, rf"(\nvoid {_name(model)}\([^)]*?)\n\) \{{", rf"\1,\n    {PARAMETERS}\n) {{")
            edit(path, r"(^ *#pragma HLS INTERFACE axis .*\n)", rf"\1{pragmas}")

    def write_project_header(self, model: Any) -> None:
        """Declaration of the top function."""
        super().write_project_header(model)
        if engine_of(model):
            path = _firmware(model) / f"{_name(model)}.h"
            edit(path, rf"(\nvoid {_name(model)}\([^)]*?)\n\);", rf"\1,\n    {PARAMETERS}\n);")
            edit(path, r'^#include "defines\.h"$', f'#include "defines.h"\n#include "{FOLDER}/types.h"')

    def write_test_bench(self, model: Any) -> None:
        """Test bench; it finds the memory image among the files that Vitis HLS copies."""
        super().write_test_bench(model)
        if engine_of(model):
            path = _folder(model) / f"{_name(model)}_test.cpp"
            edit(path, r"^#define CHECKPOINT", _image_lines('"weights/"') + "#define CHECKPOINT")
            leave = '{ std::cout << "ERROR: engine " << m3vit_error << std::endl; return 1; }'
            edit(path, rf"^( *)({_name(model)}\([^()]*)\);", _guarded_call(leave), times=2)

    def write_bridge(self, model: Any) -> None:
        """Functions that Python calls; the memory image is the one in the library's own folder."""
        super().write_bridge(model)
        if engine_of(model):
            path = _folder(model) / f"{_name(model)}_bridge.cpp"
            edit(path, r"^namespace nnet \{$", _image_lines("m3vit::library_folder()") + "namespace nnet {")
            edit(path, rf"^( *)({_name(model)}\([^()]*)\);", _guarded_call("return;"), times=2)

    def write_build_script(self, model: Any) -> None:
        """project.tcl as hls4ml's, build_lib.sh our own: C++17, and no absolute path in the library."""
        super().write_build_script(model)
        script = (TEMPLATES / "build_lib.sh").read_text()
        script = script.replace("PROJECT", _name(model)).replace("STAMP", model.config.get_config_value("Stamp"))
        (_folder(model) / "build_lib.sh").write_text(script)

    def write_build_prj_override(self, model: Any) -> None:
        """build_prj.tcl as hls4ml's, in C++17."""
        super().write_build_prj_override(model)
        edit(_folder(model) / "build_prj.tcl", r"-std=c\+\+0x", "-std=c++17", times=3)

    def write_nnet_utils(self, model: Any) -> None:
        """hls4ml's headers, and the kernels of this package with the engine's config."""
        super().write_nnet_utils(model)
        target = _firmware(model) / FOLDER
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(KERNELS / "fixed", target / "fixed")
        shutil.copy(KERNELS / "rounding.h", target)
        if pathway := engine_of(model):
            for header in (*KERNELS.glob("*.h"), TEMPLATES / "memory_image.h"):
                shutil.copy(header, target)
            (target / CONFIG_HEADER).write_text(config_header(pathway.config.hardware))

    def write_weights(self, model: Any) -> None:
        """Small weights as constants, those of the engine as the pathway's memory image."""
        super().write_weights(model)
        if pathway := engine_of(model):
            (_firmware(model) / "weights" / IMAGE).write_bytes(pathway.image.tobytes())

    def write_yml(self, model: Any) -> None:
        """The configuration without the PyTorch model, and with the folder as seen from itself."""
        config = {key: value for key, value in model.config.config.items() if key != "PytorchModel"}
        text = yaml.safe_dump(_plain(config | {"OutputDir": "."}))
        (_folder(model) / "hls4ml_config.yml").write_text(text)


def _folder(model: Any) -> Path:
    return Path(model.config.get_output_dir())


def _firmware(model: Any) -> Path:
    return _folder(model) / "firmware"


def _name(model: Any) -> str:
    return str(model.config.get_project_name())


def _image_lines(folder: str) -> str:
    """C++ that loads the memory image once, and holds the engine's last error for the host."""
    return (
        f'#include "firmware/{FOLDER}/memory_image.h"\n\n'
        "namespace {\n"
        f'const m3vit::MemoryImage image({folder} + std::string("{IMAGE}"));\n'
        "}\n"
        'extern "C" {\n'
        "uint32_t m3vit_error = 0;\n"
        "}\n\n"
    )


def _guarded_call(leave: str) -> str:
    """Replacement of a call of the top function: with memory ports; leaves without an image or after an error."""
    return (
        r"\1m3vit_error = image.found() ? 0 : m3vit::kNoImage;" + "\n"
        rf"\1if (m3vit_error) {leave}" + "\n"
        rf"\1\2, {ARGUMENTS});" + "\n"
        rf"\1if (m3vit_error) {leave}"
    )


def _plain(value: Any) -> Any:
    """A tree of what YAML knows."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
