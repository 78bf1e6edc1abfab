// What the shim makes of wgmma (ptx.cuh): a product of one warp group equals the plain one, and each way to break it is
// noticed, by a fault or by other sums.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

extern "C" {
#include <cmocka.h>
}
#include <cstring>

#include "launch.cuh"
#include "shim.h"

namespace
{

constexpr unsigned rows = 64, columns = WGMMA_COLUMNS, depth = 128, steps = depth / WGMMA_K_BYTES;

enum mistake {
    NONE,
    NO_PATTERN,    // chunks stand in their plain order
    OTHER_PATTERN, // a descriptor of the pattern of 64 bytes
    OTHER_STEP,    // eight columns are 1,024 bytes apart, the descriptor says 512
    OTHER_START,   // the pattern does not begin at a multiple of 1,024
    NO_PROXY_FENCE,
    NO_FENCE,
    NO_WAIT,
    NOT_UNIFORM,    // a warp of the group has another descriptor
    EARLY_FRAGMENT, // words of A changed while they are read
    EARLY_SUMS,     // sums read while they are made
    EARLY_WRITE,    // sums written while they are made
    EARLY_COPY,     // B filled again while it is read
    N_MISTAKES
};
// What the fault says; "": none, the sums are wrong.
const char *const faults[N_MISTAKES] = {"",
                                        "",
                                        "pattern 2",
                                        "",
                                        "",
                                        "without fence.proxy.async",
                                        "without wgmma.fence",
                                        "did not wait for",
                                        "not the same for all threads",
                                        "",
                                        "",
                                        "were written while",
                                        "that a wgmma under way reads"};

uint8_t a[rows][depth];
int8_t b[columns][depth];
int d[rows][columns], expected[rows][columns];

void kernel(mistake m)
{
    SHARED_DYNAMIC(shared);
    unsigned thread = threadIdx.x, lane = thread % 32, g = lane / 4, t = lane % 4, row = thread / 32 * 16 + g;
    uint8_t *panel = shared + -shared_address(shared) % WGMMA_ALIGNMENT + (m == OTHER_START ? 128 : 0);
    for (unsigned c = 0; c < depth / 16; c++)
        cp_async_16(panel + thread * WGMMA_ROW_BYTES + 16 * (m == NO_PATTERN ? c : c ^ thread % 8), &b[thread][16 * c]);
    cp_async_commit();
    cp_async_wait<0>();
    if (m != NO_PROXY_FENCE) fence_proxy_async();
    __syncthreads();

    uint64_t operand = wgmma_operand(shared_address(panel));
    if (m == OTHER_PATTERN) operand ^= (uint64_t)3 << 62;
    if (m == OTHER_STEP) operand ^= (uint64_t)(64 ^ 32) << 32;
    if (m == NOT_UNIFORM && thread / 32 == 3) operand += 2;
    int sums[columns / 8][4] = {};
    unsigned fragments[steps][4];
    for (unsigned s = 0; s < steps; s++) {
        for (unsigned i = 0; i < 4; i++)
            std::memcpy(&fragments[s][i], &a[row + i % 2 * 8][s * WGMMA_K_BYTES + i / 2 * 16 + 4 * t], 4);
        if (m != NO_FENCE || s == 0) wgmma_fence();
        wgmma_u8s8_m64n128k32(sums, fragments[s], operand + s * WGMMA_K_BYTES / 16);
        wgmma_commit();
        if (m == EARLY_SUMS && s == 1) d[row][2 * t] = sums[0][0];
        if (m == EARLY_WRITE) sums[0][0] = 0;
    }
    if (m == EARLY_COPY) {
        cp_async_16(panel + 16 * thread, &b[thread][0]);
        cp_async_commit();
    }
    if (m == EARLY_FRAGMENT) {
        wgmma_wait<1>();
        fragments[steps - 1][0] ^= 1;
    }
    if (m != NO_WAIT) wgmma_wait<0>();
    cp_async_wait<0>();
    for (unsigned i = 0; i < columns / 8; i++)
        for (unsigned j = 0; j < 4; j++)
            if (m != EARLY_SUMS || i + j > 0) d[row + j / 2 * 8][8 * i + 2 * t + j % 2] = sums[i][j];
}

void test_mistakes(void **)
{
    uint32_t state = 1;
    auto next = [&] { return (state = state * 1664525 + 1013904223) >> 24; };
    for (auto &of_row : a)
        for (auto &x : of_row) x = (uint8_t)next();
    for (auto &of_column : b)
        for (auto &x : of_column) x = (int8_t)next();
    for (unsigned r = 0; r < rows; r++)
        for (unsigned n = 0; n < columns; n++)
            for (unsigned k = 0; k < depth; k++) expected[r][n] += a[r][k] * b[n][k];
    for (int m = NONE; m < N_MISTAKES; m++) {
        std::memset(d, 0, sizeof d);
        bool ran = shim_execute(dim3(1), dim3(128), columns * depth + WGMMA_ALIGNMENT + 128,
                                [m] { kernel((mistake)m); });
        bool is_equal = std::memcmp(d, expected, sizeof d) == 0;
        if (faults[m][0] != 0 && std::strstr(shim_fault(), faults[m]) == nullptr)
            fail_msg("mistake %d: the fault is '%s', not '%s'", m, shim_fault(), faults[m]);
        if (faults[m][0] == 0 && !ran) fail_msg("mistake %d: %s", m, shim_fault());
        if (faults[m][0] == 0 && is_equal != (m == NONE))
            fail_msg("mistake %d makes %s sums", m, is_equal ? "right" : "wrong");
    }
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mistakes)};
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
