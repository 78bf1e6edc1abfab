// The machine, the program and the inputs of a claims report; see verify_run.h.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "report_json.h"
#include "sha256.h"
#include "verify_run.h"

#ifdef __VERSION__
#define COMPILER __VERSION__
#else
#define COMPILER "unknown"
#endif
#ifdef __OPTIMIZE__
#define IS_OPTIMIZED 1
#else
#define IS_OPTIMIZED 0
#endif

// The first line of a small text file, or "".
static void first_line(const char *path, char *out, size_t n_bytes)
{
    FILE *file = fopen(path, "re");
    out[0] = 0;
    if (file == NULL) return;
    if (fgets(out, (int)n_bytes, file) == NULL) out[0] = 0;
    fclose(file);
    out[strcspn(out, "\r\n")] = 0;
    error_make_printable(out);
}

static void set_line(json_t *object, const char *name, const char *path)
{
    char line[256];
    first_line(path, line, sizeof line);
    if (line[0] != 0) report_set_text(object, name, line);
}

static void set_cpu(json_t *object)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[4096];
    bool has_model = false, is_virtual = false;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *value = strchr(line, ':');
        if (value == NULL) continue;
        value += 1 + strspn(value + 1, " ");
        value[strcspn(value, "\n")] = 0;
        if (!has_model && strncmp(line, "model name", 10) == 0) {
            report_set_text(object, "cpu_model", value);
            has_model = true;
        }
        if (strncmp(line, "flags", 5) == 0 && strstr(value, " hypervisor") != NULL) is_virtual = true;
    }
    if (file != NULL) fclose(file);
    json_object_set_new(object, "is_virtual_machine", json_boolean(is_virtual));
    report_set_count(object, "cpus_online", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    report_set_count(object, "memory_bytes", (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    set_line(object, "cpu_governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    set_line(object, "cpu_max_khz", "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
}

static void set_system(json_t *object)
{
    struct utsname name;
    char text[300];
    if (uname(&name) == 0) {
        snprintf(text, sizeof text, "%.60s %.120s %.60s", name.sysname, name.release, name.machine);
        report_set_text(object, "kernel", text);
    }
    set_line(object, "os", "/etc/issue.net");
    set_line(object, "nvidia_driver", "/proc/driver/nvidia/version");
    set_line(object, "load_average", "/proc/loadavg");
}

static json_t *devices_json(const verify *v)
{
    json_t *list = json_array();
    for (size_t i = 0; i < v->options->n_devices; i++) {
        const verify_device *d = &v->devices[i];
        json_t *object = json_object();
        report_set_text(object, "name", d->info.name);
        report_set_text(object, "backend", d->info.backend);
        report_set_text(object, "description", d->info.description);
        report_set_text(object, "note", d->info.note);
        report_set_count(object, "memory_bytes", d->info.memory_total);
        report_set_count(object, "memory_free_bytes", d->info.memory_free);
        report_set_count(object, "selftest_passed", d->selftest.passed);
        report_set_count(object, "selftest_failed", d->selftest.failed);
        report_set_count(object, "selftest_skipped", d->selftest.skipped);
        json_array_append_new(list, object);
    }
    return list;
}

// ----------------------------------------------------------------------------------------------------------- inputs

static bool hash_file(const char *path, char out[65], uint64_t *n_bytes)
{
    FILE *file = fopen(path, "rbe");
    static unsigned char block[1 << 16];
    sha256 hash;
    sha256_init(&hash);
    *n_bytes = 0;
    for (size_t n; file != NULL && (n = fread(block, 1, sizeof block, file)) > 0; *n_bytes += n)
        sha256_update(&hash, block, n);
    bool is_read = file != NULL && !ferror(file);
    if (file != NULL) fclose(file);
    sha256_finish(&hash, out);
    return is_read;
}

static void add_file(json_t *list, const char *role, const char *path)
{
    char hash[65];
    uint64_t n_bytes;
    if (!hash_file(path, hash, &n_bytes)) return;
    json_t *object = json_object();
    report_set_text(object, "role", role);
    report_set_text(object, "path", path);
    report_set_count(object, "bytes", n_bytes);
    report_set_text(object, "sha256", hash);
    json_array_append_new(list, object);
}

static bool ends_with(const char *text, const char *ending)
{
    size_t n = strlen(text), n_ending = strlen(ending);
    return n >= n_ending && strcmp(text + n - n_ending, ending) == 0;
}

// A file, or the files of a Hugging Face directory that a model is read from.
static void add_model(json_t *list, const char *role, const char *path)
{
    struct stat facts;
    if (path == NULL || stat(path, &facts) != 0) return;
    DIR *d = S_ISDIR(facts.st_mode) ? opendir(path) : NULL;
    if (d == NULL) {
        add_file(list, role, path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        char name[4400];
        snprintf(name, sizeof name, "%.4000s/%s", path, entry->d_name);
        if (ends_with(name, ".safetensors") || ends_with(name, ".json")) add_file(list, role, name);
    }
    closedir(d);
}

json_t *verify_environment(const verify *v)
{
    json_t *o = json_object(), *files = json_array();
    char now[32] = "";
    time_t t = time(NULL);
    struct tm utc;
    if (gmtime_r(&t, &utc) != NULL) strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &utc);
    report_set_text(o, "time", now);
    report_set_text(o, "tern_version", tern_version());
    report_set_text(o, "tern_commit", tern_build_commit());
    report_set_text(o, "compiler", COMPILER);
    json_object_set_new(o, "is_optimized", json_boolean(IS_OPTIMIZED));
    report_set_text(o, "command", v->options->command);
    json_object_set_new(o, "is_quick", json_boolean(v->options->is_quick));
    report_set_count(o, "claims_version", (uint64_t)v->claims.version);
    report_set_count(o, "threads", v->options->n_threads);
    set_cpu(o);
    set_system(o);
    report_set_text(o, "devices_not_used", tern_engine_unused_devices(v->options->engine));
    json_object_set_new(o, "devices", devices_json(v));
    add_model(files, "model", v->options->model);
    add_model(files, "float model", v->options->float_model);
    add_model(files, "text", v->options->text);
    json_object_set_new(o, "files", files);
    return o;
}
