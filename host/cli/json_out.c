#include "json_out.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"

json_t *json_out_text(const char *text)
{
    json_t *value = json_string(text);
    if (value) return value;
    char *ascii = strdup(text);
    if (!ascii) return NULL;
    for (char *c = ascii; *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    value = json_string(ascii);
    free(ascii);
    return value;
}

json_t *json_out_count(uint64_t n) { return n <= INT64_MAX ? json_integer((json_int_t)n) : json_real((double)n); }

int json_out_print(json_t *document)
{
    char *text = document ? json_dumps(document, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    tern_error err = {0};
    tern_status status = text ? TERN_OK : error_set(&err, TERN_HOST_MEMORY, "out of memory for the report");
    if (status == TERN_OK) status = cli_write(text, strlen(text), &err);
    if (status == TERN_OK) status = cli_write("\n", 1, &err);
    free(text);
    json_decref(document);
    return status == TERN_OK ? EXIT_CODE_OK : cli_fail(&err, NULL);
}
