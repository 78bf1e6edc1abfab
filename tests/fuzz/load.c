#include "load.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "fuzz.h"
#include "loaded.h"

#define MAX_ROWS_BYTES ((size_t)1 << 20)   // read at once
#define MAX_PLAN_BYTES ((uint64_t)4 << 20) // of models that are loaded

static void read_dense(const matrix_source *m, uint32_t block)
{
    size_t row_bytes = (size_t)dense_row_bytes(m->dense, m->n_cols);
    uint8_t *rows = malloc(row_bytes * block + 1);
    tern_error err = {0};
    REQUIRE(rows != NULL);
    for (uint32_t first = 0; first < m->n_rows; first += block) {
        uint32_t count = m->n_rows - first < block ? m->n_rows - first : block;
        require_answer(matrix_read_rows(m, NULL, first, count, rows, &err), &err);
    }
    free(rows);
}

static void read_ternary(const matrix_source *m, uint32_t block)
{
    size_t row_bytes = ternary_row_bytes(m->n_cols);
    uint8_t *rows = malloc(row_bytes * block + 1);
    ternary_scale scale = {0};
    tern_error err = {0};
    REQUIRE(rows != NULL);
    tern_status status = matrix_scale(m, &scale, &err);
    for (size_t i = 0; status == TERN_OK && i < (size_t)scale.n_sets * scale.n_groups; i++)
        REQUIRE(isfinite(scale.values[i]) && scale.values[i] >= 0.0f);
    for (uint32_t first = 0; status == TERN_OK && first < m->n_rows; first += block) {
        uint32_t count = m->n_rows - first < block ? m->n_rows - first : block;
        status = matrix_read_rows(m, &scale, first, count, rows, &err);
        for (uint32_t i = 0; status == TERN_OK && i < count; i++)
            REQUIRE(ternary_row_is_valid(rows + i * row_bytes, m->n_cols));
    }
    require_answer(status, &err);
    ternary_scale_free(&scale);
    free(rows);
}

static void read_matrix(const matrix_source *m)
{
    size_t row_bytes = matrix_is_ternary(m) ? ternary_row_bytes(m->n_cols)
                                            : (size_t)dense_row_bytes(m->dense, m->n_cols);
    uint32_t block = row_bytes < MAX_ROWS_BYTES / 64 ? 64 : 1;
    if (matrix_is_ternary(m))
        read_ternary(m, block);
    else
        read_dense(m, block);
}

static void read_all(const model_source *source)
{
    read_matrix(&source->embedding);
    read_matrix(&source->head);
    for (uint32_t i = 0; i < source->hp.n_layers; i++) {
        const layer_source *l = &source->layers[i];
        const matrix_source *matrices[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof matrices / sizeof *matrices; k++) read_matrix(matrices[k]);
    }
}

static void evaluate(tern_model *model)
{
    tern_session *session = NULL;
    tern_error err = {0};
    tern_status status = tern_session_create(model, &session, &err);
    const tern_row row = {.sequence = 0, .token = 0, .wants_logits = true};
    if (status == TERN_OK) status = tern_session_eval(session, &row, 1, &err);
    const float *logits;
    if (status == TERN_OK) status = tern_session_logits(session, 0, &logits, &err);
    require_answer(status, &err);
    tern_session_free(session);
}

static void plan_and_load(tern_model *model, unsigned choice)
{
    unsigned form = choice / 12 % LOAD_FORMS;
    tern_plan_options wanted;
    tern_plan plan;
    tern_error err = {0};
    tern_plan_options_init(&wanted);
    wanted.device = "cpu";
    wanted.n_ctx = 64;
    wanted.n_batch = 1;
    wanted.n_threads = 1;
    wanted.memory_budget = MAX_PLAN_BYTES;
    wanted.weights = form == LOAD_FORMS - 1 ? TERN_WEIGHTS_F16 : TERN_WEIGHTS_STORED;
    wanted.head = form == LOAD_FORMS - 1 ? TERN_HEAD_STORED : (tern_head)form;
    wanted.kv_k = (tern_kv_type)(choice / 60 % 4);
    wanted.kv_v = (tern_kv_type)(choice / 240 % 4);
    wanted.layout = choice / 960 % 2 == 0 ? TERN_LAYOUT_T64 : TERN_LAYOUT_T80;
    wanted.n_streamed = 0; // host memory would be over the limit instead
    tern_status status = tern_plan_make(model, &wanted, &plan, &err);
    if (status == TERN_OK) {
        REQUIRE(plan.bytes_total <= MAX_PLAN_BYTES);
        status = tern_model_load(model, &plan, NULL, NULL, &err);
        if (status == TERN_OK) evaluate(model);
    }
    require_answer(status, &err);
}

// The machine as the CPU backend asks for it (host/cpu/cpu.h), by the linker's --wrap: always the same, so that an
// input takes the same way everywhere and every time. Reading the system's files about memory took longer than all the
// rest.
void __wrap_machine_cpu_name(char *out, size_t size);
int __wrap_machine_threads(void);
void __wrap_machine_memory(uint64_t *total, uint64_t *available);
tern_status __wrap_machine_allocate(size_t n_bytes, const char *what, uint8_t **out, tern_error *err);

void __wrap_machine_cpu_name(char *out, size_t size) { snprintf(out, size, "fuzz"); }
int __wrap_machine_threads(void) { return 1; }
void __wrap_machine_memory(uint64_t *total, uint64_t *available) { *total = *available = (uint64_t)8 << 30; }

tern_status __wrap_machine_allocate(size_t n_bytes, const char *what, uint8_t **out, tern_error *err)
{
    void *data = NULL;
    if (n_bytes > MAX_PLAN_BYTES || posix_memalign(&data, 64, n_bytes) != 0)
        return error_set(err, TERN_DEVICE_MEMORY, "%s needs %zu bytes", what, n_bytes);
    memset(data, 0, n_bytes);
    *out = data;
    return TERN_OK;
}

void load_everything(const char *path, unsigned choice)
{
    static tern_engine *engine;
    if (engine == NULL) REQUIRE(tern_engine_open(NULL, &engine, NULL) == TERN_OK);
    tern_model_options options;
    tern_model_options_init(&options);
    options.act = (tern_act)(choice % 4);
    options.i2s_layout = (tern_i2s_layout)(choice / 4 % 3);
    tern_model *model = NULL;
    tern_error err = {0};
    tern_status status = tern_model_open(engine, path, &options, &model, &err);
    require_answer(status, &err);
    if (status != TERN_OK) {
        REQUIRE(model == NULL);
        return;
    }
    tern_model_info info;
    double zeros = 0.5;
    tern_model_get_info(model, &info);
    require_printable(info.name);
    require_printable(info.tokenizer);
    require_answer(tern_model_zero_share(model, &zeros, &err), &err);
    REQUIRE(zeros >= 0.0 && zeros <= 1.0);
    read_all(model->source);
    plan_and_load(model, choice);
    tern_model_close(model);
}

// ---------------------------------------------------------------------------------------------------- files to open

static char directory[256];

static void remove_directory(void)
{
    DIR *d = opendir(directory);
    if (d == NULL) return;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        if (entry->d_name[0] != '.') load_remove(entry->d_name);
    closedir(d);
    rmdir(directory);
}

const char *load_directory(void)
{
    if (directory[0] != 0) return directory;
    const char *base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    if (access("/dev/shm", W_OK) == 0) base = "/dev/shm";
    snprintf(directory, sizeof directory, "%.200s/tern-fuzz-XXXXXX", base);
    REQUIRE(mkdtemp(directory) != NULL);
    atexit(remove_directory);
    return directory;
}

void load_write(const char *name, const uint8_t *data, size_t n)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", load_directory(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    if (n > 0) REQUIRE(write(fd, data, n) == (ssize_t)n);
    close(fd);
}

void load_remove(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", load_directory(), name);
    unlink(path);
}
