"""What a loaded model says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ClosedError

if TYPE_CHECKING:
    from .model import Network


class About:
    """The properties of a Model. All raise ClosedError once it is closed."""

    @property
    def _network(self) -> Network:
        raise NotImplementedError

    @property
    def path(self) -> Path:
        """Of the file, or of its first part."""
        return Path(self._network.meta.file.path)

    @property
    def architecture(self) -> str:
        """GGUF's general.architecture: "llama", say."""
        return self._network.meta.architecture

    @property
    def name(self) -> str:
        """What the file calls the model."""
        return self._network.meta.name

    @property
    def parameters(self) -> int:
        """Weights, in number."""
        return self._network.parameters

    @property
    def vocab_size(self) -> int:
        """V, the number of tokens, and of logits in a row."""
        return self._network.vocab_size

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text, if there is one."""
        return self._network.tokenizer.bos_id

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The tokens that end a reply, ascending."""
        return tuple(sorted(self._network.tokenizer.eog))

    @property
    def n_ctx(self) -> int:
        """Tokens of one sequence."""
        return self._network.n_ctx

    @property
    def n_parallel(self) -> int:
        """Sequences of that length that sessions and replies share."""
        return self._network.n_parallel

    @property
    def n_batch(self) -> int:
        """Tokens of a prompt that are computed together, at most."""
        return self._network.n_batch

    @property
    def n_threads(self) -> int:
        """Threads that share a step."""
        return self._network.n_threads

    @property
    def kv_type(self) -> str:
        """Of the KV cache: "f16" or "q8_0"."""
        return self._network.kv_type

    @property
    def isa(self) -> str:
        """The instruction set that the kernels were chosen for."""
        return self._network.plan.isa

    @property
    def weight_bytes(self) -> int:
        """Of memory: the packed weights."""
        return self._network.plan.weight_bytes

    @property
    def memory_bytes(self) -> int:
        """Of memory now: weights, activations and what the KV cache has committed."""
        network = self._network
        return network.plan.weight_bytes + network.plan.arena_bytes + network.cache.committed_bytes

    def __repr__(self) -> str:
        try:
            return (
                f"<edgelm.Model {self.path.name}: {self.architecture}, "
                f"{self.parameters / 1e6:,.0f}M parameters in {self.weight_bytes / 1e6:,.0f} MB, "
                f"{self.n_parallel} x {self.n_ctx:,} tokens of {self.kv_type}, "
                f"{self.n_threads} threads of {self.isa}>"
            )
        except ClosedError:
            return "<edgelm.Model, closed>"
