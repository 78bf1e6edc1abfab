// A document of headings, paragraphs, tables, plots and code, written once and rendered as markdown and as one
// self-contained HTML page. Appends fail silently when memory is out; rendering then says so.
#ifndef TERN_BENCH_DOCUMENT_H
#define TERN_BENCH_DOCUMENT_H

#include "plot.h"

typedef struct document {
    report md, html; // both grow together
    char title[128];
    const char *align; // of the open table: 'l' or 'r' for each column
    size_t column;
} document;

void document_begin(document *d, const char *title);
void document_heading(document *d, int level, const char *text); // 2 or 3
void document_text(document *d, const char *format, ...) TERN_PRINTF(2, 3);
void document_item(document *d, const char *format, ...) TERN_PRINTF(2, 3); // of a list; a paragraph of its own
void document_code(document *d, const char *text);

// A table: `align` has a letter for each column and outlives the table; `titles` ends with NULL. Then all cells row by
// row, each cell by document_cell or document_badge.
void document_table(document *d, const char *align, const char *const *titles);
void document_cell(document *d, const char *format, ...) TERN_PRINTF(2, 3);
// A cell whose text is marked: `kind` is a class of the style sheet ("good", "bad", "open", "none").
void document_badge(document *d, const char *kind, const char *text);
void document_table_end(document *d);

// In HTML the drawings, side by side where there is room; in markdown a line that says where they are. Empty ones are
// left out.
void document_plots(document *d, const plot *plots, size_t n);

// Hands both texts over; free them. HOST_MEMORY.
tern_status document_end(document *d, char **md, char **html, tern_error *err);
void document_free(document *d);

// &, <, > and quotes as HTML entities; control characters as '?'.
void document_add_escaped(report *out, const char *text);

#endif
