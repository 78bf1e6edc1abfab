// Plots as SVG text: lines with points over linear or logarithmic axes, and bars over categories. Colours come from the
// page's style sheet (classes s0 to s3 for series, custom properties for ink and grid), so that light and dark pages
// show the same plot.
#ifndef TERN_BENCH_PLOT_H
#define TERN_BENCH_PLOT_H

#include "report.h"

enum { PLOT_MAX_SERIES = 4, PLOT_MAX_POINTS = 32 };

typedef struct plot_series {
    char name[64];
    double x[PLOT_MAX_POINTS], y[PLOT_MAX_POINTS]; // bars: x is the category's index
    size_t n;
} plot_series;

typedef struct plot {
    char title[96], x_label[64], y_label[64]; // with units
    bool is_bars, is_log_x, is_log_y;
    bool has_point_ticks;                 // x is labelled where points are, as for counts that double
    char categories[PLOT_MAX_POINTS][48]; // of bars
    size_t n_categories;
    plot_series series[PLOT_MAX_SERIES];
    size_t n_series;
} plot;

// Finds or adds a series; NULL when there are PLOT_MAX_SERIES others.
plot_series *plot_find_series(plot *p, const char *name);
// Adds a point; values that cannot be drawn (not finite, not positive on a logarithmic axis) are left out.
void plot_add(plot *p, const char *series, double x, double y);
// A bar of a category, found or added by name.
void plot_add_bar(plot *p, const char *series, const char *category, double y);
bool plot_is_empty(const plot *p);

// Appends <svg>...</svg>.
void plot_svg(const plot *p, report *out);

#endif
