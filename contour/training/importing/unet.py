"""nnU-Net's two U-Nets, built from what plans say, with the names that its checkpoints give their weights.

Written after dynamic_network_architectures 0.3.1 and 0.4.4 (Apache-2.0), which nnU-Net v2 builds its networks with.
Plans name that library's classes by strings, which nnU-Net looks up as Python paths, and its newer versions bring
further packages along. Here a table says what a string may stand for, and everything else is refused by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn


class Norm(StrEnum):
    """What normalises after each convolution."""

    INSTANCE = "instance"
    BATCH = "batch"


@dataclass(frozen=True)
class UNetSpec:
    """A U-Net of nnU-Net's: one entry of `features`, `kernels`, `strides` and `encoder_depth` for each stage.

    `residual` encoders have `encoder_depth` blocks a stage, others so many convolutions; decoders `decoder_depth`
    convolutions. `slope` is that of the leaky ReLU below 0, which comes before the norm where `nonlin_first`.

    Raises:
        ValueError: the entries do not belong to one network, or it has neither two nor three dimensions.
    """

    dimensions: int
    residual: bool
    channels_in: int
    channels_out: int
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    encoder_depth: tuple[int, ...]
    decoder_depth: tuple[int, ...]
    conv_bias: bool = True
    norm: Norm = Norm.INSTANCE
    norm_eps: float = 1e-5
    norm_affine: bool = True
    slope: float = 0.01
    nonlin_first: bool = False
    stem_features: int | None = None

    def __post_init__(self) -> None:
        stages = len(self.features)
        if self.dimensions not in (2, 3):
            raise ValueError(f"{self.dimensions} dimensions: 2 or 3")
        if stages < 2 or {len(self.kernels), len(self.strides), len(self.encoder_depth)} != {stages}:
            raise ValueError(f"{stages} stages: at least 2, and a kernel, stride and depth for each")
        if len(self.decoder_depth) != stages - 1:
            raise ValueError(f"{len(self.decoder_depth)} stages up: one less than the {stages} down")
        if any(len(each) != self.dimensions for each in (*self.kernels, *self.strides)):
            raise ValueError(f"kernels and strides: {self.dimensions} numbers each")


class UNet(nn.Module):
    """(N, channels, ...) to logits (N, channels, ...) on the same grid; no deep supervision, as when it draws."""

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        self.encoder = _ResidualEncoder(spec) if spec.residual else _PlainEncoder(spec)
        self.decoder = _Decoder(spec)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of an image."""
        logits: Tensor = self.decoder(self.encoder(image))
        return logits


class _Block(nn.Module):
    """Convolution, norm and, unless `linear`, leaky ReLU."""

    def __init__(  # noqa: PLR0913 - a convolution's own arguments
        self,
        spec: UNetSpec,
        channels_in: int,
        channels_out: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...] = (),
        *,
        linear: bool = False,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.conv = _conv(spec)(
            channels_in,
            channels_out,
            kernel,
            stride or 1,
            padding=[(n - 1) // 2 for n in kernel],
            bias=spec.conv_bias if bias is None else bias,
        )
        self.norm = _norm(spec, channels_out)
        self.nonlin = nn.Identity() if linear else nn.LeakyReLU(spec.slope)
        self._nonlin_first = spec.nonlin_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        result: Tensor = self.norm(self.nonlin(x)) if self._nonlin_first else self.nonlin(self.norm(x))
        return result


class _Stack(nn.Module):
    """So many convolutions, the first of which may shrink the grid."""

    def __init__(
        self,
        spec: UNetSpec,
        depth: int,
        channels_in: int,
        channels_out: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        first = _Block(spec, channels_in, channels_out, kernel, stride)
        others = [_Block(spec, channels_out, channels_out, kernel) for _ in range(depth - 1)]
        self.convs = nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.convs(x)
        return result


class _PlainEncoder(nn.Module):
    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        inputs = (spec.channels_in, *spec.features[:-1])
        rows = zip(spec.encoder_depth, inputs, spec.features, spec.kernels, spec.strides, strict=True)
        self.stages = nn.Sequential(*(nn.Sequential(_Stack(spec, *row)) for row in rows))

    def forward(self, x: Tensor) -> list[Tensor]:
        return _each(self.stages, x)


class _ResidualEncoder(nn.Module):
    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        stem = spec.stem_features or spec.features[0]
        self.stem = _Stack(spec, 1, spec.channels_in, stem, spec.kernels[0])
        inputs = (stem, *spec.features[:-1])
        rows = zip(spec.encoder_depth, inputs, spec.features, spec.kernels, spec.strides, strict=True)
        self.stages = nn.Sequential(*(_ResidualStage(spec, *row) for row in rows))

    def forward(self, x: Tensor) -> list[Tensor]:
        return _each(self.stages, self.stem(x))


class _ResidualStage(nn.Module):
    def __init__(
        self,
        spec: UNetSpec,
        depth: int,
        channels_in: int,
        channels_out: int,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
    ) -> None:
        super().__init__()
        one = (1,) * spec.dimensions
        first = _ResidualBlock(spec, channels_in, channels_out, kernel, stride)
        others = [_ResidualBlock(spec, channels_out, channels_out, kernel, one) for _ in range(depth - 1)]
        self.blocks = nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.blocks(x)
        return result


class _ResidualBlock(nn.Module):
    """ResNet-D's basic block (He et al., CVPR 2019): the way around pools on average, then changes the channels."""

    def __init__(
        self, spec: UNetSpec, channels_in: int, channels_out: int, kernel: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.conv1 = _Block(spec, channels_in, channels_out, kernel, stride)
        self.conv2 = _Block(spec, channels_out, channels_out, kernel, linear=True)
        self.nonlin2 = nn.LeakyReLU(spec.slope)
        around: list[nn.Module] = []
        if max(stride) > 1:
            pool = nn.AvgPool3d if spec.dimensions == 3 else nn.AvgPool2d
            around.append(pool(stride, stride))
        if channels_in != channels_out:
            one = (1,) * spec.dimensions
            around.append(_Block(spec, channels_in, channels_out, one, linear=True, bias=False))
        self.skip = nn.Sequential(*around)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))
        return result


class _Decoder(nn.Module):
    """From the coarsest stage up; a layer that answers stands at each, and only the last is asked."""

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        up = nn.ConvTranspose3d if spec.dimensions == 3 else nn.ConvTranspose2d
        stages, ups, answers = [], [], []
        for depth, s in zip(spec.decoder_depth, range(len(spec.features) - 2, -1, -1), strict=True):
            skip, stride = spec.features[s], spec.strides[s + 1]
            ups.append(up(spec.features[s + 1], skip, stride, stride, bias=spec.conv_bias))
            stages.append(_Stack(spec, depth, 2 * skip, skip, spec.kernels[s]))
            answers.append(_conv(spec)(skip, spec.channels_out, 1, bias=True))
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(ups)
        self.seg_layers = nn.ModuleList(answers)

    def forward(self, skips: list[Tensor]) -> Tensor:
        x = skips[-1]
        for stage, up, skip in zip(self.stages, self.transpconvs, reversed(skips[:-1]), strict=True):
            x = stage(torch.cat((up(x), skip), dim=1))
        logits: Tensor = self.seg_layers[-1](x)
        return logits


def _each(stages: nn.Sequential, x: Tensor) -> list[Tensor]:
    found = []
    for stage in stages:
        x = stage(x)
        found.append(x)
    return found


def _conv(spec: UNetSpec) -> Callable[..., nn.Module]:
    kinds: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
    return kinds[spec.dimensions]


def _norm(spec: UNetSpec, channels: int) -> nn.Module:
    kinds = {
        (Norm.INSTANCE, 2): nn.InstanceNorm2d,
        (Norm.INSTANCE, 3): nn.InstanceNorm3d,
        (Norm.BATCH, 2): nn.BatchNorm2d,
        (Norm.BATCH, 3): nn.BatchNorm3d,
    }
    return kinds[spec.norm, spec.dimensions](channels, eps=spec.norm_eps, affine=spec.norm_affine)
