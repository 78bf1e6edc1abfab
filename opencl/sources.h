// The kernels' sources as text, embedded when the library is built (embed.cmake).
#ifndef TERN_OPENCL_SOURCES_H
#define TERN_OPENCL_SOURCES_H

typedef struct opencl_source {
    const char *name; // "norm.cl", "scalar.h"
    const char *text;
} opencl_source;

extern const opencl_source opencl_sources[]; // ended by a NULL name

#endif
