// The OpenCL backend on the first device: every op case bit for bit against the reference, in the form that the device
// gets and in forms that other devices get; proof that broken kernels are noticed; the packed layout, graphs and BLAS.
#include <math.h>

#include "support.h"

typedef struct tally {
    size_t n_run, n_passed;
} tally;

static void run(op_runner *reference, op_runner *const *subjects, size_t n_subjects, const op_case *c, tally *t)
{
    op_outcome outcome = {0};
    tern_error err = {0};
    assert_int_equal(op_case_run(c, reference, subjects, n_subjects, &outcome, &err), TERN_OK);
    t->n_run++;
    t->n_passed += outcome.verdict == VERDICT_PASSED;
    if (outcome.verdict != VERDICT_PASSED) print_message("%s: %s\n", c->name, outcome.text);
}

// ------------------------------------------------------------------------------------------------ forms

static char own_options[320]; // of programs in the form that the device gets
static __typeof__(clBuildProgram) *real_build;

// PoCL 3.1 loses stores after the return of whole work-groups in rope_kv when it does not optimise.
static bool holds_rope_kv(cl_program program)
{
    size_t n = 0;
    assert_int_equal(cl.clGetProgramInfo(program, CL_PROGRAM_SOURCE, 0, NULL, &n), CL_SUCCESS);
    char *source = malloc(n);
    assert_non_null(source);
    assert_int_equal(cl.clGetProgramInfo(program, CL_PROGRAM_SOURCE, n, source, NULL), CL_SUCCESS);
    bool holds = strstr(source, "void rope_kv(") != NULL;
    free(source);
    return holds;
}

// In other forms, and broken ones, it is what the source says that counts: without optimisation, which takes most of
// the time to build them on a CPU.
static cl_int build_form(cl_program program, cl_uint n, const cl_device_id *ids, const char *options,
                         void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    char unoptimised[512];
    snprintf(unoptimised, sizeof unoptimised, "%s -cl-opt-disable", options);
    bool is_optimised = strncmp(options, own_options, strlen(own_options)) == 0 || holds_rope_kv(program);
    return real_build(program, n, ids, is_optimised ? options : unoptimised, notify, user);
}

static int watch_builds(void **state)
{
    (void)state;
    const char *note;
    opencl_device where;
    opencl_traits own;
    if (opencl_device_count(&note) == 0) return 0;
    if (opencl_device_at(0, &where, NULL) != TERN_OK) return -1;
    opencl_traits_query(&where, &own);
    opencl_traits_options(&own, own_options, sizeof own_options);
    real_build = cl.clBuildProgram;
    cl.clBuildProgram = build_form;
    return 0;
}

// ------------------------------------------------------------------------------------------------ conformance

// Shapes that no listed case has: groups that do not end on granules, and one token with a ternary dense matrix.
static void run_unlisted(op_runner *reference, op_runner *const *subjects, size_t n_subjects, tally *t)
{
    op_case ragged = {.kind = OP_TERNARY_MM, .is_ternary = true, .scale = SCALE_ROWS, .n = 21, .k = 333};
    for (ragged.n_terms = 1; ragged.n_terms <= 2; ragged.n_terms++)
        for (ragged.group = 31; ragged.group <= 100; ragged.group += 69)
            for (ragged.m = 1; ragged.m <= 9; ragged.m += 4) {
                snprintf(ragged.name, sizeof ragged.name, "ternary_mm M=%u N=21 K=333 rows g%u %u-term", ragged.m,
                         ragged.group, ragged.n_terms);
                run(reference, subjects, n_subjects, &ragged, t);
            }
    op_case one = {.kind = OP_DENSE_MM, .is_ternary = true, .scale = SCALE_RANGES, .m = 1, .n = 37, .k = 333};
    for (one.group = 0; one.group <= 128; one.group += 128) {
        snprintf(one.name, sizeof one.name, "dense_mm M=1 N=37 K=333 ternary ranges g%u", one.group);
        run(reference, subjects, n_subjects, &one, t);
    }
}

// How many of the forms a case tells apart: all three, the first two (division), or one.
static size_t n_forms(const op_case *c)
{
    if (c->level > LEVEL_QUICK || c->m > 33) return 1;
    switch (c->kind) {
    case OP_RESIDUAL:
    case OP_GATHER:
    case OP_ADVANCE:
    case OP_TOP_K: return 1;
    case OP_TERNARY_MM:
    case OP_DENSE_MM:
    case OP_INT_MM:
    case OP_RESCORE:
    case OP_EMBED:
    case OP_ATTENTION: return 3;
    default: return 2;
    }
}

// The device as it is for all cases of the tests; for the quick ones also in forms that other devices get. Two cover
// all paths that can be forced: signed operands, division in software, tiles; shuffles, halves loaded by instruction.
static void test_all_forms_equal_the_reference(void **state)
{
    (void)state;
    need_device();
    opencl_traits with_signed = plain_traits(), with_shuffles = plain_traits();
    with_signed.dot = OPENCL_DOT_SIGNED;
    with_signed.has_exact_division = false;
    with_shuffles.subgroups = OPENCL_SUBGROUPS_EMULATED;
    with_shuffles.has_fp16 = true;
    op_runner reference = open_reference(), queried = open_subject(NULL, NULL, "as queried");
    op_runner second = open_subject(&with_signed, NULL, "signed, division in software");
    op_runner third = open_subject(&with_shuffles, NULL, "emulated shuffles, half loads");
    op_runner *const subjects[] = {&queried, &second, &third};
    assert_memory_equal(&second.device->traits, &with_signed, sizeof with_signed); // these forms are what runs
    assert_memory_equal(&third.device->traits, &with_shuffles, sizeof with_shuffles);
    tally t = {0};
    size_t n;
    op_case *cases = list_cases(&n);
    for (size_t i = 0; i < n; i++)
        if (cases[i].level <= LEVEL_TEST && op_is_everywhere(cases[i].kind))
            run(&reference, subjects, n_forms(&cases[i]), &cases[i], &t);
    run_unlisted(&reference, subjects, 3, &t);
    free(cases);
    op_runner_close(&third);
    op_runner_close(&second);
    op_runner_close(&queried);
    op_runner_close(&reference);
    print_message("%zu cases, %zu passed\n", t.n_run, t.n_passed);
    assert_true(t.n_run > 1000);
    assert_int_equal(t.n_passed, t.n_run); // none failed, none skipped
}

// A fast path whose code does not compile here: plain code instead, as the traits then say.
static void test_fast_path_that_does_not_compile(void **state)
{
    (void)state;
    need_device();
    const opencl_dot dots[] = {OPENCL_DOT_NVIDIA, OPENCL_DOT_QUALCOMM};
    op_runner reference = open_reference();
    for (size_t i = 0; i < 2; i++) {
        opencl_device where;
        opencl_traits queried, traits = plain_traits();
        assert_int_equal(opencl_device_at(0, &where, NULL), TERN_OK);
        opencl_traits_query(&where, &queried);
        traits.dot = dots[i];
        op_runner subject = open_subject(&traits, NULL, "fallen back");
        if (queried.dot == dots[i]) {
            print_message("SKIPPED: this device has the fast path\n");
        } else {
            assert_int_equal(subject.device->traits.dot, OPENCL_DOT_PLAIN);
            tally t = {0};
            op_case a = find_case("ternary_mm M=3 N=21 K=513"), b = find_case("dense_mm M=3 N=37 K=333 ternary rows");
            op_runner *const subjects[] = {&subject};
            run(&reference, subjects, 1, &a, &t);
            run(&reference, subjects, 1, &b, &t);
            assert_int_equal(t.n_passed, 2);
        }
        op_runner_close(&subject);
    }
    op_runner_close(&reference);
}

// ------------------------------------------------------------------------------------------------ sabotage

// A change of a topic's source, and a case that must notice it.
typedef struct mutation {
    opencl_topic topic;
    opencl_kernel first, last; // the topic's kernels; none for TOPIC_DENSE, whose kernels come with weights
    const char *from, *to, *case_text, *expected;
} mutation;

static const mutation *active;
static __typeof__(clCreateProgramWithSource) *real_create_program;

// Replaces the text in the source; fails where it is not there.
static cl_program create_mutated(cl_context context, cl_uint n, const char **source, const size_t *lengths,
                                 cl_int *code)
{
    const char *at = strstr(*source, active->from);
    if (at == NULL) fail_msg("the source of topic %d has no \"%s\"", (int)active->topic, active->from);
    size_t before = (size_t)(at - *source), n_from = strlen(active->from), n_to = strlen(active->to);
    char *text = malloc(strlen(*source) - n_from + n_to + 1);
    assert_non_null(text);
    memcpy(text, *source, before);
    memcpy(text + before, active->to, n_to);
    strcpy(text + before + n_to, at + n_from);
    cl_program program = real_create_program(context, n, (const char **)&text, lengths, code);
    free(text);
    return program;
}

// Puts the changed kernels in place of the device's own, which closing the device would have released.
static cl_program swap_kernels(device *d, const mutation *m)
{
    cl_program program;
    tern_error err = {0};
    const char *options = m->topic == TOPIC_T80 ? "-DTERN_T80" : "";
    if (opencl_program_create(d, m->topic, options, &program, &err) != TERN_OK) fail_msg("%s", err.message);
    for (int k = m->first; k <= (int)m->last; k++) {
        launch l = launch_begin(d, (opencl_kernel)k);
        if (d->kernels[k] != NULL) cl.clReleaseKernel(d->kernels[k]); // those of T80 come with weights
        d->kernels[k] = cl.clCreateKernel(program, l.name, NULL);
        assert_non_null(d->kernels[k]);
    }
    return program;
}

static op_outcome run_mutated(op_runner *reference, const opencl_traits *traits, const mutation *m)
{
    op_runner subject = open_subject(traits, NULL, "sabotaged");
    op_runner *const subjects[] = {&subject};
    op_outcome outcome = {0};
    tern_error err = {0};
    cl_program program = NULL;
    op_case c = find_case(m->case_text);
    active = m;
    real_create_program = cl.clCreateProgramWithSource;
    cl.clCreateProgramWithSource = create_mutated;
    if (m->topic != TOPIC_DENSE) program = swap_kernels(subject.device, m);
    if (m->topic != TOPIC_DENSE) cl.clCreateProgramWithSource = real_create_program;
    assert_int_equal(op_case_run(&c, reference, subjects, 1, &outcome, &err), TERN_OK);
    cl.clCreateProgramWithSource = real_create_program;
    op_runner_close(&subject);
    if (program != NULL) cl.clReleaseProgram(program);
    return outcome;
}

static void test_broken_kernels_are_noticed(void **state)
{
    (void)state;
    need_device();
    static const mutation mutations[] = {
        // Activations lose their sign.
        {TOPIC_TERNARY, KERNEL_TMM_M1, KERNEL_TMM_RAGGED, "convert_int4(as_char4(x))", "convert_int4(as_uchar4(x))",
         "ternary_mm M=3 N=37 K=200 tensor 1-term", "elements differ"},
        {TOPIC_TERNARY, KERNEL_TMM_M1, KERNEL_TMM_RAGGED, "convert_int4(as_char4(x))", "convert_int4(as_uchar4(x))",
         "ternary_mm M=17 N=37 K=200 tensor 2-term", "elements differ"},
        // Gate and up change places.
        {TOPIC_TERNARY, KERNEL_TMM_M1, KERNEL_TMM_RAGGED, "scalar_gate_relu2(gate, up)", "scalar_gate_relu2(up, gate)",
         "ternary_mm M=1 N=48 K=333 rows 1-term relu2", "elements differ"},
        // The last code of a row is off by one.
        {TOPIC_T80, KERNEL_T80_M1, KERNEL_T80_GEMM64, "prefixes(even, odd) - 3 * before",
         "prefixes(even, odd) - before", "ternary_mm M=2 N=35 K=720 ranges t80 1-term", "elements differ"},
        {TOPIC_PACK, KERNEL_T64_PACK, KERNEL_T80_UNPACK, "+ 242) / 243", ") / 243",
         "ternary_mm M=2 N=35 K=720 ranges t80 1-term", "came back changed"},
        {TOPIC_NORM, KERNEL_NORM, KERNEL_QUANT2, "codes[i] = (char)code;", "codes[i] = (char)(code ^ (i + 1 == n));",
         "quant M=3 N=65", "elements differ"},
        // A rounding more.
        {TOPIC_DENSE, 0, 0, "scalar_fma(values[e], xs[e], acc[t][e])", "values[e] * xs[e] + acc[t][e]",
         "dense_mm M=3 N=37 K=333 ternary rows", "elements differ"},
        // Another order of the same sum.
        {TOPIC_DENSE, 0, 0, "(((v)[0] + (v)[4]) + ((v)[2] + (v)[6]))", "(((v)[0] + (v)[2]) + ((v)[4] + (v)[6]))",
         "dense_mm M=3 N=37 K=333 ternary rows", "elements differ"},
        // A logit put where its id stands in the list.
        {TOPIC_DENSE, 0, 0, "y[y_at + token * ld_y + id]", "y[y_at + token * ld_y + j]",
         "rescore M=3 N=300 K=512 F16 best=20", "elements differ"},
        {TOPIC_ROWS, KERNEL_GATE, KERNEL_FROM_HALF, "+= y[y_at", "= y[y_at", "residual M=3 N=65", "elements differ"},
        // A check left out.
        {TOPIC_ROWS, KERNEL_GATE, KERNEL_FROM_HALF, "if (i < n) h[", "h[", "residual M=3 N=65 gap", "wrote "},
        // Blocks of positions merged as if all had the same maximum.
        {TOPIC_ATTENTION, KERNEL_ROPE_KV, KERNEL_ATTENTION_MERGE, "al = scalar_exp(s.x - m)", "al = 1.0f",
         "attention M=6 H=4/1 D=64 k=f32 v=f32", "elements differ"},
        // Negative values in the wrong order.
        {TOPIC_TOP_K, KERNEL_TOP_K, KERNEL_TOP_K_MERGE, "? ~bits :", "? bits :", "top_k M=3 N=257 k=40",
         "elements differ"},
        {TOPIC_PACK, KERNEL_T64_PACK, KERNEL_T80_UNPACK, "spread << (2 * (q % 8 / 2))", "spread << (2 * (q % 4))",
         "ternary_mm M=3 N=37 K=200 tensor 1-term", "came back changed"},
        {TOPIC_NORM, KERNEL_NORM, KERNEL_QUANT2, "raise_flag(flag, place);", ";", "head_norm M=2 H=20 D=128 nan",
         "flag word"},
    };
    op_runner reference = open_reference();
    opencl_traits traits = plain_traits();
    for (size_t i = 0; i < sizeof mutations / sizeof mutations[0]; i++) {
        op_outcome outcome = run_mutated(&reference, &traits, &mutations[i]);
        if (outcome.verdict != VERDICT_FAILED || strstr(outcome.text, mutations[i].expected) == NULL)
            fail_msg("\"%s\" instead of \"%s\": verdict %d \"%s\", expected a failure with \"%s\"", mutations[i].to,
                     mutations[i].from, (int)outcome.verdict, outcome.text, mutations[i].expected);
        mutation none = mutations[i]; // the case itself passes
        none.to = none.from;
        outcome = run_mutated(&reference, &traits, &none);
        if (outcome.verdict != VERDICT_PASSED) fail_msg("%s: \"%s\"", none.case_text, outcome.text);
    }
    op_runner_close(&reference);
}

static __typeof__(clEnqueueNDRangeKernel) *real_launch;
static cl_kernel left_out; // NULL: all

static cl_int launch_nothing(cl_command_queue queue, cl_kernel kernel, cl_uint n_dims, const size_t *offset,
                             const size_t *global, const size_t *local, cl_uint n_wait, const cl_event *wait,
                             cl_event *done)
{
    if (left_out == NULL || kernel == left_out) return CL_SUCCESS;
    return real_launch(queue, kernel, n_dims, offset, global, local, n_wait, wait, done);
}

// A driver that says a kernel ran, and did nothing.
static void test_kernels_that_never_ran_are_noticed(void **state)
{
    (void)state;
    need_device();
    op_runner reference = open_reference(), subject = open_subject(NULL, NULL, "idle");
    op_runner *const subjects[] = {&subject};
    const cl_kernel kernels[] = {subject.device->kernels[KERNEL_NORM], subject.device->kernels[KERNEL_ATTENTION], NULL};
    static const char *const cases[] = {"norm M=3 N=65", "attention M=6 H=4/1 D=64 k=f32 v=f32", "norm M=3 N=65"};
    static const char *const expected[] = {"elements differ", "elements differ", ""};
    real_launch = cl.clEnqueueNDRangeKernel;
    for (size_t i = 0; i < 3; i++) {
        op_case c = find_case(cases[i]);
        op_outcome outcome = {0};
        tern_error err = {0};
        left_out = kernels[i];
        cl.clEnqueueNDRangeKernel = launch_nothing;
        tern_status status = op_case_run(&c, &reference, subjects, 1, &outcome, &err);
        cl.clEnqueueNDRangeKernel = real_launch;
        assert_int_equal(status, TERN_OK);
        assert_int_equal(outcome.verdict, VERDICT_FAILED);
        if (strstr(outcome.text, expected[i]) == NULL) fail_msg("\"%s\"", outcome.text);
    }
    op_runner_close(&subject);
    op_runner_close(&reference);
}

// ------------------------------------------------------------------------------------------------ packed layout

static void fill_rows(uint8_t *rows, size_t n_rows, uint32_t n_cols)
{
    size_t row_bytes = ternary_row_bytes(n_cols);
    for (size_t i = 0; i < n_rows * row_bytes; i++) {
        uint32_t x = (uint32_t)i * 2654435761u >> 7;
        rows[i] = (uint8_t)(x % 3 | x / 3 % 3 << 2 | x / 9 % 3 << 4 | x / 27 % 3 << 6);
    }
    for (size_t r = 0; r < n_rows; r++) ternary_pad_row(rows + r * row_bytes, n_cols);
}

// Packed on the device as on the host, byte for byte, in parts that begin and end anywhere; and unpacked again.
static void test_packed_layout_is_that_of_the_host(void **state)
{
    (void)state;
    need_device();
    static const uint32_t shapes[][2] = {{1, 1}, {15, 64}, {16, 65}, {37, 200}, {53, 712}, {64, 257}};
    static const uint32_t steps[] = {5, 16, 1, 9, 3, 31};
    op_runner subject = open_subject(NULL, NULL, "packing");
    tern_error err = {0};
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof shapes[0]; i++) {
        ternary_layout layout = i % 2 == 0 ? TERNARY_T64 : TERNARY_T80;
        uint32_t n_rows = shapes[i / 2][0], n_cols = shapes[i / 2][1], n_steps = 0;
        size_t row_bytes = ternary_row_bytes(n_cols), n_packed = (size_t)ternary_packed_bytes(layout, n_rows, n_cols);
        uint8_t *rows = malloc(n_rows * row_bytes), *back = calloc(n_rows, row_bytes);
        uint8_t *expected = malloc(n_packed), *packed = malloc(n_packed);
        assert_true(rows != NULL && back != NULL && expected != NULL && packed != NULL);
        fill_rows(rows, n_rows, n_cols);
        memset(expected, ternary_zero_byte(layout), n_packed);
        ternary_scale scale = {0};
        weights *w = NULL;
        assert_int_equal(ternary_scale_tensor(0.5f, n_cols, &scale, &err), TERN_OK);
        const weights_desc desc = {
            .n_rows = n_rows, .n_cols = n_cols, .is_ternary = true, .layout = layout, .scale = &scale};
        assert_int_equal(opencl_weights_create(subject.device, &desc, &w, &err), TERN_OK);
        buffer memory = {.device = subject.device, .mem = w->mem, .n_bytes = w->n_bytes};
        for (uint32_t first = 0, count; first < n_rows; first += count) {
            count = steps[n_steps++ % 6];
            if (count > n_rows - first) count = n_rows - first;
            ternary_pack_rows(layout, expected, n_rows, n_cols, first, count, rows + first * row_bytes);
            assert_int_equal(opencl_weights_upload_rows(w, first, count, rows + first * row_bytes, &err), TERN_OK);
            assert_int_equal(opencl_buffer_read(subject.stream, (view){&memory, 0}, packed, n_packed, &err), TERN_OK);
            assert_memory_equal(packed, expected, n_packed); // rows not yet given are code 1
        }
        for (uint32_t first = 0, count; first < n_rows; first += count) {
            count = n_rows - first < 7 ? n_rows - first : 7;
            assert_int_equal(opencl_weights_download_rows(w, first, count, back + first * row_bytes, &err), TERN_OK);
        }
        assert_memory_equal(back, rows, n_rows * row_bytes);

        rows[(n_rows - 1) * row_bytes] |= 3; // code 3 in the last row
        char text[32];
        snprintf(text, sizeof text, "row %u holds code 3", n_rows - 1);
        assert_int_equal(opencl_weights_upload_rows(w, 0, n_rows, rows, &err), TERN_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, text));
        error_clear(&err);
        assert_int_equal(opencl_weights_upload_rows(w, 1, n_rows, rows, NULL), TERN_INVALID_ARGUMENT); // past the end
        opencl_weights_destroy(w);
        ternary_scale_free(&scale);
        free(rows);
        free(back);
        free(expected);
        free(packed);
    }
    op_runner_close(&subject);
}

// ------------------------------------------------------------------------------------------------ graphs

// Ops of a step, each with buffers of its own, some of which are then given to the next op.
enum { STEP_QUANT, STEP_PRODUCT, STEP_RESIDUAL, STEP_ATTENTION, STEP_OPS };

typedef struct step {
    op_case cases[STEP_OPS];
    op_data *data[STEP_OPS];
    buffer *buffers[STEP_OPS][OP_REGIONS_MAX];
    op ops[STEP_OPS];
    weights *w;
} step;

static size_t region_bytes(const op_data *data, size_t i) { return data->regions[i].n_bytes + 512; } // with guards

static void make_step(op_runner *subject, step *s)
{
    tern_error err = {0};
    *s = (step){.cases = {{.kind = OP_NORM_QUANT, .m = 3, .n = 192},
                          {.kind = OP_TERNARY_MM, .m = 3, .n = 100, .k = 192, .is_ternary = true, .n_terms = 1},
                          {.kind = OP_RESIDUAL, .m = 3, .n = 100},
                          find_case("attention M=5 H=4/2 D=64 k=int8 v=int8 mixed+250 outlier")}};
    for (size_t i = 0; i < STEP_OPS; i++) {
        assert_int_equal(op_data_create(&s->cases[i], &s->data[i], &err), TERN_OK);
        s->ops[i] = s->data[i]->op;
        if (s->data[i]->has_weights) {
            assert_int_equal(op_weights_create(subject, s->data[i], &s->w, &err), TERN_OK);
            memcpy((uint8_t *)&s->ops[i] + s->data[i]->weights_at, &s->w, sizeof s->w);
        }
        assert_int_equal(op_buffers_create(subject, s->data[i], s->buffers[i], &s->ops[i], &err), TERN_OK);
    }
    s->ops[STEP_PRODUCT].ternary_mm.x = s->ops[STEP_QUANT].norm_quant.y;
    s->ops[STEP_RESIDUAL].residual.y = s->ops[STEP_PRODUCT].ternary_mm.y;
    s->ops[STEP_RESIDUAL].residual.ld_y = s->ops[STEP_PRODUCT].ternary_mm.ld_y;
}

static void free_step(step *s)
{
    for (size_t i = 0; i < STEP_OPS; i++) {
        for (size_t r = 0; r < OP_REGIONS_MAX; r++) opencl_buffer_destroy(s->buffers[i][r]);
        op_data_free(s->data[i]);
    }
    opencl_weights_destroy(s->w);
}

// Every buffer as it was before the step.
static void reset_step(op_runner *subject, step *s)
{
    tern_error err = {0};
    for (size_t i = 0; i < STEP_OPS; i++)
        for (size_t r = 0; r < s->data[i]->n_regions; r++) {
            view at = {s->buffers[i][r], 256};
            const op_region *region = &s->data[i]->regions[r];
            assert_int_equal(opencl_buffer_write(subject->stream, at, region->before, region->n_bytes, &err), TERN_OK);
        }
}

static void enqueue_step(op_runner *subject, step *s)
{
    tern_error err = {0};
    for (size_t i = 0; i < STEP_OPS; i++) {
        if (opencl_buffer_fill(subject->stream, s->ops[i].flag, 0xff, 4, &err) != TERN_OK ||
            opencl_backend.enqueue(subject->stream, &s->ops[i], &err) != TERN_OK)
            fail_msg("%s", err.message);
    }
}

// All buffers one after the other; free by the caller.
static uint8_t *read_step(op_runner *subject, step *s, size_t *n_bytes)
{
    tern_error err = {0};
    size_t n = 0, at = 0;
    for (size_t i = 0; i < STEP_OPS; i++)
        for (size_t r = 0; r < s->data[i]->n_regions; r++) n += region_bytes(s->data[i], r);
    uint8_t *all = malloc(n);
    assert_non_null(all);
    for (size_t i = 0; i < STEP_OPS; i++)
        for (size_t r = 0; r < s->data[i]->n_regions; r++) {
            view from = {s->buffers[i][r], 0};
            size_t n_region = region_bytes(s->data[i], r);
            assert_int_equal(opencl_buffer_read(subject->stream, from, all + at, n_region, &err), TERN_OK);
            at += n_region;
        }
    *n_bytes = n;
    return all;
}

static void test_graph_gives_the_bytes_of_its_ops(void **state)
{
    (void)state;
    need_device();
    op_runner subject = open_subject(NULL, NULL, "graphs");
    tern_error err = {0};
    graph *g = NULL;
    if (subject.device->commands == NULL) {
        assert_int_equal(opencl_graph_begin(subject.stream, &err), TERN_DEVICE_UNSUPPORTED);
        printf("SKIPPED: %s\n", err.message);
        op_runner_close(&subject);
        skip();
    }
    step s;
    size_t n, n_again;
    make_step(&subject, &s);
    enqueue_step(&subject, &s);
    uint8_t *eager = read_step(&subject, &s, &n);

    assert_int_equal(opencl_graph_end(subject.stream, &g, NULL), TERN_BAD_STATE);
    assert_int_equal(opencl_graph_begin(subject.stream, &err), TERN_OK);
    assert_int_equal(opencl_graph_begin(subject.stream, NULL), TERN_BAD_STATE);
    uint32_t word = 0;
    view flag = s.ops[0].flag;
    assert_int_equal(opencl_buffer_write(subject.stream, flag, &word, sizeof word, &err), TERN_BAD_STATE);
    assert_non_null(strstr(err.message, "graph"));
    assert_int_equal(opencl_buffer_read(subject.stream, flag, &word, sizeof word, NULL), TERN_BAD_STATE);
    enqueue_step(&subject, &s);
    error_clear(&err);
    if (opencl_graph_end(subject.stream, &g, &err) != TERN_OK) fail_msg("%s", err.message);
    for (int i = 0; i < 3; i++) {
        reset_step(&subject, &s);
        uint8_t *before = read_step(&subject, &s, &n_again);
        assert_int_equal(n_again, n);
        assert_memory_not_equal(before, eager, n); // recording ran nothing, and there is something to do
        free(before);
        if (opencl_graph_launch(subject.stream, g, &err) != TERN_OK) fail_msg("%s", err.message);
        uint8_t *got = read_step(&subject, &s, &n_again);
        assert_memory_equal(got, eager, n);
        free(got);
    }
    free(eager);
    opencl_graph_destroy(g);
    free_step(&s);
    op_runner_close(&subject);
}

// ------------------------------------------------------------------------------------------------ BLAS

#define BLAS_N 37u
#define BLAS_K 200u

static weights *dense_matrix(op_runner *subject, dense_type type)
{
    weights *w = NULL;
    tern_error err = {0};
    const weights_desc desc = {.n_rows = BLAS_N, .n_cols = BLAS_K, .type = type};
    size_t n_bytes = BLAS_N * dense_row_bytes(type, BLAS_K);
    uint8_t *rows = calloc(n_bytes, 1);
    assert_non_null(rows);
    for (size_t i = 0; i < BLAS_N * BLAS_K; i++) {
        float x = (float)((int)(i * 2654435761u >> 9 & 1023) - 512) / 512.0f;
        if (type == DENSE_F32) memcpy(rows + 4 * i, &x, 4);
    }
    assert_int_equal(opencl_weights_create(subject->device, &desc, &w, &err), TERN_OK);
    assert_int_equal(opencl_weights_upload_rows(w, 0, BLAS_N, rows, &err), TERN_OK);
    free(rows);
    return w;
}

static void test_blas_multiplies(void **state)
{
    (void)state;
    need_device();
    if (opencl_blas_load() == NULL) {
        printf("SKIPPED: CLBlast is not installed\n");
        skip();
    }
    op_runner subject = open_subject(NULL, NULL, "BLAS");
    tern_error err = {0};
    const char *reason = "";
    static const uint32_t rows[] = {1, 3, 17};
    weights *w = dense_matrix(&subject, DENSE_F32), *halves = dense_matrix(&subject, DENSE_F16);
    for (size_t i = 0; i < 3; i++) {
        uint32_t m = rows[i], ld_x = BLAS_K + 5, ld_y = BLAS_N + 3;
        size_t n_x = (size_t)m * ld_x, n_y = (size_t)m * ld_y;
        float *x = calloc(n_x, 4), *y[2] = {calloc(n_y, 4), calloc(n_y, 4)};
        buffer *flag, *bx, *by;
        for (size_t j = 0; j < n_x; j++) x[j] = (float)((int)(j * 40503u >> 3 & 255) - 128) / 64.0f;
        assert_int_equal(opencl_buffer_create(subject.device, 4, &flag, &err), TERN_OK);
        assert_int_equal(opencl_buffer_create(subject.device, n_x * 4 + 64, &bx, &err), TERN_OK);
        assert_int_equal(opencl_buffer_create(subject.device, n_y * 4 + 64, &by, &err), TERN_OK);
        assert_int_equal(opencl_buffer_write(subject.stream, (view){bx, 64}, x, n_x * 4, &err), TERN_OK);
        op o = {.kind = OP_DENSE_MM, .m = m, .flag = {flag, 0}};
        o.dense_mm = (op_dense_mm){.w = w, .x = {bx, 64}, .y = {by, 64}, .ld_x = ld_x, .ld_y = ld_y};
        for (size_t j = 0; j < 2; j++) {
            o.kind = j == 0 ? OP_DENSE_MM : OP_BLAS_MM;
            assert_int_equal(opencl_buffer_fill(subject.stream, (view){by, 0}, 0xff, n_y * 4 + 64, &err), TERN_OK);
            assert_true(opencl_backend.supports(subject.device, &o, &reason));
            if (opencl_backend.enqueue(subject.stream, &o, &err) != TERN_OK) fail_msg("%s", err.message);
            assert_int_equal(opencl_buffer_read(subject.stream, (view){by, 64}, y[j], n_y * 4, &err), TERN_OK);
        }
        double difference = 0, norm = 0;
        for (size_t r = 0; r < m; r++)
            for (size_t c = 0; c < ld_y; c++) {
                double a = (double)y[0][r * ld_y + c], b = (double)y[1][r * ld_y + c];
                assert_int_equal(c < BLAS_N, isfinite(a) && isfinite(b)); // the gap is left alone
                if (c >= BLAS_N) continue;
                difference += (a - b) * (a - b);
                norm += a * a;
            }
        assert_true(norm > 0);
        if (!(sqrt(difference / norm) < 1e-5)) fail_msg("M=%u: off by %g", m, sqrt(difference / norm));

        o.dense_mm.w = halves;
        bool has_fp16 = opencl_has_extension(subject.device->cl_device.id, "cl_khr_fp16");
        assert_int_equal(opencl_backend.supports(subject.device, &o, &reason), has_fp16);
        if (!has_fp16) {
            assert_non_null(strstr(reason, "cl_khr_fp16; hold them as F32"));
            assert_int_equal(opencl_backend.enqueue(subject.stream, &o, NULL), TERN_DEVICE_UNSUPPORTED);
        }
        opencl_buffer_destroy(flag);
        opencl_buffer_destroy(bx);
        opencl_buffer_destroy(by);
        free(x);
        free(y[0]);
        free(y[1]);
    }
    opencl_weights_destroy(w);
    opencl_weights_destroy(halves);
    op_runner_close(&subject);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_layout_is_that_of_the_host),
        cmocka_unit_test(test_graph_gives_the_bytes_of_its_ops),
        cmocka_unit_test(test_blas_multiplies),
        cmocka_unit_test(test_broken_kernels_are_noticed),
        cmocka_unit_test(test_kernels_that_never_ran_are_noticed),
        cmocka_unit_test(test_fast_path_that_does_not_compile),
        cmocka_unit_test(test_all_forms_equal_the_reference),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, watch_builds, NULL);
}
