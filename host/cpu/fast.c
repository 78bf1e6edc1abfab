// The table of fast ops.
#include "fast.h"
#include "reference.h"

const cpu_op cpu_fast_ops[OP_N_KINDS] = {
    [OP_EMBED] = fast_embed,
    [OP_NORM] = fast_norm,
    [OP_HEAD_NORM] = fast_head_norm,
    [OP_NORM_QUANT] = fast_norm_quant,
    [OP_QUANT] = fast_quant,
    [OP_QUANT2] = fast_quant2,
    [OP_TERNARY_MM] = fast_ternary_mm,
    [OP_DENSE_MM] = fast_dense_mm,
    [OP_ROPE_KV] = fast_rope_kv,
    [OP_ATTENTION] = fast_attention,
    [OP_GATE] = fast_gate,
    [OP_RESIDUAL] = fast_residual,
    [OP_GATHER] = fast_gather,
    [OP_TOP_K] = fast_top_k,
    [OP_INT_MM] = fast_int_mm,
    [OP_RESCORE] = fast_rescore,
    [OP_ADVANCE] = reference_advance,
    [OP_DENSE_TOP_K] = fast_dense_top_k,
};
