# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The pathway folder: round trip, every kind of damage, interrupted exports, and what a program may not do."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3vit.model.config import DEMO, HARDWARE, MODELS
from m3vit.model.errors import UserError
from m3vit.sim import pathway as pathway_module
from m3vit.sim.capacity import check_fits
from m3vit.sim.layout import STRIPE_BYTES
from m3vit.sim.pathway import Accuracy, Pathways, read_pathways, write_pathways
from m3vit.sim.program import OP_BYTES, Op, Opcode, ProgramError
from m3vit.sim.synthetic import random_pathways

MODEL = DEMO.model.model_copy(update={"layers": 2, "tasks": ("segmentation", "depth", "edges")})


@pytest.fixture(scope="module")
def pathways() -> Pathways:
    return random_pathways(MODEL, DEMO.hardware, seed=1)


@pytest.fixture(scope="module")
def written(pathways: Pathways, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pathway") / "export"
    write_pathways(pathways, folder)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "export"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest and give it a right checksum again."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sha256"] = pathway_module.BLANK
    change(manifest)
    path.write_bytes(pathway_module._seal(manifest))


# Round trip


def test_round_trip(pathways: Pathways, folder: Path) -> None:
    again = read_pathways(folder)
    assert list(again.tasks) == ["segmentation", "depth", "edges"]
    for task, pathway in pathways.tasks.items():
        for field in ("workload", "task", "task_slot", "program", "program_offset", "scales", "config", "blocks"):
            assert getattr(again.task(task), field) == getattr(pathway, field)
        np.testing.assert_array_equal(again.task(task).image, pathway.image)
    assert sorted(path.name for path in folder.iterdir()) == ["image.bin", "manifest.json"]


def test_accuracy_round_trip(pathways: Pathways, tmp_path: Path) -> None:
    scores = Accuracy("RMSE (m)", False, 0.5, 0.505, 0.9, 128)
    tasks = {task: replace(pathway, accuracy=scores) for task, pathway in pathways.tasks.items()}
    write_pathways(Pathways(tasks), tmp_path / "a")
    assert read_pathways(tmp_path / "a").task("depth").accuracy == scores
    assert scores.loss_percent == pytest.approx(1.0)


def test_all_tasks_share_one_read_only_image(pathways: Pathways, folder: Path) -> None:
    for loaded in (pathways, read_pathways(folder)):
        assert len({id(pathway.image) for pathway in loaded.tasks.values()}) == 1
        assert not loaded.first.image.flags.writeable


def test_a_task_adds_only_routers_head_and_program(pathways: Pathways) -> None:
    first, second = pathways.task("depth"), pathways.task("edges")
    different = [
        (a.opcode, field)
        for a, b in zip(first.program, second.program, strict=True)
        for field in Op.__dataclass_fields__
        if getattr(a, field) != getattr(b, field)
    ]
    assert different == [(Opcode.MOE, "weights"), (Opcode.HEAD, "weights")]
    alone = random_pathways(MODEL.model_copy(update={"tasks": ("depth",)}), DEMO.hardware, seed=1)
    own = [n for n in first.blocks if n.endswith((".depth", ".edges", ".segmentation"))]
    assert len(own) == 9
    assert first.image.size - alone.first.image.size < 30_000


def test_blocks_tile_the_image(pathways: Pathways) -> None:
    blocks = sorted(pathways.first.blocks.values(), key=lambda block: block.offset)
    assert all(block.offset % STRIPE_BYTES == 0 for block in blocks)
    for block, following in pairwise(blocks):
        assert 0 <= following.offset - (block.offset + block.size) < STRIPE_BYTES
    assert "blocks.1.experts" in pathways.first.blocks
    assert "blocks.1.router.depth" in pathways.first.blocks


def test_encoded_program_lies_in_the_image(pathways: Pathways) -> None:
    pathway = pathways.task("depth")
    assert pathway.task_slot == 1
    for index, op in enumerate(pathway.program):
        start = pathway.program_offset + index * OP_BYTES
        decoded = Op.decode(pathway.image[start : start + OP_BYTES].tobytes())
        assert decoded.encode() == op.encode()
        assert decoded.operands[: len(op.operands)] == op.operands


def test_flipped_operations_are_not_decoded(pathways: Pathways) -> None:
    data = bytearray(pathways.first.program[0].encode())
    for index in range(OP_BYTES):
        data[index] ^= 4
        with pytest.raises(ProgramError):
            Op.decode(bytes(data))
        data[index] ^= 4


def test_reading_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['timm'] = None\n"
        "from pathlib import Path; import numpy as np\n"
        "from m3vit.sim.pathway import read_pathways\n"
        "from m3vit.sim.golden.executor import run\n"
        f"p = read_pathways(Path({str(folder)!r})).task('depth')\n"
        "print(run(p, np.zeros((64, 64, 3), np.uint8)).output_NC.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(64, 16)"


# Damage


@pytest.mark.parametrize("name", ["manifest.json", "image.bin"])
def test_one_flipped_byte_anywhere_is_found(folder: Path, name: str) -> None:
    path, rng = folder / name, np.random.default_rng(5)
    data = path.read_bytes()
    places = {0, len(data) - 1, *rng.integers(0, len(data), 150).tolist()}
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"again|older|newer"):
            read_pathways(folder)
    path.write_bytes(data)
    read_pathways(folder)


def test_a_flip_inside_the_checksum_is_found(folder: Path) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    start = text.index('"sha256": "') + 11
    for place in range(start, start + 64):
        path.write_text(text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :])
        with pytest.raises(UserError, match="damaged"):
            read_pathways(folder)


@pytest.mark.parametrize("name", ["manifest.json", "image.bin"])
@pytest.mark.parametrize("keep", [0, 1, 1000])
def test_truncation_is_found(folder: Path, name: str, keep: int) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:keep])
    with pytest.raises(UserError, match=name):
        read_pathways(folder)
    (folder / name).write_bytes(data[:-1])
    with pytest.raises(UserError, match=name):
        read_pathways(folder)


@pytest.mark.parametrize("name", ["manifest.json", "image.bin"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=name):
        read_pathways(folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="m3vit export"):
        read_pathways(tmp_path / "nothing")


@pytest.mark.parametrize(("version", "age"), [(0, "an older m3vit (version 0"), (2, "a newer m3vit (version 2")])
def test_other_versions(folder: Path, version: int, age: str) -> None:
    edit(folder, lambda manifest: manifest.update(version=version))
    with pytest.raises(UserError) as caught:
        read_pathways(folder)
    assert age in str(caught.value)
    assert "run m3vit export again" in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"version": "x"}', '{"version": 1}', "[" * 100000])
def test_other_json_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(UserError, match="damaged"):
        read_pathways(folder)


@pytest.mark.parametrize("key", ["image", "tasks", "blocks", "config"])
def test_missing_fields_are_refused(folder: Path, key: str) -> None:
    edit(folder, lambda manifest: manifest.pop(key))
    with pytest.raises(UserError, match="export again"):
        read_pathways(folder)


def test_program_that_differs_from_the_image(folder: Path) -> None:
    edit(folder, lambda manifest: manifest["tasks"]["depth"]["program"][0].update(rows=64))
    with pytest.raises(UserError, match="differs"):
        read_pathways(folder)


# Writing


def test_writing_twice_replaces(pathways: Pathways, folder: Path) -> None:
    other = random_pathways(MODEL, DEMO.hardware, seed=2)
    write_pathways(other, folder)
    np.testing.assert_array_equal(read_pathways(folder).first.image, other.first.image)
    assert len(list(folder.iterdir())) == 2


def test_other_folders_are_not_overwritten(pathways: Pathways, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not a pathway"):
        write_pathways(pathways, tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(UserError, match="not a pathway"):
        write_pathways(pathways, tmp_path)
    with pytest.raises(UserError, match="not a pathway"):
        write_pathways(pathways, tmp_path / "thesis.tex")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "thesis.tex"]


class KilledError(BaseException):
    """Stands for a kill signal."""


@pytest.mark.parametrize("survivors", [0, 1, 2])
def test_killed_export_leaves_old_or_new(
    pathways: Pathways, folder: Path, survivors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill before the 1st, 2nd or 3rd rename of image, manifest, image."""
    other = random_pathways(MODEL, DEMO.hardware, seed=2)
    renames = iter(range(10))
    rename = Path.replace

    def replace_or_die(self: Path, target: Path) -> Path:
        if next(renames) >= survivors:
            raise KilledError
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace_or_die)
    with pytest.raises(KilledError):
        write_pathways(other, folder)
    monkeypatch.undo()
    expected = pathways if survivors < 2 else other
    np.testing.assert_array_equal(read_pathways(folder).first.image, expected.first.image)
    write_pathways(other, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["image.bin", "manifest.json"]


@pytest.mark.parametrize("survivors", [0, 1])
def test_killed_first_export_is_not_readable_but_repeatable(
    pathways: Pathways, tmp_path: Path, survivors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    renames = iter(range(10))
    rename = Path.replace

    def replace_or_die(self: Path, target: Path) -> Path:
        if next(renames) >= survivors:
            raise KilledError
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace_or_die)
    with pytest.raises(KilledError):
        write_pathways(pathways, tmp_path / "new")
    monkeypatch.undo()
    with pytest.raises(UserError, match="cannot read"):
        read_pathways(tmp_path / "new")
    write_pathways(pathways, tmp_path / "new")
    read_pathways(tmp_path / "new")


# Programs


def test_unknown_task(pathways: Pathways) -> None:
    with pytest.raises(UserError, match="choose one of segmentation, depth, edges"):
        pathways.task("saliency")


def moe_index(pathways: Pathways) -> int:
    return next(i for i, op in enumerate(pathways.first.program) if op.opcode is Opcode.MOE)


def with_op(pathways: Pathways, index: int, op: Op) -> Pathways:
    """Replace one operation in program and image alike."""
    first = pathways.first
    image = first.image.copy()
    start = first.program_offset + index * OP_BYTES
    image[start : start + OP_BYTES] = np.frombuffer(op.encode(), np.uint8)
    program = (*first.program[:index], op, *first.program[index + 1 :])
    return Pathways({first.task: replace(first, program=program, image=image)})


@pytest.mark.parametrize("field", ["weights", "table", "expert_base"])
@pytest.mark.parametrize("offset", [1 << 30, 2**32 - 64, 32])
def test_operations_outside_the_image(pathways: Pathways, tmp_path: Path, field: str, offset: int) -> None:
    index = moe_index(pathways)
    changed: dict[str, Any] = {field: offset}
    broken = with_op(pathways, index, replace(pathways.first.program[index], **changed))
    with pytest.raises(UserError, match="the image has"):
        broken.check()
    with pytest.raises(UserError, match="the image has"):
        write_pathways(broken, tmp_path / "x")


def test_last_expert_must_lie_inside(pathways: Pathways) -> None:
    index = moe_index(pathways)
    op = pathways.first.program[index]
    last = pathways.first.image.size - op.experts * op.expert_stride
    with_op(pathways, index, replace(op, expert_base=last // 64 * 64)).check()
    with pytest.raises(UserError, match="the image has"):
        with_op(pathways, index, replace(op, expert_base=(last // 64 + op.expert_stride // 64) * 64)).check()


@pytest.mark.parametrize(
    ("field", "value"),
    [("rows", 81), ("rows", 0), ("in_features", 128), ("out_features", 320), ("top_k", 9), ("top_k", 0)],
)
def test_sizes_beyond_the_hardware(pathways: Pathways, field: str, value: int) -> None:
    index = moe_index(pathways)
    op = replace(pathways.first.program[index], experts=1 if field == "in_features" else 8)
    changed: dict[str, Any] = {field: value}
    with pytest.raises(UserError, match=rf"{field} {value}|stride|the image has"):
        with_op(pathways, index, replace(op, **changed)).check()


# Capacity


@pytest.mark.parametrize(
    ("model", "hardware", "what"),
    [
        ({}, {"max_tokens": 64}, "tokens 65 exceeds the max_tokens 64"),
        ({"dim": 128}, {}, "dim 128 exceeds the max_dim 64"),
        ({"expert_hidden": 320}, {}, "expert_hidden 320 exceeds the max_hidden 256"),
        ({"experts": 16, "top_k": 9}, {}, "top_k 9 exceeds the max_top_k 8"),
        ({"experts": 1025}, {}, "experts 1025 exceeds"),
        ({"dim": 32}, {}, "dim 32 is not a multiple of the word of 64"),
        ({"expert_hidden": 96}, {}, "expert_hidden 96 is not a multiple of the word of 64"),
        ({}, {"lanes": 48, "max_dim": 192, "max_hidden": 192}, "dim 64 is not a multiple of the lanes 48"),
        ({"mlp_hidden": 4160}, {}, "mlp_hidden 4160 exceeds"),
    ],
)
def test_capacity_names_the_first_limit(model: dict[str, Any], hardware: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        check_fits(MODEL.model_copy(update=model), DEMO.hardware.model_copy(update=hardware))


def test_presets_fit_their_hardware() -> None:
    check_fits(DEMO.model, DEMO.hardware)
    for name in ("m3vit_tiny_patch16", "m3vit_small_patch16"):
        check_fits(MODELS[name], HARDWARE["zcu104"])
    with pytest.raises(UserError, match="dim 768"):
        check_fits(MODELS["m3vit_base_patch16"], HARDWARE["zcu104"])
