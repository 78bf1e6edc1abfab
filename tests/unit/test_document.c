// The report's document and plots: both renderings of one description, escaping, axes.
#include "document.h"
#include "scratch.h"

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++) n++;
    return n;
}

static void test_both_forms(void **state)
{
    (void)state;
    static const char *const titles[] = {"name", "value", NULL};
    document d;
    document_begin(&d, "A <report>");
    document_heading(&d, 2, "First & last");
    document_text(&d, "%d %s", 3, "words \"quoted\"");
    document_item(&d, "one");
    document_table(&d, "lr", titles);
    document_cell(&d, "a|b");
    document_cell(&d, "%d", 7);
    document_badge(&d, "good", "yes");
    document_cell(&d, "%s", "<script>");
    document_table_end(&d);
    document_code(&d, "tern verify 'x'");
    char *md = NULL, *html = NULL;
    tern_error err = {0};
    assert_ok(document_end(&d, &md, &html, &err), &err);
    assert_non_null(strstr(md, "# A <report>\n"));
    assert_non_null(strstr(md, "| name | value |\n| --- | ---: |\n| a\\|b | 7 |\n| yes | <script> |\n"));
    assert_non_null(strstr(md, "- one\n"));
    assert_non_null(strstr(html, "<title>A &lt;report&gt;</title>"));
    assert_non_null(strstr(html, "<h2>First &amp; last</h2>"));
    assert_non_null(strstr(html, "words &quot;quoted&quot;"));
    assert_non_null(strstr(html, "<td class=\"r\">7</td></tr>"));
    assert_non_null(strstr(html, "<span class=\"badge good\">yes</span>"));
    assert_null(strstr(html, "<script>"));
    assert_int_equal(count(html, "<tr>"), count(html, "</tr>"));
    assert_int_equal(count(html, "<tr>"), 3);
    free(md);
    free(html);
}

static char *drawn(const plot *p)
{
    report r = {0};
    char *text = NULL;
    plot_svg(p, &r);
    assert_int_equal(report_take(&r, &text, NULL), TERN_OK);
    return text;
}

static void test_plots(void **state)
{
    (void)state;
    static plot p;
    p = (plot){.title = "T & t", .x_label = "x, GB", .y_label = "y, ms", .is_log_x = true, .is_log_y = true};
    plot_add(&p, "b", 10, 5);
    plot_add(&p, "b", 1, 100); // kept ascending
    plot_add(&p, "b", 0, 3);   // cannot be drawn
    assert_int_equal(p.series[0].n, 2);
    assert_true(p.series[0].x[0] == 1 && p.series[0].y[0] == 100);
    char *svg = drawn(&p);
    assert_non_null(strstr(svg, "T &amp; t"));
    assert_non_null(strstr(svg, ">x, GB</text>"));
    assert_int_equal(count(svg, "<circle"), 2);
    assert_null(strstr(svg, "nan"));
    free(svg);

    p = (plot){.title = "bars", .is_bars = true};
    plot_add_bar(&p, "a", "one", 50);
    plot_add_bar(&p, "b", "one", 0);
    plot_add_bar(&p, "a", "two words here", 75);
    svg = drawn(&p);
    assert_int_equal(p.n_categories, 2);
    assert_int_equal(count(svg, "<rect"), 2 + 3); // legend and bars
    assert_null(strstr(svg, "height=\"-"));
    free(svg);

    p = (plot){.title = "one point"};
    plot_add(&p, "a", 0, 0);
    svg = drawn(&p);
    assert_null(strstr(svg, "nan"));
    free(svg);
    p = (plot){0};
    assert_true(plot_is_empty(&p));
    for (int i = 0; i < 10; i++) plot_add(&p, (char[]){(char)('a' + i), 0}, i, i); // more series than there is room for
    assert_int_equal(p.n_series, PLOT_MAX_SERIES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_forms), cmocka_unit_test(test_plots)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
