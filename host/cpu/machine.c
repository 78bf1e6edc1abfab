// What this machine lets the process use: CPU name, threads, memory. Linux tells through /proc and the control group
// file systems; both versions of the latter are read, at every level from the process's own group up to the root.
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cpu.h"

#define PAGE_BYTES      4096u
#define HUGE_PAGE_BYTES (2u << 20)
#define LARGE_BYTES     (2 * HUGE_PAGE_BYTES) // from here on aligned so that the kernel can use huge pages

// ---- small files

// The first size - 1 bytes of a file as text; false (and "") if it cannot be read.
static bool read_text(const char *path, char *out, size_t size)
{
    out[0] = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    size_t n = fread(out, 1, size - 1, file);
    out[n] = 0;
    fclose(file);
    return n > 0;
}

// The text after `key` where a line begins with it, or NULL.
static const char *line_value(const char *text, const char *key)
{
    size_t n = strlen(key);
    while (text != NULL && strncmp(text, key, n) != 0) {
        text = strchr(text, '\n');
        if (text != NULL) text++;
    }
    return text == NULL ? NULL : text + n;
}

// The number after `key`, or 0.
static uint64_t line_number(const char *text, const char *key)
{
    const char *value = line_value(text, key);
    return value == NULL ? 0 : strtoull(value, NULL, 10);
}

// ---- control groups

// Reads file `name` of a control group directory as text.
static bool read_group_file(const char *dir, const char *name, char *out, size_t size)
{
    char path[1400];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    return n > 0 && (size_t)n < sizeof path && read_text(path, out, size);
}

// The path of this process's group in the hierarchy of `controller` ("" for version 2), without the final newline.
static bool group_path(const char *controller, char *out, size_t size)
{
    char text[4096];
    if (!read_text("/proc/self/cgroup", text, sizeof text)) return false;
    size_t n = strlen(controller);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) { // id:controller,controller:path
        char *names = strchr(line, ':');
        char *path = names == NULL ? NULL : strchr(names + 1, ':');
        if (path == NULL) continue;
        names++;
        *path++ = 0;
        bool is_match = n == 0 && names[0] == 0;
        for (char *at = names; n != 0 && (at = strstr(at, controller)) != NULL; at += n)
            is_match |= (at == names || at[-1] == ',') && (at[n] == 0 || at[n] == ',');
        if (!is_match || strlen(path) >= size) continue;
        memcpy(out, path, strlen(path) + 1);
        return true;
    }
    return false;
}

// Calls visit for the directory of every group from this process's own up to the root of the hierarchy at `mount`.
// Inside a container the upper levels of the path are often not there; visits of missing directories find no files.
static void visit_groups(const char *mount, const char *controller, void (*visit)(const char *dir, void *user),
                         void *user)
{
    char path[1000], dir[1200];
    if (!group_path(controller, path, sizeof path)) return;
    for (;;) {
        size_t n = strlen(path);
        while (n > 0 && path[n - 1] == '/') path[--n] = 0;
        snprintf(dir, sizeof dir, "%s%s", mount, path);
        visit(dir, user);
        char *slash = strrchr(path, '/');
        if (slash == NULL) return;
        *slash = 0;
    }
}

static void visit_cpu(const char *dir, void *user)
{
    int *threads = user;
    char text[128];
    double quota = 0, period = 0;
    if (read_group_file(dir, "cpu.max", text, sizeof text)) { // "max 100000" or "150000 100000"
        if (sscanf(text, "%lf %lf", &quota, &period) != 2) return;
    } else if (read_group_file(dir, "cpu.cfs_quota_us", text, sizeof text)) { // -1: no quota
        quota = strtod(text, NULL);
        if (read_group_file(dir, "cpu.cfs_period_us", text, sizeof text)) period = strtod(text, NULL);
    }
    if (!(quota > 0) || !(period > 0) || quota / period >= *threads) return;
    *threads = quota / period < 1 ? 1 : (int)(quota / period);
}

typedef struct memory_limits {
    uint64_t total, available;
} memory_limits;

static void lower(uint64_t *limit, uint64_t value)
{
    if (value < *limit) *limit = value;
}

static void visit_memory(const char *dir, void *user)
{
    memory_limits *limits = user;
    char text[128], stat[8192];
    uint64_t limit, used, cache;
    if (read_group_file(dir, "memory.max", text, sizeof text)) {
        if (strncmp(text, "max", 3) == 0) return;
        limit = strtoull(text, NULL, 10);
        if (!read_group_file(dir, "memory.current", text, sizeof text)) return;
        used = strtoull(text, NULL, 10);
    } else if (read_group_file(dir, "memory.limit_in_bytes", text, sizeof text)) {
        limit = strtoull(text, NULL, 10);
        if (!read_group_file(dir, "memory.usage_in_bytes", text, sizeof text)) return;
        used = strtoull(text, NULL, 10);
    } else {
        return;
    }
    // Cached file pages count as used but are given up on demand; a model file just read is mostly that.
    read_group_file(dir, "memory.stat", stat, sizeof stat);
    cache = line_value(stat, "total_inactive_file ") != NULL
                ? line_number(stat, "total_inactive_file ") + line_number(stat, "total_active_file ")
                : line_number(stat, "inactive_file ") + line_number(stat, "active_file ");
    used -= cache < used ? cache : used;
    lower(&limits->total, limit);
    lower(&limits->available, used < limit ? limit - used : 0);
}

// ---- the facts

void machine_cpu_name(char *out, size_t size)
{
    char text[8192];
#if defined(__aarch64__)
    const char *name = "aarch64 CPU";
#else
    const char *name = "unknown CPU";
#endif
    size_t n = strlen(name);
    read_text("/proc/cpuinfo", text, sizeof text);
    const char *value = line_value(text, "model name");
    if (value != NULL) {
        value += strspn(value, " \t:");
        size_t length = strcspn(value, "\n");
        if (length > 0) {
            name = value;
            n = length;
        }
    }
    snprintf(out, size, "%.*s", (int)n, name);
}

int machine_threads(void)
{
    unsigned long mask[16384 / (8 * sizeof(unsigned long))] = {0};
    int threads = 0;
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask) == 0)
        for (size_t i = 0; i < sizeof mask / sizeof mask[0]; i++) threads += __builtin_popcountl(mask[i]);
    if (threads < 1) threads = 1;
    visit_groups("/sys/fs/cgroup", "", visit_cpu, &threads);
    visit_groups("/sys/fs/cgroup/cpu", "cpu", visit_cpu, &threads);
    return threads;
}

void machine_memory(uint64_t *total, uint64_t *available)
{
    char text[4096];
    read_text("/proc/meminfo", text, sizeof text);
    memory_limits limits = {line_number(text, "MemTotal:") * 1024, line_number(text, "MemAvailable:") * 1024};
    if (limits.total == 0) { // no /proc: physical pages, all assumed free
        limits.total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
        limits.available = limits.total;
    }
    visit_groups("/sys/fs/cgroup", "", visit_memory, &limits);
    visit_groups("/sys/fs/cgroup/memory", "memory", visit_memory, &limits);

    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
        read_text("/proc/self/statm", text, sizeof text); // first field: pages of address space in use
        uint64_t used = strtoull(text, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
        lower(&limits.total, space.rlim_cur);
        lower(&limits.available, used < space.rlim_cur ? space.rlim_cur - used : 0);
    }
    *total = limits.total;
    *available = limits.available;
}

// Gives memory its pages, in one call where the kernel has it (Linux 5.14), else by writing to each.
static void make_present(uint8_t *data, size_t n_bytes)
{
    size_t done = 0; // bytes made present
#if defined(MADV_POPULATE_WRITE)
    size_t whole = n_bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES; // the call wants whole pages
    if (n_bytes >= LARGE_BYTES && madvise(data, whole, MADV_POPULATE_WRITE) == 0) done = whole;
#endif
    volatile uint8_t *pages = data;
    for (; done < n_bytes; done += PAGE_BYTES) pages[done] = 0;
}

tern_status machine_allocate(size_t n_bytes, const char *what, uint8_t **out, tern_error *err)
{
    uint64_t total, available;
    machine_memory(&total, &available);
    void *data = NULL;
    size_t alignment = n_bytes >= LARGE_BYTES ? HUGE_PAGE_BYTES : 64;
    if (n_bytes > available || posix_memalign(&data, alignment, n_bytes) != 0)
        return error_set(err, TERN_DEVICE_MEMORY,
                         "%s needs %llu bytes of host memory, %llu are free; choose a smaller context "
                         "or model, or free memory",
                         what, (unsigned long long)n_bytes, (unsigned long long)available);
    make_present(data, n_bytes);
    *out = data;
    return TERN_OK;
}
