# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""The pathway folder: round trip, every kind of damage, interrupted exports, and what a program may not do."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3vit.model.config import DEMO, HARDWARE, MODELS, HardwareConfig, ModelConfig
from m3vit.model.errors import UserError
from m3vit.sim import pathway as pathway_module
from m3vit.sim.capacity import block_rows, check_fits, mlp_slices
from m3vit.sim.golden.executor import run
from m3vit.sim.layout import STRIPE_BYTES
from m3vit.sim.pathway import Accuracy, Pathways, read_pathways, write_pathways
from m3vit.sim.program import OP_BYTES, Op, Opcode, ProgramError
from m3vit.sim.program_check import check_addresses, check_program, check_sizes
from m3vit.sim.synthetic import random_image, random_moe, random_pathways

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
    other_head = pathways.task("segmentation").program[-1]
    assert (other_head.opcode, other_head.out_features) == (Opcode.STORE, 80)
    alone = random_pathways(MODEL.model_copy(update={"tasks": ("depth",)}), DEMO.hardware, seed=1)
    own = [n for n in first.blocks if n.endswith((".depth", ".edges", ".segmentation"))]
    assert len(own) == 9
    assert first.image.size - alone.first.image.size < 30_000


def test_blocks_tile_the_image(pathways: Pathways) -> None:
    blocks = sorted(pathways.first.blocks.values(), key=lambda block: block.offset)
    assert all(block.offset % STRIPE_BYTES == 0 for block in blocks)
    for block, following in pairwise(blocks):
        assert 0 <= following.offset - (block.offset + block.size) < STRIPE_BYTES
    names = [name for name, _ in sorted(pathways.first.blocks.items(), key=lambda item: item[1].offset)]
    tasks = [f"blocks.1.router.{task}" for task in ("segmentation", "depth", "edges")]
    start = names.index("blocks.1.norm2")
    assert names[start : start + 6] == ["blocks.1.norm2", "blocks.1.gelu", *tasks, "blocks.1.experts"]
    assert names[:3] == ["position", "patch_embed", "blocks.0.norm1"]
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


@pytest.mark.parametrize(("version", "age"), [(1, "an older m3vit (version 1"), (3, "a newer m3vit (version 3")])
def test_other_versions(folder: Path, version: int, age: str) -> None:
    edit(folder, lambda manifest: manifest.update(version=version))
    with pytest.raises(UserError) as caught:
        read_pathways(folder)
    assert age in str(caught.value)
    assert "run m3vit export again" in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"version": "x"}', '{"version": 2}', "[" * 100000])
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


def program_of(model: ModelConfig, hardware: HardwareConfig) -> tuple[Op, ...]:
    return random_pathways(model.model_copy(update={"layers": 2}), hardware).first.program


PROGRAM = program_of(MODEL, DEMO.hardware)
"""0 PATCH_EMBED; LAYER_NORM, 2 LINEAR, 3 ATTENTION, 4 LINEAR_RESIDUAL, LAYER_NORM, 6 MLP; the same with 12 MOE;
LAYER_NORM, 14 HEAD, 15 STORE."""


def names(opcodes: str) -> list[Opcode]:
    return [Opcode[name] for name in opcodes.split()]


def test_program_of_two_layers() -> None:
    attention = "LAYER_NORM LINEAR ATTENTION LINEAR_RESIDUAL LAYER_NORM "
    expected = f"PATCH_EMBED {attention} MLP {attention} MOE LAYER_NORM HEAD STORE"
    assert [op.opcode for op in PROGRAM] == names(expected)
    patch, linear, attend, mlp, moe = (PROGRAM[i] for i in (0, 2, 3, 6, 12))
    assert patch.operands == (8, 64, 64, 8, 8)
    assert (linear.heads, linear.operands) == (2, (32,))
    assert (attend.heads, attend.operands[3:]) == (2, (65, 32))
    assert (mlp.experts, mlp.out_features, mlp.expert_stride) == (2, 128, 18432)  # 17,920 and padding
    assert (moe.experts, moe.out_features, moe.expert_stride) == (8, 128, 18432)
    assert [(op.rows, op.out_features) for op in PROGRAM[14:]] == [(65, 80), (64, 80)]


@pytest.mark.parametrize(
    ("index", "changes", "message"),
    [
        (0, {"operands": (12, 64, 64, 5, 5)}, "patch 12, but .* multiples of 8"),
        (0, {"operands": (256, 256, 256, 1, 1)}, "patch 256, but .* 8 to 255"),
        (0, {"operands": (8, 60, 64, 8, 8)}, "image height 60, but .* multiples of 8"),
        (0, {"operands": (8, 64, 60, 8, 8)}, "image width 60, but .* multiples of 8"),
        (0, {"operands": (8, 64, 64, 7, 8)}, "patches per image row 7 where its other sizes give 8"),
        (0, {"operands": (8, 64, 64, 8, 7)}, "patches per image column 7 where its other sizes give 8"),
        (0, {"operands": (8, 65536, 64, 8, 8192)}, "image height 65536, but .* 8 to 65535"),
        (0, {"operands": (8, 72, 64, 8, 9)}, "rows 65 where its other sizes give 73"),
        (0, {"in_features": 191}, "in_features 191 where its other sizes give 192"),
        (0, {"operands": (16, 16, 1024, 64, 1), "in_features": 768}, "in_features 768, but .* 32 to 256"),
        (0, {"out_features": 160}, "out_features 160, but .* 32 to 128"),
        (0, {"out_features": 48}, "out_features 48, but .* multiples of 32"),
        (0, {"rows": 81}, "rows 81, but .* 2 to 80"),
        (1, {"rows": 1}, "rows 1, but .* 2 to 80"),
        (1, {"in_features": 160}, "in_features 160, but .* 32 to 128"),
        (1, {"in_features": 72}, "in_features 72, but .* multiples of 32"),
        (1, {"operands": (65536, 10)}, "multiplier 65536, but .* 0 to 65535"),
        (1, {"operands": (40000, 32)}, "shift 32, but .* 1 to 31"),
        (1, {"operands": (40000, 0)}, "shift 0, but .* 1 to 31"),
        (2, {"out_features": 64}, "out_features 64 where its other sizes give 192"),
        (2, {"heads": 3}, "heads 3 where its other sizes give 2"),
        (2, {"operands": (16,)}, "channels per head 16, but .* 32 to 64"),
        (2, {"operands": (48,)}, "channels per head 48, but .* multiples of 32"),
        (3, {"in_features": 64}, "in_features 64 where its other sizes give 192"),
        (3, {"operands": (32, 40000, 14, 65, 32)}, "score shift 32, but .* 0 to 31"),
        (3, {"operands": (3, 65536, 14, 65, 32)}, "output multiplier 65536, but .* 0 to 65535"),
        (3, {"operands": (3, 40000, 32, 65, 32)}, "output shift 32, but .* 1 to 31"),
        (3, {"operands": (3, 40000, 14, 81, 32)}, "rows per block 81, but .* 1 to 80"),
        (3, {"operands": (3, 40000, 14, 0, 32)}, "rows per block 0, but .* 1 to 80"),
        (3, {"operands": (3, 40000, 14, 65, 64)}, "heads 2 where its other sizes give 1"),
        (4, {"out_features": 144}, "out_features 144, but .* 32 to 128"),
        (6, {"experts": 0}, "experts 0, but .* 1 to 1024"),
        (6, {"out_features": 192}, "out_features 192, but .* 64 to 128"),
        (6, {"out_features": 96}, "out_features 96, but .* multiples of 64"),
        (12, {"out_features": 0}, "out_features 0, but .* 64 to 128"),
        (12, {"experts": 1025}, "experts 1025, but .* 1 to 1024"),
        (12, {"top_k": 9}, "top_k 9, but .* 1 to 8"),
        (12, {"top_k": 0}, "top_k 0, but .* 1 to 8"),
        (12, {"experts": 2, "top_k": 3}, "top_k 3, but .* 1 to 2"),
        (14, {"out_features": 129}, "out_features 129, but .* 1 to 128"),
        (14, {"out_features": 0}, "out_features 0, but .* 1 to 128"),
        (15, {"rows": 0}, "rows 0, but .* 1 to 80"),
    ],
)
def test_sizes_beyond_the_hardware(index: int, changes: dict[str, Any], message: str) -> None:
    check_sizes(PROGRAM[index], DEMO.hardware, "it")
    with pytest.raises(UserError, match=f"^it has {message}"):
        check_sizes(replace(PROGRAM[index], **changes), DEMO.hardware, "it")


def test_queries_must_fit_the_hidden_buffer() -> None:
    """Four heads of 64 channels take four words a token; heads of 32 share words."""
    wide = DEMO.hardware.model_copy(update={"max_dim": 256, "max_hidden": 192})
    op = replace(PROGRAM[2], in_features=256, out_features=768, heads=4, operands=(64,))
    with pytest.raises(UserError, match=r"query words per token 4, but .* 1 to 3"):
        check_sizes(op, wide, "it")
    check_sizes(replace(op, heads=8, operands=(32,)), wide.model_copy(update={"max_hidden": 256}), "it")
    with pytest.raises(UserError, match="query words per token 4, but"):
        check_sizes(replace(op, heads=8, operands=(32,)), wide, "it")


def test_experts_must_fit_the_stream_buffer() -> None:
    """An expert of the demo has 16 x 9 + 8 x 17 words."""
    check_sizes(PROGRAM[12], DEMO.hardware.model_copy(update={"stream_words": 280}), "it")
    with pytest.raises(UserError, match=r"stream words per expert 280, but .* 1 to 279"):
        check_sizes(PROGRAM[12], DEMO.hardware.model_copy(update={"stream_words": 279}), "it")


@pytest.mark.parametrize("index", [6, 12])
def test_stride_must_be_the_experts_size(index: int) -> None:
    op = replace(PROGRAM[index], expert_stride=17920)
    with pytest.raises(UserError, match="stride of 17920 bytes where its sizes give 18432"):
        check_addresses(op, DEMO.hardware, 1 << 30, "it")


# Order of operations


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ([], "has 0 operations"),
        ([0, *[1, 2, 3, 4] * 32, 15], "has 130 operations, the hardware takes 1 to 128"),
        ([15], "begins with STORE, not with PATCH_EMBED or LOAD"),
        ([1, 2, 3, 4, 15], "begins with LAYER_NORM"),
        (range(15), "ends with HEAD, not with STORE"),
        ([0, 0, 15], r"operation 1 \(PATCH_EMBED\) of it follows PATCH_EMBED"),
        ([0, 2, 3, 4, 15], r"operation 1 \(LINEAR\) of it follows PATCH_EMBED, behind which comes LAYER_NORM or STORE"),
        ([0, 1, 1, 6, 15], "LAYER_NORM, behind which comes LINEAR or MLP or MOE or HEAD"),
        ([0, 1, 15], "follows LAYER_NORM"),
        ([0, 1, 2, 4, 15], "LINEAR, behind which comes ATTENTION"),
        ([0, 1, 2, 3, 5, 6, 15], "ATTENTION, behind which comes LINEAR_RESIDUAL"),
        ([0, 1, 2, 3, 4, 6, 15], "follows LINEAR_RESIDUAL"),
        ([0, 1, 6, 12, 15], "follows MLP"),
        ([0, 1, 14, 1, 6, 15], "HEAD, behind which comes STORE"),
        ([0, 1, 14, 15, 15], "STORE, behind which comes nothing"),
    ],
)
def test_order_of_operations(keep: Iterable[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_program([PROGRAM[index] for index in keep], "it")


def test_any_number_of_layers_may_run() -> None:
    store = Op(opcode=Opcode.STORE, rows=65, out_features=64)
    load = Op(opcode=Opcode.LOAD, rows=65, in_features=64)
    for body in ((), (1, 6), (1, 12), (1, 2, 3, 4), (1, 2, 3, 4, 1, 6, 1, 12, 1, 12)):
        for first in (PROGRAM[0], load):
            check_program([first, *(PROGRAM[index] for index in body), store])


@pytest.mark.parametrize(
    ("index", "changes", "message"),
    [
        *((index, {"rows": 60}, "rows 60 where the operations before it give 6") for index in range(1, 16)),
        *((i, {"in_features": 32}, "in_features 32 where .* give 64") for i in (1, 2, 4, 6, 12, 14)),
        (3, {"out_features": 32}, "out_features 32 where .* give 64"),
        (4, {"out_features": 32}, "out_features 32 where .* give 64"),
        (3, {"heads": 1}, "heads 1 where .* give 2"),
        (3, {"operands": (3, 40000, 14, 65, 64)}, "channels per head 64 where .* give 32"),
        (15, {"out_features": 64}, "out_features 64 where .* give 80"),
    ],
)
def test_operations_speak_of_the_same_tokens(index: int, changes: dict[str, Any], message: str) -> None:
    program = list(PROGRAM)
    program[index] = replace(program[index], **changes)
    with pytest.raises(UserError, match=message):
        check_program(program)


def test_a_pathway_checks_order_and_sizes(pathways: Pathways) -> None:
    swapped = with_op(pathways, 1, pathways.first.program[2])
    with pytest.raises(UserError, match=r"operation 1 \(LINEAR\) of task 'segmentation' follows"):
        swapped.check()
    smaller = replace(pathways.first, config=DEMO.model_copy(update={"hardware": HARDWARE["zcu104"]}))
    with pytest.raises(UserError, match="hardware 'zcu104'"):
        smaller.check()


# Capacity


@pytest.mark.parametrize(
    ("model", "hardware", "what"),
    [
        ({}, {"max_tokens": 64}, "tokens 65 exceeds the max_tokens 64"),
        ({"dim": 160}, {}, "dim 160 exceeds the max_dim 128"),
        ({"expert_hidden": 320}, {}, "expert_hidden 320 exceeds the max_hidden 128"),
        ({"experts": 16, "top_k": 9}, {}, "top_k 9 exceeds the max_top_k 8"),
        ({"experts": 1025}, {}, "experts 1025 exceeds the limit of the router 1024"),
        ({"dim": 72}, {}, "dim 72 is not a multiple of the unit 32"),
        ({"dim": 96}, {}, "channels per head 48 is not a multiple of the unit 32"),
        ({"dim": 128, "heads": 1}, {}, "channels per head 128 exceeds the inputs 64"),
        ({"dim": 128, "heads": 1}, {"groups": 4}, "channels per head 128 exceeds the limit of the linear engine 120"),
        ({"dim": 128}, {"max_hidden": 64}, "query words per token 2 exceeds the hidden buffer's 1"),
        ({"patch": 16}, {}, "words per patch 12 exceeds the key-value buffer's 4"),
        ({"patch": 4, "image_hw": (32, 32)}, {}, "patch 4 is not a multiple of the step 8"),
        ({"head_grid": 8}, {}, "number of head outputs 320 exceeds the max_dim 128"),
        ({"layers": 21}, {}, "number of operations 130 exceeds the limit of a program 128"),
        ({"expert_hidden": 96}, {}, "expert_hidden 96 is not a multiple of the inputs 64"),
        ({"mlp_hidden": 224}, {}, "mlp_hidden 224 cannot be cut"),
        ({}, {"stream_words": 256}, "an expert or MLP slice of 280 words exceeds the stream_words 256"),
    ],
)
def test_capacity_names_the_first_limit(model: dict[str, Any], hardware: dict[str, Any], what: str) -> None:
    tree = MODEL.model_copy(update={"expert_hidden": 64} if hardware.get("max_hidden") == 64 else {})
    with pytest.raises(UserError, match=what):
        check_fits(tree.model_copy(update=model), DEMO.hardware.model_copy(update=hardware))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"max_dim": 100}, "max_dim 100 must be a multiple of 32"),
        ({"max_hidden": 80}, "max_hidden 80 must be a multiple of 32"),
        ({"max_dim": 2048}, "must be at most 2040"),
        ({"max_hidden": 2048}, "must be at most 2040"),
        ({"stream_words": 500}, "stream_words 500 must be a power of two"),
        ({"lanes": 24}, "lanes"),
        ({"groups": 5}, "groups"),
    ],
)
def test_impossible_hardware_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        HardwareConfig.model_validate(DEMO.hardware.model_dump() | changes)


@pytest.mark.parametrize(
    ("hidden", "slices"), [(256, 2), (128, 1), (64, 1), (192, 3), (320, 5), (384, 3), (640, 5), (448, 7)]
)
def test_slices_are_few_equal_and_whole_words(hidden: int, slices: int) -> None:
    """Words of 64 channels, at most 128 in a slice."""
    assert mlp_slices(MODEL.model_copy(update={"mlp_hidden": hidden}), DEMO.hardware) == slices


@pytest.mark.parametrize(("tokens", "rows"), [(65, 65), (129, 129), (136, 136), (137, 69), (1025, 129)])
def test_blocks_are_even(tokens: int, rows: int) -> None:
    assert block_rows(tokens, HARDWARE["zcu104"]) == rows


def test_presets_fit_their_hardware() -> None:
    check_fits(DEMO.model, DEMO.hardware)
    for name in ("m3vit_tiny_patch16", "m3vit_small_patch16"):
        check_fits(MODELS[name], HARDWARE["zcu104"])
    with pytest.raises(UserError, match="dim 768"):
        check_fits(MODELS["m3vit_base_patch16"], HARDWARE["zcu104"])


@pytest.mark.parametrize(
    "model",
    [
        {"dim": 32, "heads": 1, "mlp_hidden": 96, "expert_hidden": 96},
        {"dim": 96, "heads": 1, "mlp_hidden": 768, "expert_hidden": 192, "experts": 3, "top_k": 3},
        {"dim": 160, "heads": 5, "mlp_hidden": 96, "expert_hidden": 384, "patch": 16, "head_grid": 2},
        {"dim": 384, "heads": 6, "mlp_hidden": 480, "expert_hidden": 96, "experts": 5, "image_hw": (32, 48)},
    ],
)
@pytest.mark.parametrize(("lanes", "groups"), [(8, 3), (16, 3), (32, 3)])
def test_what_fits_passes_all_checks_and_runs(model: dict[str, Any], lanes: int, groups: int) -> None:
    """Models at odd sizes: `check_fits` and `check_program` agree, and golden reads back what was laid out."""
    hardware = HARDWARE["zcu104"].model_copy(update={"lanes": lanes, "groups": groups, "max_hidden": 576})
    config = MODEL.model_copy(update=model)
    check_fits(config, hardware)
    pathways = random_pathways(config, hardware)
    pathways.check()
    random_moe(config, hardware).check()
    shape = run(pathways.task("depth"), random_image(config)).output_NC.shape
    assert shape == (config.tokens - 1, config.head_grid**2)
