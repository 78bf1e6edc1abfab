// Memory that is in use on a device, as the device or the operating system sees it.
#ifndef TERN_BENCH_BENCH_MEMORY_H
#define TERN_BENCH_BENCH_MEMORY_H

#include "tern.h"

// Bytes in use: on a CPU what this process has allocated (Linux: RssAnon), elsewhere the device's total less what is
// free, which counts other programs too, so that only differences mean something. 0: not known. *source (may be NULL;
// static): what was read.
uint64_t bench_memory_used(const tern_engine *engine, const tern_device_info *device, const char **source);

#endif
