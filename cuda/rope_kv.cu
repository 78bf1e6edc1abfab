// Rotation of q and k, and the append of k and v to the cache: a warp a head of a row, in the order q, k, v.
#include "kv.cuh"

#define ROPE_THREADS 128

namespace
{

struct rope_args {
    float *x;
    const float *rope;
    kv_args kv;
    uint32_t m, n_heads, n_kv_heads, n_dims, ld_x;
    bool is_adjacent;
    unsigned *flag; // NULL: both types are f32, which stores anything
    unsigned place;
};

__device__ __forceinline__ void rotate(const rope_args &a, float *head, const float *cos_sin, uint32_t lane)
{
    for (uint32_t i = lane; i < a.n_dims / 2; i += 32) {
        uint32_t i0 = a.is_adjacent ? 2 * i : i, i1 = a.is_adjacent ? 2 * i + 1 : i + a.n_dims / 2;
        float c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        float x0 = head[i0], x1 = head[i1];
        head[i0] = scalar_fma(x0, c, -(x1 * s));
        head[i1] = scalar_fma(x1, c, x0 * s);
    }
}

// The int4 form: the lanes of a warp are the values of a group.
__device__ __forceinline__ bool store_int4(uint8_t *part, int head_dim, int slot, const float *x, int lane)
{
    bool fits = true;
    for (int first = 0; first < head_dim; first += KV_INT4_GROUP) {
        bool exists = first + lane < head_dim;
        float value = exists ? x[first + lane] : 0.0f;
        scalar_u32 bits = int4_scale(scalar_as_float(warp_max(scalar_magnitude(value))));
        int code = int4_code(value, half_to_float(bits)) + INT4_BIAS;
        int partner = __shfl_xor_sync(FULL_WARP, code, 1);
        if (exists && lane % 2 == 0) part[kv_int4_byte(head_dim, slot, first + lane)] = (uint8_t)(code | partner << 4);
        if (lane == 0) kv_halves(part, head_dim)[kv_int4_scale_index(slot, first / KV_INT4_GROUP)] = (uint16_t)bits;
        fits = fits && int4_scale_is_finite(bits);
    }
    return fits;
}

// Stores the values x in a slot of K or V; false (in every lane) if one cannot be stored as a finite number.
__device__ __forceinline__ bool store(uint8_t *part, int type, bool is_k, int head_dim, int slot, const float *x,
                                      int lane)
{
    if (type == KV_INT4) return store_int4(part, head_dim, slot, x, lane);
    unsigned max_bits = 0;
    for (int i = lane; i < head_dim; i += 32) max_bits = max(max_bits, scalar_magnitude(x[i]));
    float max_value = scalar_as_float(warp_max(max_bits));
    if (type == KV_INT8) {
        bool is_small = !(max_value >= SCALAR_QUANT_FLOOR);
        float multiplier = is_small ? SCALAR_QUANT_SMALL : scalar_div(127.0f, max_value);
        for (int i = lane; i < head_dim; i += 32)
            part[slot * head_dim + i] = (uint8_t)(int8_t)scalar_code(x[i] * multiplier);
        if (lane == 0) kv_scales(part, head_dim)[slot] = scalar_div(is_small ? SCALAR_QUANT_FLOOR : max_value, 127.0f);
        return scalar_is_finite(max_value);
    }
    for (int i = lane; i < head_dim; i += 32) {
        int index = is_k ? kv_k_index(type, head_dim, slot, i) : kv_v_index(head_dim, slot, i);
        if (type == KV_F32)
            ((float *)part)[index] = x[i];
        else
            ((uint16_t *)part)[index] = (uint16_t)half_from_float(x[i]);
    }
    return type == KV_F32 || max_value < 65520.0f; // false for NaN too
}

__global__ void __launch_bounds__(ROPE_THREADS) rope_kv(rope_args a)
{
    griddep_wait();
    uint32_t n_spans = a.n_heads + 2 * a.n_kv_heads, lane = threadIdx.x % 32;
    uint32_t span = blockIdx.y * (ROPE_THREADS / 32) + threadIdx.x / 32, row = blockIdx.x;
    if (span >= n_spans) return; // the whole warp
    int hd = a.kv.head_dim;
    float *head = a.x + (size_t)row * a.ld_x + (size_t)span * (uint32_t)hd;
    uint32_t position = (uint32_t)a.kv.row_position[row];
    if (span < a.n_heads + a.n_kv_heads) {
        rotate(a, head, a.rope + (size_t)position * a.n_dims, lane);
        __syncwarp();
    }
    if (span < a.n_heads) return;
    bool is_k = span < a.n_heads + a.n_kv_heads;
    uint32_t kv_head = span - a.n_heads - (is_k ? 0 : a.n_kv_heads);
    uint8_t *part = kv_head_at(a.kv, kv_table(a.kv, row), position / KV_BLOCK, kv_head) + (is_k ? 0 : a.kv.k_bytes);
    bool fits = store(part, is_k ? a.kv.k_type : a.kv.v_type, is_k, hd, (int)(position % KV_BLOCK), head, (int)lane);
    if (!fits && lane == 0) raise_flag(a.flag, a.place);
}

} // namespace

tern_status cuda_rope_kv(stream *s, const op *o, tern_error *err)
{
    const op_rope_kv *p = &o->rope_kv;
    bool can_fail = p->cache.k_type != KV_F32 || p->cache.v_type != KV_F32;
    rope_args a = {(float *)cuda_at(p->x),
                   (const float *)cuda_at(p->rope),
                   kv_of(&p->rows, &p->cache),
                   o->m,
                   p->n_heads,
                   p->cache.n_kv_heads,
                   p->n_dims,
                   p->ld_x,
                   p->adjacent,
                   can_fail ? (unsigned *)cuda_at(o->flag) : nullptr,
                   o->place};
    uint32_t n_spans = p->n_heads + 2 * p->cache.n_kv_heads;
    return cuda_launch(s, "rope_kv", rope_kv, dim3(o->m, ceil_div(n_spans, ROPE_THREADS / 32)), dim3(ROPE_THREADS), 0,
                       err, a);
}
