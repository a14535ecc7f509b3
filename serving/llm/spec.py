"""What a version of a language model declares: base, adapter, number formats, sizes, prices; and how vLLM is started.

A version's artifact is a folder with ``llm.json`` (an :class:`LLMSpec`) and what was trained: an adapter's files, or a
whole model. The base of an adapter is named, not copied: it is gigabytes, and the same for all of its adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import ClearwayError, DeclarationError
from serving.llm import paths
from serving.settings import Settings

LLM_FILE = "llm.json"
SERVER = Path(__file__).with_name("serve.py")
Profile = Literal["cpu", "gpu"]
REFUSALS = ("i'm sorry, but", "i can't assist", "i cannot assist", "i can't help with", "i am unable to", "as an ai")


class LLMSpec(BaseModel):
    """One version of a language model. An arm is one server, also when only the adapter differs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="registered model; callers name it")
    base: str = Field(
        min_length=1, description="folder, name of a model that make llm prepared, or a Hugging Face id (owner/name)"
    )
    adapter: str | None = Field(
        default=None, description="folder of a LoRA adapter inside the artifact; none: the base"
    )
    weights: str | None = Field(
        default=None, description="folder of a whole model inside the artifact, which is loaded instead of the base"
    )
    base_digest: str | None = Field(
        default=None, description="of the base that the adapter was tuned on, filled in; another is refused"
    )
    merge_on_cpu: bool = Field(
        default=False,
        description="on CPU, serve the adapter added to the base's weights: several times faster; no base beside it",
    )
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = Field(default=16, description="at least the adapter's rank")
    chat_template: str | None = Field(
        default=None, description="file inside the artifact; none: the tokenizer's own template"
    )
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        default="float32",
        description="of weights and cache on CPU; without AMX or AVX512-BF16 the short ones are slower. auto: bfloat16 "
        "where the CPU has one of them, else float32",
    )
    quantisation: Literal["compressed-tensors", "awq", "gptq", "fp8", "bitsandbytes"] | None = Field(
        default=None,
        description="how the base's weights are stored, when they are not plain; vLLM reads most by itself",
    )
    max_model_len: int = Field(default=2048, ge=16, description="context: prompt and completion, in tokens")
    max_num_seqs: int = Field(default=16, ge=1, description="sequences that are decoded together")
    kv_cache_bytes: int = Field(default=256 << 20, ge=1 << 20, description="keys and values kept, in bytes; on CPU")
    prefix_caching: bool = Field(default=True, description="keep what prompts have in common between requests")
    cores: int = Field(default=1, ge=1, description="CPU cores of the server; on CPU")
    cpu_flags: tuple[str, ...] = Field(default=("--enforce-eager",), description="added to vLLM's command on CPU")
    gpu_dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, description="share of the GPU's memory to take")
    gpu_flags: tuple[str, ...] = Field(default=(), description="added to vLLM's command on a GPU")
    max_concurrent: int | None = Field(
        default=None, ge=1, description="requests at once before the gateway answers 429; none: 4 x max_num_seqs"
    )
    first_token_s: float = Field(
        default=30.0, gt=0, description="longest wait for a stream's first token, in s, before stable is asked"
    )
    between_tokens_s: float = Field(default=15.0, gt=0, description="longest silence inside a stream, in s")
    answer_s: float = Field(default=120.0, gt=0, description="longest wait for an answer that is not streamed, in s")
    price_prompt: float = Field(
        default=0.0, ge=0, description="per million prompt tokens, in the currency of your books"
    )
    price_completion: float = Field(default=0.0, ge=0, description="per million completion tokens")
    refusal_phrases: tuple[str, ...] = Field(
        default=REFUSALS, description="an answer that begins with one of these (any case) counts as a refusal"
    )
    examples: tuple[dict[str, Any], ...] = Field(
        default=({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8},),
        description="bodies of /v1/chat/completions for smoke tests; ``model`` is filled in",
    )
    metadata: dict[str, Any] = Field(default={}, description="free: snapshots, code commit, training settings")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Cost of one request, in the currency of the prices."""
        return (prompt_tokens * self.price_prompt + completion_tokens * self.price_completion) / 1e6

    @property
    def limit(self) -> int:
        """Requests that the gateway lets through at once."""
        return self.max_concurrent or 4 * self.max_num_seqs


def base_of(spec: LLMSpec, settings: Settings, artifact: Path | None = None) -> str:
    """What vLLM is told to load: a folder as an absolute path, or a Hugging Face id.

    Args:
        artifact: the version's folder; weights of its own lie in it. None: the base that it was trained from.

    Raises:
        ClearwayError: neither a folder nor an id of the form owner/name.
    """
    if spec.weights and artifact is not None:
        return str(artifact / spec.weights)
    for folder in (Path(spec.base).expanduser(), paths.models(settings) / spec.base):
        if folder.is_dir():
            return str(folder.resolve())
    if spec.base.count("/") == 1 and not spec.base.startswith(("/", ".", "~")):
        return spec.base
    raise ClearwayError(
        f"the base {spec.base!r} of {spec.model} is no folder, nor below {paths.models(settings)}",
        untouched="every running version.",
        todo="make llm prepares the default model; or name a folder or a Hugging Face id (owner/name).",
    )


def command(
    spec: LLMSpec,
    folder: Path,
    port: int,
    profile: Profile,
    settings: Settings,
    *,
    python: Path | None = None,
    cores: Sequence[int] = (),
) -> tuple[list[str], dict[str, str]]:
    """(arguments, environment) of vLLM's server for a version.

    Args:
        folder: the version's artifact: adapter and chat template lie in it.
        cores: numbers of the cores to run on, on CPU; none leaves it to the system.

    Returns:
        The environment holds what is set on top of the caller's.

    Raises:
        ClearwayError: the base cannot be found.
    """
    base = base_of(spec, settings, folder)
    # Callers name the model; with an adapter that name is the adapter's, and the base is served beside it.
    served = f"{spec.model}-base" if spec.adapter else spec.model
    arguments = [
        *(str(python or paths.interpreter()), str(SERVER)),
        *("--model", base, "--served-model-name", served),
        *("--host", settings.host, "--port", str(port)),
        *("--max-model-len", str(spec.max_model_len), "--max-num-seqs", str(spec.max_num_seqs)),
        *("--shutdown-timeout", "30"),
        "--enable-prefix-caching" if spec.prefix_caching else "--no-enable-prefix-caching",
    ]
    if spec.quantisation:
        arguments += ["--quantization", spec.quantisation]
    if spec.chat_template:
        arguments += ["--chat-template", str(folder / spec.chat_template)]
    if spec.adapter:
        arguments += ["--enable-lora", "--max-lora-rank", str(spec.max_lora_rank)]
        arguments += ["--lora-modules", f"{spec.model}={folder / spec.adapter}"]
    environment = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if Path(base).is_absolute():
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if profile == "gpu":
        arguments += ["--dtype", spec.gpu_dtype, "--gpu-memory-utilization", str(spec.gpu_memory_utilization)]
        return [*arguments, *spec.gpu_flags], environment
    arguments += ["--dtype", spec.dtype, "--kv-cache-memory-bytes", str(spec.kv_cache_bytes)]
    environment |= {"VLLM_WORKER_MULTIPROC_METHOD": "fork", "OMP_NUM_THREADS": str(spec.cores)}
    if cores:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
    return [*arguments, *spec.cpu_flags], environment


def is_llm(folder: Path) -> bool:
    """Whether an artifact folder is of a language model."""
    return (folder / LLM_FILE).exists()


def read_llm_spec(folder: Path) -> LLMSpec:
    """Read ``llm.json`` of an artifact folder.

    Raises:
        DeclarationError: the file is missing or does not say what the schema expects (file, field, expectation).
    """
    file = folder / LLM_FILE
    try:
        return LLMSpec.model_validate_json(file.read_bytes())
    except OSError as error:
        raise DeclarationError(f"{file} cannot be read: {error}", todo="register the version again.") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors())
        raise DeclarationError(f"{file}: {lines}", todo="register the version again with a valid spec.") from error
