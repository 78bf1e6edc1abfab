// What the report draws; see verify_plots.h.
#include "verify_plots.h"

#include <stdio.h>
#include <string.h>

static const char *const twin_names[2] = {"ternary", "FP16 twin"};

tern_status verify_memory_plot(const verify *v, plot *out, tern_error *err)
{
    static const char *const shapes[] = {"700m", "1.3b", "3b", "3.9b", "7b", "13b", "30b", "70b", "100b"};
    *out = (plot){.title = "Memory by model size, planned", .is_log_x = true, .is_log_y = true};
    snprintf(out->x_label, sizeof out->x_label, "weights, 1e9");
    snprintf(out->y_label, sizeof out->y_label, "GB at 512 positions, f16 KV");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char name[40];
        tern_model *model = NULL;
        snprintf(name, sizeof name, "synthetic:%s", shapes[i]);
        tern_status status = tern_model_open(v->options->engine, name, NULL, &model, err);
        if (status != TERN_OK) return status;
        tern_model_info info;
        tern_model_get_info(model, &info);
        tern_model_close(model);
        for (int t = 0; t < 2; t++) {
            uint64_t bytes;
            status = verify_plan_bytes(v, shapes[i], t ? TERN_WEIGHTS_F16 : TERN_WEIGHTS_STORED, 512, 1, "f16", NULL,
                                       &bytes, err);
            if (status != TERN_OK) return status;
            plot_add(out, twin_names[t], (double)info.n_params * 1e-9, (double)bytes * 1e-9);
        }
    }
    return TERN_OK;
}

static plot new_plot(const verify *v, size_t dev, const char *what, const char *x, const char *y)
{
    plot p = {0};
    snprintf(p.title, sizeof p.title, "%.56s, %.30s", what, v->devices[dev].info.name);
    snprintf(p.x_label, sizeof p.x_label, "%s", x);
    snprintf(p.y_label, sizeof p.y_label, "%s", y);
    return p;
}

static double ms_per_step(const bench_row *row) { return row->median_ns * 1e-6 / row->test.n_gen; }

static bool is_same_test(const bench_test *a, const bench_test *b) { return memcmp(a, b, sizeof *a) == 0; }

// A row's name under a bar: shape and test.
static void bar_name(const verify_row *r, char *out, size_t n_bytes)
{
    if (r->row.test.n_depth > 0)
        snprintf(out, n_bytes, "%s @%u", r->shape, r->row.test.n_depth);
    else
        snprintf(out, n_bytes, "%s", r->shape);
}

// The largest shape measured on the device, whether or not its twin was.
static const char *last_shape(const verify *v, size_t dev)
{
    const char *shape = v->devices[dev].largest;
    for (size_t i = 0; i < v->n_rows && shape[0] == 0; i++)
        if (v->rows[i].device == dev) shape = v->rows[i].shape;
    return shape;
}

void verify_device_plots(const verify *v, size_t dev, plot out[VERIFY_N_DEVICE_PLOTS])
{
    const char *shape = last_shape(v, dev);
    char title[64];
    out[0] = new_plot(v, dev, "Latency at batch 1 by model size", "weights, 1e9", "ms per token");
    out[0].is_log_x = out[0].is_log_y = true;
    snprintf(title, sizeof title, "Throughput by batch, %s", shape);
    out[1] = new_plot(v, dev, title, "sequences decoded together", "tokens per second");
    out[1].is_log_x = out[1].has_point_ticks = true;
    out[2] = new_plot(v, dev, "Share of measured read bandwidth", "decoding, by shape", "% of read bandwidth");
    out[2].is_bars = true;
    snprintf(title, sizeof title, "Latency by context, %s", shape);
    out[3] = new_plot(v, dev, title, "tokens in the context", "ms per token");
    bench_test batch = verify_batch_test(v, dev);
    for (size_t i = 0; i < v->n_rows; i++) {
        const verify_row *r = &v->rows[i];
        if (r->device != dev || r->row.test.n_prompt > 0 || !r->row.is_valid) continue;
        const char *series = twin_names[r->is_twin];
        bench_test decode = verify_decode_test(v, dev, r->row.test.n_depth);
        bool is_decode = r->row.n_seq == 1 && is_same_test(&r->row.test, &decode),
             is_largest = !strcmp(r->shape, shape);
        bool is_batch = is_same_test(&r->row.test, &batch);
        if (is_decode && r->row.test.n_depth == 0)
            plot_add(&out[0], series, (double)r->row.model_n_params * 1e-9, ms_per_step(&r->row));
        if (is_largest && is_batch) plot_add(&out[1], series, r->row.n_seq, r->row.median_ts);
        char name[48];
        bar_name(r, name, sizeof name);
        if (is_decode && r->row.peak_gbps > 0) plot_add_bar(&out[2], series, name, r->row.pct_peak_bw);
        if (is_largest && is_decode) plot_add(&out[3], series, r->row.test.n_depth, ms_per_step(&r->row));
    }
    for (size_t s = 0; s < out[3].n_series; s++) // a curve needs two points
        if (out[3].series[s].n < 2) out[3].n_series = 0;
}
