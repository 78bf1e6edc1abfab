// Markdown and HTML from one description; see document.h.
#include "document.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c1e21;--soft:#5c6470;--paper:#ffffff;--panel:#f5f6f8;--rule:#d9dde3;"
    "--s0:#0b6bcb;--s1:#d9480f;--s2:#2b8a3e;--s3:#862e9c;--good:#2b8a3e;--bad:#c92a2a;--open:#9c6500;--none:#6b7280}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a0a8b4;--paper:#14171b;--panel:#1d2126;"
    "--rule:#363c45;--s0:#5aa9f7;--s1:#ff9a5c;--s2:#69db7c;--s3:#da9cf0;--good:#69db7c;--bad:#ff8787;--open:#ffd43b;"
    "--none:#9aa3af}}"
    "*{box-sizing:border-box}"
    "body{margin:0 auto;max-width:76rem;padding:1.5rem 1rem 4rem;color:var(--ink);background:var(--paper);"
    "font:16px/1.55 system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}"
    "h1{font-size:1.8rem;line-height:1.2;margin:.5rem 0 1rem}"
    "h2{font-size:1.3rem;margin:2.2rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--rule)}"
    "h3{font-size:1.05rem;margin:1.6rem 0 .4rem}"
    "p,ul{margin:.6rem 0;max-width:52rem}li{margin:.2rem 0}"
    ".scroll{overflow-x:auto;margin:.8rem 0}"
    "table{border-collapse:collapse;font-size:.87rem;min-width:100%}"
    "td:first-child{white-space:nowrap}"
    "th,td{padding:.35rem .65rem;border-bottom:1px solid var(--rule);vertical-align:top;text-align:left}"
    "th{color:var(--soft);font-weight:600;white-space:nowrap;border-bottom-width:2px}"
    ".r{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
    ".badge{display:inline-block;padding:.05rem .5rem;border-radius:.6rem;border:1px solid currentColor;"
    "white-space:nowrap;font-size:.82rem;font-weight:600}"
    ".good{color:var(--good)}.bad{color:var(--bad)}.open{color:var(--open)}.none{color:var(--none)}"
    "pre{background:var(--panel);border:1px solid var(--rule);border-radius:.4rem;padding:.7rem .9rem;overflow-x:auto;"
    "font-size:.85rem}"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem;margin:1rem 0}"
    "figure{margin:0;padding:.6rem;background:var(--panel);border:1px solid var(--rule);border-radius:.4rem}"
    "svg{display:block;width:100%;height:auto;font:13px system-ui,\"DejaVu Sans\",sans-serif}"
    "svg text{fill:var(--ink)}svg .title{font-weight:600;font-size:14px}svg .tick{fill:var(--soft);font-size:12px}"
    "svg .grid{stroke:var(--rule);stroke-width:1}svg .axis{fill:none;stroke:var(--soft);stroke-width:1.2}"
    "svg .s0{fill:var(--s0);stroke:var(--s0)}svg .s1{fill:var(--s1);stroke:var(--s1)}"
    "svg .s2{fill:var(--s2);stroke:var(--s2)}svg .s3{fill:var(--s3);stroke:var(--s3)}"
    "svg .line{fill:none;stroke-width:2}"
    "@media(max-width:40rem){body{font-size:15px;padding-top:.8rem}th,td{padding:.3rem .45rem}}";

void document_add_escaped(report *out, const char *text)
{
    for (const char *p = text; *p != 0; p++) {
        const char *entity = *p == '&'    ? "&amp;"
                             : *p == '<'  ? "&lt;"
                             : *p == '>'  ? "&gt;"
                             : *p == '"'  ? "&quot;"
                             : *p == '\'' ? "&#39;"
                                          : NULL;
        if (entity != NULL)
            report_add(out, "%s", entity);
        else
            report_add(out, "%c", (unsigned char)*p < ' ' && *p != '\n' ? '?' : *p);
    }
}

void document_begin(document *d, const char *title)
{
    *d = (document){0};
    snprintf(d->title, sizeof d->title, "%s", title);
    report_add(&d->md, "# %s\n", title);
    report_add(&d->html, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    document_add_escaped(&d->html, title);
    report_add(&d->html, "</title>\n<style>%s</style>\n</head>\n<body>\n<h1>", style);
    document_add_escaped(&d->html, title);
    report_add(&d->html, "</h1>\n");
}

void document_heading(document *d, int level, const char *text)
{
    report_add(&d->md, "\n%s %s\n", level == 2 ? "##" : "###", text);
    report_add(&d->html, "<h%d>", level);
    document_add_escaped(&d->html, text);
    report_add(&d->html, "</h%d>\n", level);
}

// Formats a paragraph for both renderings.
static char *formatted(document *d, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = n >= 0 ? malloc((size_t)n + 1) : NULL;
    if (text != NULL)
        vsnprintf(text, (size_t)n + 1, format, again);
    else
        d->html.is_out_of_memory = true;
    va_end(again);
    return text;
}

static void add_block(document *d, const char *before_md, const char *tag, char *text)
{
    if (text == NULL) return;
    report_add(&d->md, "%s%s\n", before_md, text);
    report_add(&d->html, "<%s>", tag);
    document_add_escaped(&d->html, text);
    report_add(&d->html, "</%s>\n", tag);
    free(text);
}

void document_text(document *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_block(d, "\n", "p", formatted(d, format, args));
    va_end(args);
}

void document_item(document *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report_add(&d->html, "<ul>");
    add_block(d, "- ", "li", formatted(d, format, args));
    report_add(&d->html, "</ul>\n");
    va_end(args);
}

void document_code(document *d, const char *text)
{
    report_add(&d->md, "\n```\n%s\n```\n", text);
    report_add(&d->html, "<pre>");
    document_add_escaped(&d->html, text);
    report_add(&d->html, "</pre>\n");
}

// ----------------------------------------------------------------------------------------------------------- tables

void document_table(document *d, const char *align, const char *const *titles)
{
    d->align = align;
    d->column = 0;
    report_add(&d->md, "\n");
    report_add(&d->html, "<div class=\"scroll\"><table>\n<thead><tr>");
    for (size_t i = 0; titles[i] != NULL; i++) {
        report_add(&d->md, "| ");
        report_add_cell(&d->md, titles[i]);
        report_add(&d->md, " ");
        report_add(&d->html, "<th%s>", align[i] == 'r' ? " class=\"r\"" : "");
        document_add_escaped(&d->html, titles[i]);
        report_add(&d->html, "</th>");
    }
    report_add(&d->md, "|\n");
    for (size_t i = 0; titles[i] != NULL; i++) report_add(&d->md, align[i] == 'r' ? "| ---: " : "| --- ");
    report_add(&d->md, "|\n");
    report_add(&d->html, "</tr></thead>\n<tbody>\n");
}

static void add_cell(document *d, const char *kind, const char *text)
{
    bool is_right = d->align[d->column] == 'r';
    report_add(&d->md, "| ");
    report_add_cell(&d->md, text);
    report_add(&d->md, " ");
    report_add(&d->html, "%s<td%s>", d->column == 0 ? "<tr>" : "", is_right ? " class=\"r\"" : "");
    if (kind != NULL) report_add(&d->html, "<span class=\"badge %s\">", kind);
    document_add_escaped(&d->html, text);
    report_add(&d->html, kind != NULL ? "</span></td>" : "</td>");
    if (d->align[++d->column] != 0) return;
    d->column = 0;
    report_add(&d->md, "|\n");
    report_add(&d->html, "</tr>\n");
}

void document_cell(document *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = formatted(d, format, args);
    va_end(args);
    if (text != NULL) add_cell(d, NULL, text);
    free(text);
}

void document_badge(document *d, const char *kind, const char *text) { add_cell(d, kind, text); }

void document_table_end(document *d)
{
    report_add(&d->html, "</tbody></table></div>\n");
    d->align = NULL;
}

// ------------------------------------------------------------------------------------------------------------ plots

void document_plots(document *d, const plot *plots, size_t n)
{
    report_add(&d->html, "<div class=\"plots\">\n");
    for (size_t i = 0; i < n; i++) {
        if (plot_is_empty(&plots[i])) continue;
        report_add(&d->md, "\n(plot in REPORT.html: %s)\n", plots[i].title);
        report_add(&d->html, "<figure>");
        plot_svg(&plots[i], &d->html);
        report_add(&d->html, "</figure>\n");
    }
    report_add(&d->html, "</div>\n");
}

tern_status document_end(document *d, char **md, char **html, tern_error *err)
{
    report_add(&d->html, "</body>\n</html>\n");
    char *text = NULL, *page = NULL;
    tern_status status = report_take(&d->md, &text, err);
    if (status == TERN_OK) status = report_take(&d->html, &page, err);
    if (status != TERN_OK) {
        free(text);
        document_free(d);
        return status;
    }
    *md = text;
    *html = page;
    return TERN_OK;
}

void document_free(document *d)
{
    report_free(&d->md);
    report_free(&d->html);
}
