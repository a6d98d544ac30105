"""Makes reference.json: what PyTorch computes with the weights and inputs of the nets' tests.

Where it runs: anywhere with Python 3.9 or later, PyTorch 2, torchvision 0.15 or later, NumPy and
the package `safetensors`; no GPU. It was last run with the versions that reference.json names.

    for net in $(python reference.py --nets); do
        cargo run --release -p tandem-realrun --example weights $net 3 weights/$net.safetensors
    done
    python reference.py weights reference.json

The nets are torchvision's own; YOLOv4, which it lacks, is put together here from darknet's
yolov4.cfg, layer by layer. Weights are loaded by name, and every name of the one must be one of
the other. Everything is computed in 64-bit floats, so that what a test sees is the rounding of the
net it tests; beside it stands how far PyTorch itself is off with 32-bit floats.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

SEED = 3

# Samples of each output, evenly spaced.
N_VALUES = 40

# Heights and widths of the inputs. Odd sizes show what is done at the edges.
SIDES = ((64, 64), (45, 45))

# Names in scenarios, what torchvision calls them, and their inputs. Strips are long enough for the
# widest dilation of DeepLabV3 and the widest window of YOLOv4, at little cost.
NETS = {
    "squeezenet1.1": ("squeezenet1_1", SIDES),
    "resnet18": ("resnet18", SIDES),
    "resnet50": ("resnet50", SIDES),
    "wide-resnet101": ("wide_resnet101_2", SIDES),
    "mobilenet-v3": ("mobilenet_v3_small", SIDES),
    "mobilenet-v3-large": ("mobilenet_v3_large", SIDES),
    "efficientnet-b0": ("efficientnet_b0", SIDES),
    "deeplabv3-resnet50": ("deeplabv3_resnet50", ((45, 45), (16, 320), (320, 16))),
    "yolov4": (None, ((64, 64), (32, 320), (320, 32))),
}

# darknet's cfg/yolov4.cfg in short: `c` is a convolution (filters, size, stride, activation) with
# batch normalisation unless linear, `route` lays outputs of earlier layers on each other, counted
# back from here or from the first layer, `add` is a shortcut, and `yolo` marks the layer before it
# as an output.
STEM = "c 32 3 1 mish"


def csp(filters, part, inner, blocks, back):
    """A stage of the backbone: `back` is the route to its bypass, as the cfg has it."""
    yield f"c {filters} 3 2 mish"
    yield f"c {part} 1 1 mish"
    yield "route -2"
    yield f"c {part} 1 1 mish"
    for _ in range(blocks):
        yield f"c {inner} 1 1 mish"
        yield f"c {part} 3 1 mish"
        yield "add -3"
    yield f"c {part} 1 1 mish"
    yield f"route -1 {back}"
    yield f"c {filters} 1 1 mish"


def alternating(filters, n):
    """1x1 and 3x3 convolutions in turn, the latter with twice the filters."""
    for i in range(n):
        yield f"c {filters * (1 + i % 2)} {1 + 2 * (i % 2)} 1 leaky"


def yolov4_layers():
    yield STEM
    yield from csp(64, 64, 32, 1, -7)
    yield from csp(128, 64, 64, 2, -10)
    yield from csp(256, 128, 128, 8, -28)
    yield from csp(512, 256, 256, 8, -28)
    yield from csp(1024, 512, 512, 4, -16)
    yield from alternating(512, 3)
    yield from ("max 5", "route -2", "max 9", "route -4", "max 13", "route -1 -3 -5 -6")
    yield from alternating(512, 3)
    yield from ("c 256 1 1 leaky", "up", "route 85", "c 256 1 1 leaky", "route -1 -3")
    yield from alternating(256, 5)
    yield from ("c 128 1 1 leaky", "up", "route 54", "c 128 1 1 leaky", "route -1 -3")
    yield from alternating(128, 5)
    yield from ("c 256 3 1 leaky", "c 255 1 1 linear", "yolo")
    yield from ("route -4", "c 256 3 2 leaky", "route -1 -16")
    yield from alternating(256, 6)
    yield from ("c 255 1 1 linear", "yolo")
    yield from ("route -4", "c 512 3 2 leaky", "route -1 -37")
    yield from alternating(512, 6)
    yield from ("c 255 1 1 linear", "yolo")


def yolov4_names():
    """What Tianxiaomo/pytorch-YOLOv4 calls the convolutions, in the order of the cfg."""
    yield from (f"down1.conv{i}" for i in range(1, 9))
    for stage, blocks in ((2, 2), (3, 8), (4, 8), (5, 4)):
        yield from (f"down{stage}.conv{i}" for i in (1, 2, 3))
        for i in range(blocks):
            yield from (f"down{stage}.resblock.module_list.{i}.{j}" for j in (0, 1))
        yield from (f"down{stage}.conv{i}" for i in (4, 5))
    yield from (f"neek.conv{i}" for i in range(1, 21))
    yield from (f"head.conv{i}" for i in range(1, 19))


class Yolov4(nn.Module):
    """Runs the layers of the cfg, each on the outputs of earlier ones."""

    def __init__(self):
        super().__init__()
        self.layers = [line.split() for line in yolov4_layers()]
        names = yolov4_names()
        self.convs = {}
        channels = []
        for i, (kind, *rest) in enumerate(self.layers):
            before = channels[-1] if channels else 3
            if kind == "c":
                filters, size, stride = map(int, rest[:3])
                normalised = rest[3] != "linear"
                conv = nn.Conv2d(before, filters, size, stride, size // 2, bias=not normalised)
                parts = [conv, nn.BatchNorm2d(filters)] if normalised else [conv]
                self.convs[i] = (next(names), nn.Sequential(*parts))
                channels.append(filters)
            elif kind == "route":
                channels.append(sum(channels[j] for j in self.sources(i, rest)))
            else:
                channels.append(before)
        assert next(names, None) is None, "a name is left"
        self.all = nn.ModuleList(convs for _, convs in self.convs.values())

    def load_state_dict(self, tensors):
        expected = set()
        for name, convs in self.convs.values():
            own = {f"{name}.conv.{key}" for key in convs.state_dict()}
            optional = {key for key in own if key.endswith("num_batches_tracked")}
            expected |= own - optional
            part = {key: tensors[f"{name}.conv.{key}"] for key in convs.state_dict()
                    if f"{name}.conv.{key}" not in optional}
            missing, unexpected = convs.load_state_dict(part, strict=False)
            assert not unexpected and all("num_batches" in key for key in missing)
        assert expected == set(tensors), expected ^ set(tensors)

    @staticmethod
    def sources(i, indices):
        return [int(j) if int(j) >= 0 else i + int(j) for j in indices]

    def forward(self, x):
        outputs, results = [], []
        for i, (kind, *rest) in enumerate(self.layers):
            if kind == "c":
                x = self.convs[i][1](x)
                if rest[3] == "mish":
                    x = F.mish(x)
                elif rest[3] == "leaky":
                    x = F.leaky_relu(x, 0.1)
            elif kind == "route":
                x = torch.cat([outputs[j] for j in self.sources(i, rest)], dim=1)
            elif kind == "add":
                x = x + outputs[i + int(rest[0])]
            elif kind == "max":
                size = int(rest[0])
                x = F.max_pool2d(x, size, stride=1, padding=size // 2)
            elif kind == "up":
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            elif kind == "yolo":
                results.append(x)
            else:
                raise ValueError(kind)
            outputs.append(x)
        return results


def load(name, weights):
    """The net with the weights of the file."""
    tensors = load_file(weights / f"{name}.safetensors")
    published = NETS[name][0]
    if published is None:
        net = Yolov4()
        net.load_state_dict(tensors)
        return net.eval()
    options = {"weights": None}
    if "deeplab" in published:
        options |= {"weights_backbone": None, "aux_loss": True}
    net = torchvision.models.get_model(published, **options)
    # Counters of training, which inference does not read, are not among the weights.
    counters = {key: value for key, value in net.state_dict().items() if "num_batches" in key}
    net.load_state_dict(tensors | counters, strict=True)
    return net.eval()


def images(n, height, width):
    """`n` images of values from -1 to 1 that any machine computes to the same bits."""
    index = np.arange(n * 3 * height * width, dtype=np.int64)
    values = (index * 1103 % 2003).astype(np.float32) / np.float32(1001) - np.float32(1)
    return torch.from_numpy(values.reshape(n, 3, height, width))


def outputs(net, x):
    y = net(x)
    if isinstance(y, dict):
        y = [y["out"], y["aux"]]
    return y if isinstance(y, list) else [y]


def multiply_adds(net, side):
    """Of the convolutions and matrix products for one image."""
    total = 0

    def count(module, _, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    hooks = [
        module.register_forward_hook(count)
        for module in net.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    net(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total


def reference(net, exact, size):
    """The outputs for two images."""
    x = images(2, *size)
    found = []
    for single, y in zip(outputs(net, x), outputs(exact, x.double())):
        flat = y.flatten()
        step = max(1, flat.numel() // N_VALUES)
        largest = flat.abs().max()
        spread = (y[0] - y[1]).norm() / y[0].norm()
        found.append(
            {
                "shape": list(y.shape),
                "largest": float(largest),
                "sum": float(flat.sum()),
                "norm": float(flat.norm()),
                # How far the two images are apart, for that they are told apart at all.
                "spread": round(float(spread), 6),
                "error_of_f32": float(f"{float((single.double() - y).abs().max() / largest):.2e}"),
                "step": step,
                "values": [float(f"{value:.9e}") for value in flat[::step].tolist()],
            }
        )
    return {"size": size, "outputs": found}


def main():
    if sys.argv[1:] == ["--nets"]:
        print("\n".join(NETS))
        return
    weights, target = map(Path, sys.argv[1:])
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    report = {"made_with": versions, "seed": SEED, "nets": {}}
    for name, (_, sizes) in NETS.items():
        with torch.no_grad():
            net = load(name, weights)
            side = {"deeplabv3-resnet50": 520, "yolov4": 416}.get(name, 224)
            n_parameters = sum(it.numel() for it in net.parameters())
            work = multiply_adds(net, side)
            exact = load(name, weights).double()
            report["nets"][name] = {
                "parameters": n_parameters,
                "multiply_adds": {"side": side, "count": work},
                "inputs": [reference(net, exact, size) for size in sizes],
            }
        print(f"{name}: {n_parameters} parameters, {work / 1e9:.3f} G at side {side}")
    text = json.dumps(report, indent=1)
    # Lists of numbers on one line.
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text)
    target.write_text(text + "\n")


if __name__ == "__main__":
    main()
