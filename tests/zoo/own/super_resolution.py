"""From small images to large ones, and images in another style."""

import torch
from torch import nn
from torch.nn import functional

from tests.zoo.own.network import Network, image, modules


class PixelShuffle(nn.Module):
    """Channels become pixels at the end (Shi et al., "ESPCN", 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 24, 5, padding=2), nn.Tanh(), nn.Conv2d(24, 16, 3, padding=1), nn.Tanh()),
            *(nn.Conv2d(16, 3 * 9, 3, padding=1), nn.PixelShuffle(3)),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class Transposed(nn.Module):
    """Narrow layers, one wide transposed convolution at the end (Dong et al., "FSRCNN", 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 24, 5, padding=2), nn.PReLU(24), nn.Conv2d(24, 8, 1), nn.PReLU(8)),
            *(nn.Conv2d(8, 8, 3, padding=1), nn.PReLU(8), nn.Conv2d(8, 24, 1), nn.PReLU(24)),
            nn.ConvTranspose2d(24, 3, 9, 3, 4, output_padding=2),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class Residual(nn.Module):
    """Blocks without normalisation, scaled shortcuts, bounds (Lim et al., "EDSR", 2017)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = modules(
            *(
                nn.Sequential(
                    nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
                )
                for _ in range(3)
            )
        )
        self.up = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2))
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = first = self.entry(image)
        for block in self.blocks:
            x = x + 0.1 * block(x)
        big = functional.interpolate(image, scale_factor=2.0, mode="bicubic", align_corners=False)
        return (self.last(self.up(x + first)) * 0.1 + big).clamp(-3, 3)


class Style(nn.Module):
    """Reflected edges and InstanceNorm (Johnson et al., "Perceptual Losses", 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(nn.ReflectionPad2d(4), nn.Conv2d(3, 12, 9), nn.InstanceNorm2d(12, affine=True), nn.ReLU()),
            *(nn.ReflectionPad2d(1), nn.Conv2d(12, 24, 3, 2), nn.InstanceNorm2d(24, affine=True), nn.ReLU()),
        )
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.ReflectionPad2d(1),
            nn.Conv2d(24, 12, 3),
            nn.ReLU(),
        )
        self.last = nn.Sequential(nn.ReflectionPad2d(4), nn.Conv2d(12, 3, 9), nn.Tanh())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(self.up(self.down(image)))


class Unrolled(nn.Module):
    """A denoiser that is asked three times for what is to be taken away, with one set of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(16, 16, 3, padding=2, dilation=2)),
            *(nn.ELU(), nn.Conv2d(16, 3, 3, padding=1)),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            image = image - 0.2 * self.net(image)
        return image


NETWORKS = (
    Network(
        "espcn",
        "PixelShuffle, open height and width",
        PixelShuffle,
        image,
        ("image_large",),
        "TorchScript",
        11,
        (32, 48, 40),
        {"image": {2: "height", 3: "width"}},
    ),
    Network("fsrcnn", "one ConvTranspose at the end", Transposed, image, sizes=(32,)),
    Network(
        "edsr",
        "scaled shortcuts, bicubic beside",
        Residual,
        image,
        exporter="dynamo, not optimised",
        sizes=(32,),
    ),
    Network("style", "reflected edges, InstanceNorm", Style, image, exporter="TorchScript", opset=13),
    Network("denoiser", "one net three times", Unrolled, image, sizes=(32,)),
)
