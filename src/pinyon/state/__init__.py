"""State memories: what a local model holds while it reads, saved, cut and kept within its bytes."""

from ..extras import require

require("torch", "use state memory")

from .compress import Compressor, Cut, compress  # noqa: E402  # torch first, so that its absence is said clearly
from .entropy import Surprisal, word_starts  # noqa: E402
from .fuse import Fused, fuse, fuse_gated  # noqa: E402
from .fuse_segment import FusedSegment, fuse_segment  # noqa: E402
from .head_check import HeadCheck, check_heads  # noqa: E402
from .head_profile import HeadProfile  # noqa: E402
from .key_norm import KeyNorm  # noqa: E402
from .kvpress_adapter import KVPress, Scorer  # noqa: E402
from .kvzip import KVzip  # noqa: E402
from .mean_token import compress_with_mean  # noqa: E402
from .origins import Origins, Span  # noqa: E402
from .policy import CachePolicy, CacheView, ModelShape, shape_of  # noqa: E402
from .prefix import Attached, Costs, Segment, StoredError, attach, build, measure_costs, segment_of  # noqa: E402
from .quantize import Quantized, dequantize, quantize  # noqa: E402
from .random_keep import RandomKeep  # noqa: E402
from .read_audit import ReadAudit, answer_with_audit  # noqa: E402
from .retrieval_heads import RetrievalHeads, find_heads  # noqa: E402
from .session import Session  # noqa: E402
from .sink_window import SinkWindow  # noqa: E402
from .snap_kv import SnapKV  # noqa: E402
from .spec_kv import Looked, SpecKV, truncated  # noqa: E402
from .spec_kv_pc import Cascade, SpecKVPC  # noqa: E402
from .spec_pc import PromptCut, SpecPC  # noqa: E402
from .tensor_file import TensorFile, cache_from, read_tensors, state_bytes  # noqa: E402
from .tiers import StateShelf, TierConfig, TierStatistics  # noqa: E402

__all__ = [
    "Attached",
    "CachePolicy",
    "CacheView",
    "Cascade",
    "Compressor",
    "Costs",
    "Cut",
    "Fused",
    "FusedSegment",
    "HeadCheck",
    "HeadProfile",
    "KVPress",
    "KVzip",
    "KeyNorm",
    "Looked",
    "ModelShape",
    "Origins",
    "PromptCut",
    "Quantized",
    "RandomKeep",
    "ReadAudit",
    "RetrievalHeads",
    "Scorer",
    "Segment",
    "Session",
    "SinkWindow",
    "SnapKV",
    "Span",
    "SpecKV",
    "SpecKVPC",
    "SpecPC",
    "StateShelf",
    "StoredError",
    "Surprisal",
    "TensorFile",
    "TierConfig",
    "TierStatistics",
    "answer_with_audit",
    "attach",
    "build",
    "cache_from",
    "check_heads",
    "compress",
    "compress_with_mean",
    "dequantize",
    "find_heads",
    "fuse",
    "fuse_gated",
    "fuse_segment",
    "measure_costs",
    "quantize",
    "read_tensors",
    "segment_of",
    "shape_of",
    "state_bytes",
    "truncated",
    "word_starts",
]
