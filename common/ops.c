// Names of the operations, as profiles, errors and bench rows show them.
#include "ops.h"

const char *op_kind_name(op_kind kind)
{
    switch (kind) {
    case OP_EMBED: return "embed";
    case OP_NORM: return "norm";
    case OP_HEAD_NORM: return "head_norm";
    case OP_NORM_QUANT: return "norm_quant";
    case OP_QUANT: return "quant";
    case OP_QUANT2: return "quant2";
    case OP_TERNARY_MM: return "ternary_mm";
    case OP_DENSE_MM: return "dense_mm";
    case OP_ROPE_KV: return "rope_kv";
    case OP_ATTENTION: return "attention";
    case OP_GATE: return "gate";
    case OP_RESIDUAL: return "residual";
    case OP_GATHER: return "gather";
    case OP_TOP_K: return "top_k";
    case OP_INT_MM: return "int_mm";
    case OP_RESCORE: return "rescore";
    case OP_ADVANCE: return "advance";
    case OP_DENSE_TOP_K: return "dense_top_k";
    case OP_BLAS_MM: return "blas_mm";
    case OP_BLAS_INT_MM: return "blas_int_mm";
    case OP_FAST_ATTENTION: return "fast_attention";
    case OP_N_KINDS: break;
    }
    return "unknown";
}
