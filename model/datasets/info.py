# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Facts about each dataset: its tasks, classes, layout on disk, constants of losses and metrics, source and licence."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from m3vit.model.config import HUMAN_PARTS, SEGMENTATION_CLASSES, Config, DatasetName, ModelConfig, TaskName
from m3vit.model.errors import UserError

Split = dict[str, Tensor]
"""`image` uint8 (B, 3, H, W) and one target per task; without the first axis for a single image."""

IGNORE = 255
"""Label of pixels without a ground truth: segmentation, human parts, edges, saliency."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Facts about one dataset.

    Attributes:
        name: As `DataConfig.dataset` says it.
        title: As people say it.
        tasks: Tasks it has ground truth for.
        classes: Names of the classes of segmentation; their number is `ModelConfig.classes`.
        parts: Names of the classes of human parts.
        image_hw: Image size that the literature trains at.
        depth_offset_m: The model emits (depth - offset) / scale.
        depth_scale_m: See `depth_offset_m`.
        depth_limit_m: Depth beyond it counts as no value.
        edge_weight: Weight of an edge pixel in the balanced cross-entropy; another pixel weighs 1 - edge_weight.
        edge_tolerance: Distance within which an edge counts as found, as a share of the image's diagonal; never less
            than a pixel.
        saliency_per_image: Precision and recall of saliency are averaged over images instead of pooled over pixels.
        loss_weights: Factors of the tasks' losses; 1 where there is none.
        tree: Files below the root, for messages.
        address: Where to get it.
        licence: Its terms, in a few words.
        citation: Papers.
    """

    name: DatasetName
    title: str
    tasks: tuple[TaskName, ...]
    classes: tuple[str, ...]
    parts: tuple[str, ...] = HUMAN_PARTS
    image_hw: tuple[int, int]
    depth_offset_m: float = 0.0
    depth_scale_m: float = 1.0
    depth_limit_m: float = float("inf")
    edge_weight: float = 0.5
    edge_tolerance: float = 0.0
    saliency_per_image: bool = False
    loss_weights: Mapping[TaskName, float] = field(default_factory=dict)
    tree: str
    address: str
    licence: str
    citation: str

    def channels(self, task: TaskName) -> int:
        """Output channels of a task's prediction."""
        match task:
            case "segmentation":
                return len(self.classes)
            case "human_parts":
                return len(self.parts)
            case "normals":
                return 3
            case "depth" | "edges" | "saliency":
                return 1

    def expects(self) -> str:
        """Half a sentence that says what a folder with this dataset holds."""
        return f"{self.title} is a folder with {self.tree} ({self.address}; docs/datasets.md shows the tree)"

    def check_model(self, model: ModelConfig) -> None:
        """Refuse a model that this dataset cannot train.

        Raises:
            UserError: a task has no ground truth here, or the number of classes is another.
        """
        foreign = [task for task in model.tasks if task not in self.tasks]
        if foreign:
            raise UserError(
                f"{self.title} has no ground truth for {', '.join(foreign)}; set model.tasks to some of "
                f"{', '.join(self.tasks)}"
            )
        if "segmentation" in model.tasks and model.classes != len(self.classes):
            raise UserError(
                f"the model has {model.classes} classes and {self.title} {len(self.classes)}; set model.classes = "
                f"{len(self.classes)}"
            )


SCENES = DatasetInfo(
    name="scenes",
    title="the scene dataset",
    tasks=("segmentation", "depth", "normals", "edges", "saliency"),
    classes=SEGMENTATION_CLASSES,
    image_hw=(128, 256),
    depth_offset_m=3.75,  # about zero mean and unit variance over the scenes
    depth_scale_m=1.5,
    edge_weight=0.85,  # 13 % are edges at 64 x 64
    loss_weights={"edges": 4.0},
    tree="nothing: it is rendered",
    address="m3vit.model.scenes",
    licence="Apache-2.0",
    citation="this repository",
)
"""Procedural scenes, rendered here."""

NYUD = DatasetInfo(
    name="nyud",
    title="NYUD-v2",
    tasks=("segmentation", "depth", "normals", "edges"),
    classes=(
        "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture",
        "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes",
        "ceiling", "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard",
        "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "other structure", "other furniture",
        "other prop",
    ),
    image_hw=(480, 640),
    depth_offset_m=2.5,  # assumed: the middle of a room; it only moves the bias that training starts from
    depth_scale_m=1.0,  # the loss is in metres, as in the published recipe
    edge_weight=0.95,
    edge_tolerance=0.011,
    loss_weights={"normals": 10.0, "edges": 50.0},
    tree=(
        "gt_sets/train.txt and val.txt, images/NAME.jpg or .png, segmentation/NAME.png or .mat, "
        "depth/NAME.npy or .mat, normals/NAME.npy, .png or .jpg, edge/NAME.npy or .png"
    ),
    address="https://github.com/SimonVandenhende/Multi-Task-Learning-PyTorch",
    licence="not stated; see https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
    citation="Silberman et al., ECCV 2012; 40 classes: Gupta et al., CVPR 2013; packaging: Maninis et al., CVPR 2019",
)  # fmt: skip
"""NYU Depth V2, multi-task packaging of ASTMT (arXiv 1904.08918) and MTI-Net (arXiv 2001.06902).

Edge weight and loss weights are those of M3ViT's recipe for four tasks (VITA-Group/M3ViT,
configs/nyud/vit/pup_vit_small_deit_multi_task_baseline_fouttasks.yml); the tolerance is ATRC's (arXiv 2104.13874).
"""

PASCAL_CONTEXT = DatasetInfo(
    name="pascal_context",
    title="PASCAL-Context",
    tasks=("segmentation", "human_parts", "normals", "saliency", "edges"),
    classes=(
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
    ),
    image_hw=(512, 512),
    edge_weight=0.95,
    edge_tolerance=0.0075,
    saliency_per_image=True,
    loss_weights={"human_parts": 2.0, "saliency": 5.0, "edges": 50.0, "normals": 10.0},
    tree=(
        "ImageSets/Context/train.txt and val.txt, JPEGImages/NAME.jpg, semseg/VOC12/NAME.png or "
        "semseg/pascal-context/NAME.png, pascal-context/trainval/NAME.mat, human_parts/NAME.mat, "
        "normals_distill/NAME.png, sal_distill/NAME.png"
    ),
    address="https://github.com/facebookresearch/astmt",
    licence="PASCAL VOC's terms for the images (Flickr); ASTMT's repository is CC BY-NC 4.0",
    citation="Mottaghi et al., CVPR 2014; Chen et al., CVPR 2014 (parts); packaging: Maninis et al., CVPR 2019",
)  # fmt: skip
"""PASCAL-Context, multi-task packaging of ASTMT (arXiv 1904.08918, section 4).

Edge weight and loss weights are those of M3ViT's recipe (VITA-Group/M3ViT,
configs/pascal/vit_moe/pup_moe_vit_small_multi_task_baseline.yml);
the tolerance is ATRC's (arXiv 2104.13874).
"""

CITYSCAPES = DatasetInfo(
    name="cityscapes",
    title="Cityscapes",
    tasks=("segmentation", "depth"),
    classes=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    image_hw=(512, 1024),
    depth_offset_m=20.0,  # assumed, as is the scale: of the order of what a street shows
    depth_scale_m=15.0,
    depth_limit_m=80.0,
    tree=(
        "leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png, gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png, "
        "disparity/SPLIT/CITY/NAME_disparity.png and camera/SPLIT/CITY/NAME_camera.json for train and val"
    ),
    address="https://www.cityscapes-dataset.net",
    licence="research use, registration; see the address",
    citation="Cordts et al., CVPR 2016 (arXiv 1604.01685)",
)  # fmt: skip
"""Cityscapes as its authors distribute it (mcordts/cityscapesScripts, README: dataset structure).

Depth ends at 80 m, a disparity of about six pixels, as depth evaluation on this dataset usually does.
"""

INFOS: dict[DatasetName, DatasetInfo] = {info.name: info for info in (SCENES, NYUD, PASCAL_CONTEXT, CITYSCAPES)}
"""Every dataset by its name."""


def find_info(config: Config) -> DatasetInfo:
    """Facts about the dataset that a config names."""
    return INFOS[config.data.dataset]
