// tern devices: what this machine offers. Also --list-devices of every command that computes.
#include "cli.h"
#include "json_out.h"

// A device, and what opening it showed: whether it gives the defined bits, or why it does not open.
typedef struct probed_device {
    tern_device_info info;
    bool is_reproducible;
    tern_error failure;
} probed_device;

static int print_json(const tern_engine *engine, const probed_device *devices, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const tern_device_info *d = &devices[i].info;
        const char *failure = devices[i].failure.message;
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:o, s:o}", "name", d->name, "backend",
                                        d->backend, "description", json_out_text(d->description), "memory_total",
                                        json_out_count(d->memory_total), "memory_free", json_out_count(d->memory_free),
                                        "is_reference", d->is_reference, "is_reproducible", devices[i].is_reproducible,
                                        "note", json_out_text(d->note), "failure", json_out_text(failure)));
    }
    return json_out_print(
        json_pack("{s:o, s:o}", "devices", list, "unused", json_out_text(tern_engine_unused_devices(engine))));
}

static const char *remark(const probed_device *d)
{
    if (d->failure.status != TERN_OK) return d->failure.message;
    if (!d->is_reproducible) return "not reproducible: its arithmetic differs from the definition";
    return d->info.is_reference && !*d->info.note ? "reference, never chosen by itself" : d->info.note;
}

static void print_table(const tern_engine *engine, const probed_device *devices, size_t n)
{
    printf("| device | description | memory | free | note |\n| --- | --- | ---: | ---: | --- |\n");
    for (size_t i = 0; i < n; i++) {
        const tern_device_info *d = &devices[i].info;
        printf("| %s | %s | %s | %s | %s |\n", d->name, d->description, cli_bytes(d->memory_total).text,
               cli_bytes(d->memory_free).text, remark(&devices[i]));
    }
    const char *unused = tern_engine_unused_devices(engine);
    if (*unused) printf("\nnot used: %s\n", unused);
}

int cmd_devices(const opt_values *options)
{
    enum { MAX_DEVICES = 64 };
    static probed_device devices[MAX_DEVICES];
    tern_engine *engine = NULL;
    tern_error err = {0};
    tern_status status = cli_engine_open(options, &engine, &err);
    size_t n = status == TERN_OK ? tern_engine_device_count(engine) : 0;
    if (n > MAX_DEVICES) n = MAX_DEVICES;
    for (size_t i = 0; i < n && status == TERN_OK; i++) {
        status = tern_engine_device_info(engine, i, &devices[i].info, &err);
        tern_engine_device_probe(engine, i, &devices[i].is_reproducible, &devices[i].failure); // shown, not fatal
    }
    int code = EXIT_CODE_OK;
    if (status != TERN_OK)
        code = cli_fail(&err, NULL);
    else if (cli_wants_json(options))
        code = print_json(engine, devices, n);
    else
        print_table(engine, devices, n);
    tern_engine_close(engine);
    return cli_finish(code);
}
