// Cards that are planned for without having one: memory and memory bandwidth from the makers' data sheets, the dense
// int8 rate of their tensor cores (0: none stated), whether they run fast attention. Units: GiB of memory as sold, GB/s
// and TOPS in powers of ten.
#include <string.h>

#include "plan.h"

#define GIB 1073741824.0

static const tern_card cards[] = {
    {"rtx2080ti", "NVIDIA GeForce RTX 2080 Ti", (uint64_t)(11 * GIB), 616, 215, false},
    {"rtx3060", "NVIDIA GeForce RTX 3060", (uint64_t)(12 * GIB), 360, 101.9, true},
    {"rtx3090", "NVIDIA GeForce RTX 3090", (uint64_t)(24 * GIB), 936, 284, true},
    {"rtx4060ti-16", "NVIDIA GeForce RTX 4060 Ti 16 GB", (uint64_t)(16 * GIB), 288, 176.5, true},
    {"rtx4080", "NVIDIA GeForce RTX 4080", (uint64_t)(16 * GIB), 716.8, 389.9, true},
    {"rtx4090", "NVIDIA GeForce RTX 4090", (uint64_t)(24 * GIB), 1008, 660.6, true},
    {"rtx5060ti-16", "NVIDIA GeForce RTX 5060 Ti 16 GB", (uint64_t)(16 * GIB), 448, 0, true},
    {"rtx5090", "NVIDIA GeForce RTX 5090", (uint64_t)(32 * GIB), 1792, 838, true},
    {"a100-40", "NVIDIA A100 40 GB", (uint64_t)(40 * GIB), 1555, 624, true},
    {"a100-80", "NVIDIA A100 80 GB", (uint64_t)(80 * GIB), 2039, 624, true},
    {"l40s", "NVIDIA L40S", (uint64_t)(48 * GIB), 864, 733, true},
    {"h100", "NVIDIA H100 SXM", (uint64_t)(80 * GIB), 3350, 1979, true},
    {"h200", "NVIDIA H200", (uint64_t)(141 * GIB), 4800, 1979, true},
    {"rx7900xtx", "AMD Radeon RX 7900 XTX", (uint64_t)(24 * GIB), 960, 0, false},
    {"arc-b580", "Intel Arc B580", (uint64_t)(12 * GIB), 456, 0, false},
};

size_t tern_card_count(void) { return sizeof cards / sizeof cards[0]; }

const tern_card *tern_card_at(size_t i) { return i < tern_card_count() ? &cards[i] : NULL; }

const tern_card *tern_card_find(const char *name)
{
    for (size_t i = 0; i < tern_card_count(); i++)
        if (strcmp(cards[i].name, name) == 0) return &cards[i];
    return NULL;
}
