// Rendering of a claims report.
#ifndef TERN_BENCH_VERIFY_REPORT_H
#define TERN_BENCH_VERIFY_REPORT_H

#include "document.h"
#include "verify_run.h"

// The whole report, and its beginning: what was tested on and the table of verdicts. malloc'd texts.
tern_status verify_render(const verify *v, char **md, char **html, tern_error *err);
tern_status verify_render_summary(const verify *v, char **md, tern_error *err);

#endif
