"""mcquic-rgb while it is trained: transforms of another codec's making, codebooks, priors.

What trains it is `learners.train_codes`: transforms are taken over as they are (`adopt`), so the latents of a
picture are computed once; codebooks begin in closed form (`lay`); the prior learns the codes that a search
chose, the search then has the prior's bits in view, and so on for a few rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from enfold.codecs.mcquic import PRICE, tiled
from enfold.codecs.mcquic_latents import BAND, CONFIGS, McquicLatents, split
from enfold.codecs.mcquic_search import Words
from enfold.codecs.mcquic_words import lay, ranked, refined
from enfold.entropy.codebook_weights import CascadeWeights
from enfold.entropy.codebooks import Codes, code_cascade
from enfold.entropy.densities import Softmax
from enfold.entropy.meter import Meter
from enfold.layers.bytes import packed, unpacked
from enfold.layers.parts import load_parts
from enfold.layers.quality import rate_distortion
from enfold.layers.trainable import CodeTrainable, Loss
from enfold.layers.transforms import Analysis, Synthesis

COARSEST_STEP, FINEST_STEP = 150.0, 14.0        # at positions 0 and 1: what errors are weighed by


class McquicModel(CodeTrainable):
    """Everything of a mcquic-rgb codec that is learned."""

    steps: Tensor                                       # (100, C), in grey levels
    places = BAND

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.config = config = CONFIGS[name]
        self.bands = len(config.books)
        self.analysis, self.synthesis = Analysis(config), Synthesis(config)
        self.register_buffer("steps", torch.ones(100, config.channels))
        self.priors = nn.ModuleList(CascadeWeights(config.cascade(band)) for band in range(self.bands))
        self.words: list[dict[str, np.ndarray]] = [{} for _ in range(self.bands)]

    # --- beginning --------------------------------------------------------------------------------

    @torch.no_grad()
    def adopt(self, arrays: Mapping[str, np.ndarray], pictures: Sequence[np.ndarray]) -> None:
        """Takes over the transforms of a model file of `layers.transforms`' kind, with those of its channels that say
        most of `pictures`, uint8 (H, W, 3), at the finest quality."""
        arrays = {name: arrays[name] for name in arrays if name.startswith(("analysis.", "synthesis.", "steps"))}
        steps = torch.from_numpy(arrays["steps"].astype(np.float32)).log()
        at = torch.tensor([self.config.position(quality) for quality in range(1, 101)]) * (len(steps) - 1)
        left = at.floor().clamp(0, len(steps) - 2).long()
        steps = torch.lerp(steps[left], steps[left + 1], (at - left)[:, None]).exp()
        whole = Analysis(replace(self.config, channels=steps.shape[1]))
        load_parts({"analysis.": whole}, arrays)
        whole.eval()
        finest = torch.tensor([self.config.finest])
        order = ranked([tiled(whole, rgb, finest) / steps[-1, :, None, None].numpy() for rgb in pictures])
        kept = np.sort(order[:self.config.channels])
        cut = {name: array.astype(np.float32) for name, array in arrays.items()}
        for name in ("analysis.linear.weight", "analysis.tail.weight", "analysis.tail.bias", "synthesis.spread"):
            cut[name] = cut[name][kept]
        cut["synthesis.linear.weight"] = cut["synthesis.linear.weight"][:, kept]
        cut["synthesis.head.weight"] = cut["synthesis.head.weight"][:, [*kept, len(steps[0])]]     # and the quality
        load_parts(self._parts, cut)
        self.steps.copy_(steps[:, kept])

    @torch.no_grad()
    def initialise(self, pixels: Tensor) -> None:
        """A start of its own, from crops (B, 3, H, W): principal components, and codebooks of their latents."""
        x = self.analysis.packets.analysis(pixels - 128.0).permute(1, 0, 2, 3).flatten(1)
        _, vectors = torch.linalg.eigh((x @ x.T / x.shape[1]).double())
        basis = vectors[:, -self.config.channels:].flip(1).float()
        self.analysis.linear.weight.copy_(basis.T[:, :, None, None])
        self.synthesis.linear.weight.copy_(basis[:, :, None, None])
        position = torch.tensor([self.config.position(quality) for quality in range(1, 101)])
        self.steps.copy_((COARSEST_STEP * (FINEST_STEP / COARSEST_STEP) ** position)[:, None])
        for band in range(self.bands):
            place = BAND // 2
            pictures = pixels.permute(0, 2, 3, 1).to(torch.uint8).numpy()
            self.lay(band, [self.latents(rgb, band, place) for rgb in pictures], 0)

    # --- codes, for the trainer -------------------------------------------------------------------

    @torch.no_grad()
    def latents(self, rgb: np.ndarray, band: int, place: int) -> np.ndarray:
        quality = 1 + band * BAND + place
        self.analysis.eval()
        latents = tiled(self.analysis, rgb, torch.tensor([self.config.position(quality)]))
        return latents / self.steps[quality - 1, :, None, None].numpy()

    def lay(self, band: int, latents: Sequence[np.ndarray], seed: int) -> None:
        cascade, sizes = self.config.cascade(band), self.config.books[band]
        self.words[band] = lay(cascade, sizes, latents, seed)
        counts = [[np.zeros(count) for count in books] for books in cascade.levels]
        half = self.latent_codec()
        for latent in latents:
            for level, grid in enumerate(split(cascade, half.quantise(latent, 1 + band * BAND, 0.0)[0])):
                for book, count in enumerate(counts[level]):
                    count += np.bincount(grid[..., book].reshape(-1), minlength=len(count))
        for level, books in enumerate(counts):
            for book, count in enumerate(books):
                self.prior_of(band).begin(level, book, torch.from_numpy(count).float())

    def codes(self, band: int, latents: Sequence[np.ndarray], places: Sequence[int]) -> list[np.ndarray]:
        half = self.latent_codec()
        return [half.quantise(latent, 1 + band * BAND + place, PRICE)[0]
                for latent, place in zip(latents, places, strict=True)]

    def refine(self, band: int, latents: Sequence[np.ndarray], codes: Sequence[np.ndarray]) -> None:
        cascade, sizes = self.config.cascade(band), self.config.books[band]
        grids = [split(cascade, symbols) for symbols in codes]
        self.words[band] |= refined(cascade, Words(sizes, self.words[band]), latents, grids)

    def prior_of(self, band: int) -> CascadeWeights:
        prior: Any = self.priors[band]
        return prior

    def bits(self, band: int, codes: Tensor, place: Tensor) -> Tensor:
        cascade = self.config.cascade(band)
        batch, _, rows, columns = codes.shape
        grids = [torch.from_numpy(np.ascontiguousarray(grid)).float() for grid in split(cascade, codes.numpy())]
        meter = Meter(noisy=False)
        weights, biases, looks = self.prior_of(band)(place.float() / (BAND - 1))
        code_cascade(meter, Softmax(), weights, biases, looks, cascade, (batch,), rows, columns,
                     Codes(cascade, (batch,), rows, columns, grids))
        return meter.bits()

    def books(self, band: int) -> list[tuple[int, int]]:
        """(words, positions of a side that a code stands for) of each channel of codes."""
        levels = self.config.cascade(band).levels
        return [(words, 1 << len(levels) - 1 - level) for level, books in enumerate(levels) for words in books]

    # --- a picture as a whole ---------------------------------------------------------------------

    def loss(self, pixels: Tensor, position: Tensor, *, hard: bool) -> Loss:
        """pixels (B, 3, H, W) in 0…255, sides multiples of 16, position (B,) in [0, 1].

        Codes are those that the encoder of use chooses; hard: the analysis gets no gradient.
        """
        half, rows = self.latent_codec(), []
        for one, at in zip(pixels, position, strict=True):
            quality = 1 + round(99 * float(at))
            told = torch.tensor([self.config.position(quality)])
            with torch.set_grad_enabled(not hard and torch.is_grad_enabled()):
                latents = self.analysis(one[None], told)
            scaled = (latents[0] / self.steps[quality - 1, :, None, None]).detach().numpy()
            symbols, _ = half.quantise(scaled, quality, PRICE)
            values = torch.from_numpy(half.values(symbols, quality))[None]
            band, place = divmod(quality - 1, BAND)
            bits = self.bits(band, torch.from_numpy(symbols)[None], torch.tensor([place]))
            decoded = self.synthesis(latents + (values - latents).detach(), told)
            rows.append((bits / (one.shape[1] * one.shape[2]), (decoded - one).square().mean((1, 2, 3)), told))
        bpp, mse, told = (torch.cat(column) for column in zip(*rows, strict=True))
        return rate_distortion(bpp, mse, told, COARSEST_STEP, FINEST_STEP)

    def latent_codec(self) -> McquicLatents:
        """The codec's latents as they would be now."""
        return McquicLatents(self.name, self.frozen(), b"")

    # --- model files ------------------------------------------------------------------------------

    @property
    def _parts(self) -> dict[str, nn.Module]:
        return {"analysis.": self.analysis, "synthesis.": self.synthesis}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_parts(self._parts, unpacked(arrays))
        self.steps.copy_(torch.from_numpy(arrays["steps"].astype(np.float32)))
        for band, prior in enumerate(map(self.prior_of, range(self.bands))):
            self.words[band] = {name.split(".", 1)[1]: arrays[name] for name in arrays if name.startswith(f"{band}.")}
            prior_arrays = {kind + name.split(".", 2)[2]: arrays[name] for kind in ("prior.", "bias.")
                        for name in arrays if name.startswith(f"{kind}{band}.")}
            prior.load(prior_arrays)

    @torch.no_grad()
    def frozen(self) -> dict[str, np.ndarray]:
        """The arrays of a model file: transforms, steps by quality; words and priors, band by band."""
        arrays: dict[str, np.ndarray] = {"steps": self.steps.numpy()}
        for band, prior in enumerate(map(self.prior_of, range(self.bands))):
            arrays |= {f"{band}.{name}": array for name, array in self.words[band].items()}
            for name, array in prior.frozen(torch.arange(BAND) / (BAND - 1)).items():
                kind, rest = name.split(".", 1)
                arrays[f"{kind}.{band}.{rest}"] = array
        for prefix, part in self._parts.items():
            for name, value in part.state_dict().items():
                if value.dim() == 4 and not name.startswith("linear"):
                    arrays |= packed(prefix + name, value.numpy())
                else:
                    arrays[prefix + name] = value.numpy().astype(np.float16 if value.dim() == 4 else np.float32)
        return arrays
