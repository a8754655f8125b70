"""One part of the reference in PyTorch on the CPU, in float32 with random weights of real width.

    USO_REFERENCE=/path/to/reference python3 torch_parts.py PART THREADS

`uso-bench engine` starts it beside its own side and lets both take turns. It says a line of JSON once the part is ready,
and one for each line that it reads: `time` runs the part and answers its seconds; `memory` runs it and answers the most
bytes of anonymous memory while it ran, less those before.
"""

import contextlib
import io
import json
import os
import sys
import threading
import time


def transformer(lora_rank=None):
    """One double and two single blocks on 1,024 target, 1,024 content, 192 style and 512 text tokens."""
    import dataclasses

    import torch
    from uso.flux.model import Flux
    from uso.flux.util import configs, set_lora

    params = dataclasses.replace(configs["flux-dev"].params, depth=1, depth_single_blocks=2)
    model = Flux(params)
    if lora_rank:
        model = set_lora(model, lora_rank)
    model.eval()

    def grid(first):
        side = torch.arange(32.0) + first
        rows, columns = torch.meshgrid(side, side, indexing="ij")
        return torch.stack([torch.zeros(32, 32), rows, columns], dim=-1).reshape(1, 1024, 3)

    text = 192 + 512
    inputs = {
        "img": torch.randn(1, 1024, params.in_channels),
        "img_ids": grid(0),
        "txt": torch.randn(1, text, params.context_in_dim),
        "txt_ids": torch.zeros(1, text, 3),
        "timesteps": torch.full((1,), 0.7),
        "y": torch.randn(1, params.vec_in_dim),
        "guidance": torch.full((1,), 4.0),
        "ref_img": (torch.randn(1, 1024, params.in_channels),),
        "ref_img_ids": [grid(32)],
    }
    return lambda: model(**inputs)


def autoencoder():
    from uso.flux.modules.autoencoder import AutoEncoder
    from uso.flux.util import configs

    return AutoEncoder(configs["flux-dev"].ae_params).eval()


def decoder():
    import torch

    model, latent = autoencoder(), torch.randn(1, 16, 64, 64)
    return lambda: model.decode(latent)


def encoder():
    import torch

    model, picture = autoencoder(), torch.rand(1, 3, 512, 512) * 2 - 1
    return lambda: model.encode(picture)


def siglip():
    import torch
    from transformers import SiglipVisionConfig, SiglipVisionModel

    sizes = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
    model = SiglipVisionModel(SiglipVisionConfig(image_size=384, patch_size=14, **sizes)).eval()
    pixels = torch.randn(1, 3, 384, 384)
    return lambda: model(pixel_values=pixels, output_hidden_states=True)


def t5():
    """Two of the 24 layers, 512 tokens."""
    import torch
    from transformers import T5Config, T5EncoderModel

    sizes = {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 2, "num_heads": 64}
    model = T5EncoderModel(T5Config(feed_forward_proj="gated-gelu", **sizes)).eval()
    tokens = (torch.arange(512) * 37 % 32000)[None]
    return lambda: model(input_ids=tokens)


PARTS = {
    "transformer": transformer,
    "transformer-lora": lambda: transformer(128),
    "decoder": decoder,
    "encoder": encoder,
    "siglip": siglip,
    "t5": t5,
}


def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))


def memory(run):
    before, most, done = anonymous(), 0, threading.Event()

    def watch():
        nonlocal most
        while not done.wait(0.01):
            most = max(most, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return max(most - before, 0)


def seconds(run):
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def say(**answer):
    print(json.dumps(answer), flush=True)


def main():
    part, threads = sys.argv[1], int(sys.argv[2])
    reference = os.environ.get("USO_REFERENCE")
    if not reference:
        sys.exit("USO_REFERENCE does not name the reference's folder")
    sys.path.insert(0, reference)
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    # The reference's modules say what they use.
    with contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
        run = PARTS[part]()
        run()
    say(version=torch.__version__)
    with torch.inference_mode():
        for line in sys.stdin:
            say(value={"time": seconds, "memory": memory}[line.strip()](run))


if __name__ == "__main__":
    main()
