# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Designs that use fewer than all AXI ports: exact in RTL, as slow as the cycle model says, refused for HLS."""

import re
from pathlib import Path

import pytest

from m3vit.model.config import DEMO, MAX_PORTS, HardwareConfig
from m3vit.model.errors import UserError
from m3vit.scripts.project import project
from m3vit.scripts.project_folder import Backend
from m3vit.sim.pathway import write_pathways
from m3vit.sim.performance import model_frame
from m3vit.sim.performance.routing import routing_of_lengths
from m3vit.sim.synthetic import random_image, random_pathways
from m3vit.sim.verification import verify

MODEL = DEMO.model.model_copy(update={"tasks": ("depth",)})


def with_ports(ports: int) -> HardwareConfig:
    memory = DEMO.hardware.memory.model_copy(update={"ports": ports})
    return DEMO.hardware.model_copy(update={"name": f"demo-{ports}-ports", "memory": memory})


def test_one_port_is_exact_and_as_slow_as_modelled(tmp_path: Path) -> None:
    hardware = with_ports(1)
    pathways = random_pathways(MODEL, hardware, 3)
    write_pathways(pathways, tmp_path / "pathway")
    images = [random_image(MODEL, 1)]
    results = verify(tmp_path / "pathway", pathways, images, ["depth"], work=tmp_path, switch_rounds=0)
    assert results.elements_compared
    assert results.all_equal
    (frame,) = results.frames
    program = pathways.first.program
    routing = routing_of_lengths({op.op: op.queue_lengths for op in frame.ops if op.queue_lengths}, program)
    assert model_frame(program, hardware, routing).cycles == pytest.approx(frame.cycles, rel=0.02)
    assert frame.cycles > 1.1 * model_frame(program, DEMO.hardware, routing).cycles  # the memory is a quarter as fast


@pytest.mark.parametrize("ports", [1, 2])
def test_a_project_has_the_ports_in_use(tmp_path: Path, ports: int) -> None:
    write_pathways(random_pathways(MODEL, with_ports(ports)), tmp_path / "pathway")
    project(pathway=tmp_path / "pathway", backend=Backend.rtl, out=tmp_path / "project")
    top = (tmp_path / "project/src/m3vit_top.v").read_text()
    assert sorted(set(re.findall(r"m_axi_hp\d", top))) == [f"m_axi_hp{port}" for port in range(ports)]
    assert f".PORTS({ports})" in top


def test_the_hls_accelerator_has_all_ports(tmp_path: Path) -> None:
    write_pathways(random_pathways(MODEL, with_ports(2)), tmp_path / "pathway")
    with pytest.raises(UserError, match=f"uses 2 of {MAX_PORTS} AXI ports"):
        project(pathway=tmp_path / "pathway", backend=Backend.hls, out=tmp_path / "project")
