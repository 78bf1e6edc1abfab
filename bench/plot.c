// SVG plots; see plot.h.
#include "plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "document.h"

enum { WIDTH = 640, HEIGHT = 360, LEFT = 72, RIGHT = 16, TOP = 58, BOTTOM = 54, MAX_TICKS = 16 };

typedef struct axis {
    double low, high; // of the data's scale; of a logarithmic axis their log10
    bool is_log;
    double from, to; // pixels
    double ticks[MAX_TICKS];
    size_t n_ticks;
} axis;

// ------------------------------------------------------------------------------------------------------------- data

plot_series *plot_find_series(plot *p, const char *name)
{
    for (size_t i = 0; i < p->n_series; i++)
        if (strcmp(p->series[i].name, name) == 0) return &p->series[i];
    if (p->n_series == PLOT_MAX_SERIES) return NULL;
    plot_series *s = &p->series[p->n_series++];
    *s = (plot_series){0};
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

void plot_add(plot *p, const char *series, double x, double y)
{
    bool can_draw = isfinite(x) && isfinite(y) && (!p->is_log_x || x > 0) && (!p->is_log_y || y > 0);
    plot_series *s = can_draw ? plot_find_series(p, series) : NULL;
    if (s == NULL || s->n == PLOT_MAX_POINTS) return;
    size_t at = s->n++; // kept ascending in x, so that lines do not run back
    for (; at > 0 && s->x[at - 1] > x; at--) {
        s->x[at] = s->x[at - 1];
        s->y[at] = s->y[at - 1];
    }
    s->x[at] = x;
    s->y[at] = y;
}

void plot_add_bar(plot *p, const char *series, const char *category, double y)
{
    size_t c = 0;
    while (c < p->n_categories && strcmp(p->categories[c], category) != 0) c++;
    if (c == PLOT_MAX_POINTS) return;
    if (c == p->n_categories) snprintf(p->categories[p->n_categories++], sizeof p->categories[0], "%s", category);
    plot_add(p, series, (double)c, y);
}

bool plot_is_empty(const plot *p)
{
    for (size_t i = 0; i < p->n_series; i++)
        if (p->series[i].n > 0) return false;
    return true;
}

// ------------------------------------------------------------------------------------------------------------- axes

static double scaled(const axis *a, double value) { return a->is_log ? log10(value) : value; }

static double position(const axis *a, double value)
{
    return a->from + (scaled(a, value) - a->low) / (a->high - a->low) * (a->to - a->from);
}

// Steps of 1, 2 or 5 times a power of ten, about six of them.
static void linear_ticks(axis *a)
{
    double raw = (a->high - a->low) / 6, power = pow(10, floor(log10(raw)));
    double step = raw / power < 1.5   ? power
                  : raw / power < 3.5 ? 2 * power
                  : raw / power < 7.5 ? 5 * power
                                      : 10 * power;
    a->low = floor(a->low / step) * step;
    a->high = ceil(a->high / step - 1e-9) * step;
    for (double t = a->low; t < a->high + step / 2 && a->n_ticks < MAX_TICKS; t += step) a->ticks[a->n_ticks++] = t;
}

// Powers of ten, and 2 and 5 times them where there are few.
static void log_ticks(axis *a)
{
    static const double fine[] = {1, 2, 5};
    int n_steps = a->high - a->low < 2.5 ? 3 : 1;
    for (int e = (int)floor(a->low) - 1; e <= (int)ceil(a->high); e++)
        for (int k = 0; k < n_steps && a->n_ticks < MAX_TICKS; k++) {
            double t = fine[k] * pow(10, e);
            if (log10(t) >= a->low - 1e-9 && log10(t) <= a->high + 1e-9) a->ticks[a->n_ticks++] = t;
        }
}

static void point_ticks(const plot *p, axis *a)
{
    for (size_t s = 0; s < p->n_series; s++)
        for (size_t i = 0; i < p->series[s].n; i++) {
            size_t k = 0;
            while (k < a->n_ticks && a->ticks[k] != p->series[s].x[i]) k++;
            if (k == a->n_ticks && k < MAX_TICKS) a->ticks[a->n_ticks++] = p->series[s].x[i];
        }
}

static axis make_axis(const plot *p, bool is_x, double from, double to)
{
    axis a = {.low = INFINITY, .high = -INFINITY, .is_log = is_x ? p->is_log_x : p->is_log_y, .from = from, .to = to};
    for (size_t s = 0; s < p->n_series; s++)
        for (size_t i = 0; i < p->series[s].n; i++) {
            double value = scaled(&a, is_x ? p->series[s].x[i] : p->series[s].y[i]);
            a.low = fmin(a.low, value);
            a.high = fmax(a.high, value);
        }
    if (!a.is_log) a.low = fmin(a.low, 0);
    if (a.high - a.low < 1e-9) { // one value
        a.low -= a.is_log ? 0.3 : 0;
        a.high += a.is_log ? 0.3 : fmax(1, fabs(a.high));
    }
    if (a.is_log) {
        a.low -= 0.08;
        a.high += 0.08;
        if (is_x && p->has_point_ticks)
            point_ticks(p, &a);
        else
            log_ticks(&a);
    } else {
        linear_ticks(&a);
    }
    return a;
}

// ---------------------------------------------------------------------------------------------------------- drawing

static void add_text(report *out, double x, double y, const char *anchor, const char *style, const char *text)
{
    report_add(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, style);
    document_add_escaped(out, text);
    report_add(out, "</text>\n");
}

static void add_tick_label(report *out, double x, double y, const char *anchor, double value)
{
    char text[32];
    if (fabs(value) >= 1e6)
        snprintf(text, sizeof text, "%gM", value * 1e-6);
    else
        snprintf(text, sizeof text, "%g", fabs(value) < 1e-12 ? 0 : value);
    add_text(out, x, y, anchor, " class=\"tick\"", text);
}

static void draw_frame(const plot *p, const axis *x, const axis *y, report *out)
{
    for (size_t i = 0; i < y->n_ticks; i++) {
        double at = position(y, y->ticks[i]);
        report_add(out, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>\n", LEFT, at, WIDTH - RIGHT,
                   at);
        add_tick_label(out, LEFT - 8, at + 4, "end", y->ticks[i]);
    }
    for (size_t i = 0; i < x->n_ticks && !p->is_bars; i++) {
        double at = position(x, x->ticks[i]);
        report_add(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", at, TOP, at,
                   HEIGHT - BOTTOM);
        add_tick_label(out, at, HEIGHT - BOTTOM + 18, "middle", x->ticks[i]);
    }
    report_add(out, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT);
    add_text(out, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12, "middle", "", p->x_label);
    report_add(out, "<g transform=\"translate(18 %.1f) rotate(-90)\">", (TOP + HEIGHT - BOTTOM) / 2.0);
    add_text(out, 0, 0, "middle", "", p->y_label);
    report_add(out, "</g>\n");
}

static void draw_legend(const plot *p, report *out)
{
    double x = LEFT;
    for (size_t i = 0; i < p->n_series; i++) {
        report_add(out, "<rect class=\"s%zu\" x=\"%.1f\" y=\"34\" width=\"12\" height=\"12\" rx=\"2\"/>\n", i, x);
        add_text(out, x + 17, 44, "start", "", p->series[i].name);
        x += 17 + 6.6 * (double)strlen(p->series[i].name) + 20;
    }
}

static void draw_lines(const plot *p, const axis *x, const axis *y, report *out)
{
    for (size_t s = 0; s < p->n_series; s++) {
        const plot_series *series = &p->series[s];
        report_add(out, "<polyline class=\"line s%zu\" points=\"", s);
        for (size_t i = 0; i < series->n; i++)
            report_add(out, "%s%.1f,%.1f", i > 0 ? " " : "", position(x, series->x[i]), position(y, series->y[i]));
        report_add(out, "\"/>\n");
        for (size_t i = 0; i < series->n; i++) {
            report_add(out, "<circle class=\"s%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>", s,
                       position(x, series->x[i]), position(y, series->y[i]));
            document_add_escaped(out, series->name);
            report_add(out, ": %.4g, %.4g</title></circle>\n", series->x[i], series->y[i]);
        }
    }
}

// A category's name, in two lines at a space where it is long.
static void draw_category(report *out, double x, const char *name)
{
    char first[48];
    const char *space = strlen(name) > 9 ? strchr(name, ' ') : NULL;
    snprintf(first, sizeof first, "%.*s", (int)(space != NULL ? space - name : (long)strlen(name)), name);
    add_text(out, x, HEIGHT - BOTTOM + 14, "middle", " class=\"tick\"", first);
    if (space != NULL) add_text(out, x, HEIGHT - BOTTOM + 27, "middle", " class=\"tick\"", space + 1);
}

static void draw_bars(const plot *p, const axis *y, report *out)
{
    double slot = (double)(WIDTH - LEFT - RIGHT) / (double)p->n_categories;
    double width = fmin(0.8 * slot / (double)p->n_series, 56);
    for (size_t s = 0; s < p->n_series; s++) {
        const plot_series *series = &p->series[s];
        for (size_t i = 0; i < series->n; i++) {
            double left = LEFT + slot * (series->x[i] + 0.5) + width * ((double)s - (double)p->n_series / 2);
            double top = position(y, series->y[i]);
            report_add(out, "<rect class=\"s%zu\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>", s,
                       left, top, width - 2, HEIGHT - BOTTOM - top);
            document_add_escaped(out, series->name);
            report_add(out, ": %.4g</title></rect>\n", series->y[i]);
            char value[24];
            snprintf(value, sizeof value, "%.3g", series->y[i]);
            add_text(out, left + (width - 2) / 2, top - 4, "middle", " class=\"tick\"", value);
        }
    }
    for (size_t c = 0; c < p->n_categories; c++) draw_category(out, LEFT + slot * ((double)c + 0.5), p->categories[c]);
}

void plot_svg(const plot *p, report *out)
{
    if (plot_is_empty(p)) return;
    axis x = p->is_bars ? (axis){0} : make_axis(p, true, LEFT, WIDTH - RIGHT);
    axis y = make_axis(p, false, HEIGHT - BOTTOM, TOP);
    report_add(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\"><title>", WIDTH,
               HEIGHT);
    document_add_escaped(out, p->title);
    report_add(out, "</title>\n");
    add_text(out, LEFT, 20, "start", " class=\"title\"", p->title);
    draw_frame(p, &x, &y, out);
    draw_legend(p, out);
    if (p->is_bars)
        draw_bars(p, &y, out);
    else
        draw_lines(p, &x, &y, out);
    report_add(out, "</svg>\n");
}
