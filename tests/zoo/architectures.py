"""The architectures that `make zoo` puts through the translator, each with its family.

`size` is that of its images: the one it was made for where windows or attention fix it, else 128, which keeps
the table affordable. ConvMixer is not there in its smallest size, convmixer_768_32: it has rectifiers before
BatchNormalization, and drawn at random their 32 layers leave nothing that tells two images apart.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Architecture:
    """One network of torchvision or timm."""

    name: str
    family: str
    size: int = 128
    library: Literal["timm", "torchvision"] = "timm"


def _torchvision(name: str, family: str, size: int = 128) -> Architecture:
    return Architecture(name, family, size, "torchvision")


ARCHITECTURES = (
    _torchvision("alexnet", "AlexNet", 224),
    _torchvision("vgg11_bn", "VGG", 224),
    _torchvision("resnet18", "ResNet"),
    _torchvision("resnext50_32x4d", "ResNeXt"),
    _torchvision("squeezenet1_1", "SqueezeNet"),
    _torchvision("densenet121", "DenseNet"),
    _torchvision("googlenet", "GoogLeNet"),
    _torchvision("inception_v3", "Inception", 299),
    _torchvision("mobilenet_v2", "MobileNetV2", 224),
    _torchvision("mobilenet_v3_small", "MobileNetV3", 224),
    _torchvision("efficientnet_b0", "EfficientNet", 224),
    _torchvision("efficientnet_v2_s", "EfficientNetV2"),
    _torchvision("mnasnet0_5", "MNASNet"),
    _torchvision("shufflenet_v2_x0_5", "ShuffleNetV2", 224),
    _torchvision("regnet_x_400mf", "RegNet"),
    _torchvision("regnet_y_400mf", "RegNet"),
    _torchvision("convnext_tiny", "ConvNeXt"),
    _torchvision("swin_t", "Swin", 224),
    _torchvision("lraspp_mobilenet_v3_large", "LR-ASPP (segmentation)"),
    _torchvision("deeplabv3_mobilenet_v3_large", "DeepLabV3 (segmentation)"),
    _torchvision("ssdlite320_mobilenet_v3_large", "SSDLite (detection, without NMS)", 320),
    Architecture("mobilenetv3_small_050", "MobileNetV3", 224),
    Architecture("mobilenetv4_conv_small_035", "MobileNetV4"),
    Architecture("efficientnet_lite0", "EfficientNet-Lite", 224),
    Architecture("tf_efficientnetv2_b0", "EfficientNetV2"),
    Architecture("tinynet_e", "TinyNet"),
    Architecture("lcnet_035", "LCNet"),
    Architecture("ghostnet_050", "GhostNet"),
    Architecture("repghostnet_050", "RepGhostNet"),
    Architecture("hardcorenas_a", "HardCoRe-NAS"),
    Architecture("fbnetc_100", "FBNet"),
    Architecture("semnasnet_075", "MNASNet"),
    Architecture("mixnet_s", "MixNet"),
    Architecture("rexnet_100", "ReXNet"),
    Architecture("cspresnet50", "CSPNet"),
    Architecture("dla46_c", "DLA"),
    Architecture("hrnet_w18_small", "HRNet"),
    Architecture("selecsls42", "SelecSLS"),
    Architecture("ese_vovnet19b_dw", "VoVNet"),
    Architecture("repvgg_a0", "RepVGG"),
    Architecture("mobileone_s0", "MobileOne"),
    Architecture("resnest14d", "ResNeSt"),
    Architecture("skresnet18", "SKNet"),
    Architecture("legacy_seresnet18", "SENet"),
    Architecture("ecaresnet26t", "ECA-Net"),
    Architecture("res2net50_26w_4s", "Res2Net"),
    Architecture("resnetv2_18", "ResNetV2"),
    Architecture("xception41", "Xception"),
    Architecture("nf_regnet_b0", "NFNet"),
    Architecture("dpn48b", "DPN"),
    Architecture("gernet_s", "GENet"),
    Architecture("hgnetv2_b0", "HGNet"),
    Architecture("starnet_s1", "StarNet"),
    Architecture("convmixer_1024_20_ks9_p14", "ConvMixer", 112),
    Architecture("convnextv2_atto", "ConvNeXt V2"),
    Architecture("inception_next_atto", "InceptionNeXt"),
    Architecture("mambaout_femto", "MambaOut"),
    Architecture("poolformer_s12", "PoolFormer"),
    Architecture("edgenext_xx_small", "EdgeNeXt"),
    Architecture("repvit_m0_9", "RepViT"),
    Architecture("fastvit_t8", "FastViT"),
    Architecture("efficientformer_l1", "EfficientFormer", 224),
    Architecture("efficientvit_b0", "EfficientViT"),
    Architecture("mobilevit_xxs", "MobileViT"),
    Architecture("mobilevitv2_050", "MobileViT V2"),
    Architecture("levit_128s", "LeViT", 224),
    Architecture("visformer_tiny", "Visformer", 224),
    Architecture("coatnet_pico_rw_224", "CoAtNet", 224),
    Architecture("tiny_vit_5m_224", "TinyViT", 224),
    Architecture("deit_tiny_patch16_224", "ViT", 224),
)

FLOAT_LIMITS = {
    "convmixer_1024_20_ks9_p14": "XNNPACK's GELU is up to 9e-7 off, also where it gives no more than that, "
    "and BatchNormalization makes channels of so small numbers large; with LiteRT's own kernels the "
    "difference is 1e-7",
}
"""Why the float32 form of these keeps its bound with LiteRT's own kernels alone."""

_AMPLIFIED = "in floats, puts a few codes in a million one step apart, and later layers multiply that"
INT8_LIMITS = {
    "deit_tiny_patch16_224": f"LayerNormalization, {_AMPLIFIED}",
    "poolformer_s12": f"GroupNormalization, {_AMPLIFIED}",
    "tiny_vit_5m_224": f"LayerNormalization, {_AMPLIFIED}",
}
"""Why the int8 form of these does not keep all bounds."""
