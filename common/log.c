#include "log.h"

#include <stdarg.h>
#include <stdio.h>

void log_message(const log_sink *sink, log_level level, const char *format, ...)
{
    if (sink == NULL || sink->write == NULL) return;
    char message[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    sink->write(sink->user, (int)level, message);
}
