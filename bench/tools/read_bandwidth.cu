// Read bandwidth of a GPU's memory: the roof that weights streamed once are held against. Reads 2 GiB (or what fits) of
// its own, 16 bytes a lane, eight loads under way. Standalone: nvcc -O3 read_bandwidth.cu. Prints one JSON object with
// the best and the median of 20 passes in GB/s (1e9). Needs a GPU; scripts/gpu_check.sh compiles and runs it.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#define BLOCK  256
#define AHEAD  8
#define PASSES 20

__global__ void __launch_bounds__(BLOCK) read_all(const uint4 *data, size_t n, unsigned *sum)
{
    unsigned x = 0;
    size_t step = (size_t)gridDim.x * BLOCK;
    for (size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += AHEAD * step) {
        uint4 v[AHEAD];
#pragma unroll
        for (int j = 0; j < AHEAD; j++) v[j] = i + j * step < n ? __ldcs(data + i + j * step) : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int j = 0; j < AHEAD; j++) x += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    if (x == 0x9e3779b9u) atomicAdd(sum, x); // keeps the loads; the memory holds zeros
}

static int failed(cudaError_t e, const char *what)
{
    if (e != cudaSuccess) fprintf(stderr, "read_bandwidth: %s: %s\n", what, cudaGetErrorString(e));
    return e != cudaSuccess;
}

int main()
{
    size_t available = 0, total = 0;
    int n_sms = 0;
    if (failed(cudaMemGetInfo(&available, &total), "no device")) return 1;
    if (failed(cudaDeviceGetAttribute(&n_sms, cudaDevAttrMultiProcessorCount, 0), "no attribute")) return 1;
    size_t n_bytes = std::min<size_t>((size_t)2 << 30, available / 2) / 16 * 16;
    uint4 *data;
    unsigned *sum;
    if (failed(cudaMalloc(&data, n_bytes), "memory") || failed(cudaMalloc(&sum, sizeof *sum), "memory")) return 1;
    if (failed(cudaMemset(data, 0, n_bytes), "fill") || failed(cudaMemset(sum, 0, sizeof *sum), "fill")) return 1;
    cudaEvent_t from, to;
    if (failed(cudaEventCreate(&from), "event") || failed(cudaEventCreate(&to), "event")) return 1;
    std::vector<double> gbps;
    for (int i = 0; i < PASSES + 2; i++) {
        float ms = 0;
        cudaEventRecord(from);
        read_all<<<n_sms * 8, BLOCK>>>(data, n_bytes / 16, sum);
        cudaEventRecord(to);
        if (failed(cudaEventSynchronize(to), "read")) return 1;
        if (failed(cudaEventElapsedTime(&ms, from, to), "time")) return 1;
        if (i >= 2) gbps.push_back((double)n_bytes / 1e6 / ms);
    }
    std::sort(gbps.begin(), gbps.end());
    printf("{\"read_gbps\":%.1f,\"read_gbps_median\":%.1f,\"bytes\":%zu}\n", gbps.back(), gbps[gbps.size() / 2],
           n_bytes);
    return 0;
}
