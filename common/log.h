// Logging by callback: the library never prints. Silent unless the embedder gives a sink.
#ifndef TERN_COMMON_LOG_H
#define TERN_COMMON_LOG_H

#include "error.h"

// NOTICE: nothing is wrong, but users want to know without asking.
typedef enum log_level { LOG_DEBUG = 0, LOG_INFO = 1, LOG_NOTICE = 2, LOG_WARN = 3 } log_level;

typedef struct log_sink {
    void (*write)(void *user, int level, const char *message); // NULL: silent
    void *user;
} log_sink;

void log_message(const log_sink *sink, log_level level, const char *format, ...) TERN_PRINTF(3, 4);

#endif
