/* The string builder and numbers as text. */
#include "core/mem.h"
#include "core/text.h"

#include <criterion/criterion.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Test(text, builder_grows_to_its_limit_and_not_beyond)
{
    struct bg_text text;
    char filler[100];

    memset(filler, '.', sizeof filler);
    bg_text_init(&text, 300);
    cr_assert_str_eq(bg_text_string(&text), "");
    for (int i = 0; i < 100; i++)
        bg_text_add(&text, "%d,", i % 10);
    cr_assert_eq(text.length, 200);
    cr_assert_eq(bg_text_check(&text), BG_OK);
    bg_text_add_bytes(&text, filler, 100); /* exactly full */
    cr_assert_eq(text.length, 300);
    cr_assert_eq(bg_text_check(&text), BG_OK);
    bg_text_add(&text, "x");
    cr_assert_eq(text.length, 300);
    cr_assert_eq(bg_text_check(&text), BG_E_RANGE);
    cr_assert_str_eq(bg_error(), "text does not fit its limit of 300 bytes");
    bg_text_free(&text);
    bg_text_free(&text);
}

Test(text, append_without_memory_leaves_text_and_is_told_apart)
{
    struct bg_text text;

    bg_text_init(&text, 100000);
    bg_text_add(&text, "kept");
    bg_alloc_fail_at(1);
    bg_text_add(&text, "%200s", "long");
    cr_assert_str_eq(bg_text_string(&text), "kept");
    bg_text_add(&text, "later");
    cr_assert_str_eq(bg_text_string(&text), "kept");
    cr_assert_eq(bg_text_check(&text), BG_E_NOMEM);
    bg_text_free(&text);
}

Test(text, json_escapes_and_stays_utf8)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"", "\"\""},
        {"a\"b\\c/d", "\"a\\\"b\\\\c/d\""},
        {"\b\f\n\r\t\x01\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u007f\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
        /* lone continuation, overlong, surrogate, cut sequence, above U+10FFFF */
        {"\x80", "\"\xef\xbf\xbd\""},
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"a\xe2\x82", "\"a\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bg_text text;
        bg_text_init(&text, 1000);
        bg_text_add_json(&text, rows[i].in);
        cr_assert_str_eq(bg_text_string(&text), rows[i].out);
        bg_text_free(&text);
    }
}

Test(text, html_escapes_and_partial_appends_are_undone)
{
    struct bg_text text;

    bg_text_init(&text, 60);
    bg_text_add_html(&text, "<a href='x'>&\"");
    cr_assert_str_eq(bg_text_string(&text), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    bg_text_add_html(&text, "<<<<<<<<<<<<<<<<<<<<");
    cr_assert_str_eq(bg_text_string(&text), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    cr_assert(text.failed);
    bg_text_free(&text);
    bg_text_init(&text, 6);
    bg_text_add_json(&text, "12345");
    cr_assert_str_eq(bg_text_string(&text), "");
    bg_text_free(&text);
}

Test(text, fixed_buffers_take_what_fits)
{
    char buffer[6] = "zzzzz";

    cr_assert_eq(bg_text_copy(buffer, sizeof buffer, "12345"), BG_OK);
    cr_assert_str_eq(buffer, "12345");
    cr_assert_eq(bg_text_copy(buffer, sizeof buffer, "123456"), BG_E_RANGE);
    cr_assert_str_eq(buffer, "");
    cr_assert_str_eq(bg_error(), "'123456' has 6 characters: limit is 5");
}

Test(text, integers_are_read_whole_or_not_at_all)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},
                {"-0", 0},
                {"+7", 7},
                {"007", 7},
                {"0x1F", 31},
                {"0Xff", 255},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN},
                {"0x7fffffffffffffff", INT64_MAX}};
    static const char *const bad[] = {"",
                                      "-",
                                      "+",
                                      "0x",
                                      "-0x1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "1e3",
                                      "12a",
                                      "0x1g",
                                      "--1",
                                      "+-1",
                                      "x1",
                                      "0x-1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "0x8000000000000000",
                                      "99999999999999999999999999"};
    int64_t value = 0;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_assert(bg_text_to_int(good[i].text, &value), "%s", good[i].text);
        cr_assert_eq(value, good[i].value, "%s", good[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(bg_text_to_int(bad[i], &value), "%s", bad[i]);
}

Test(text, reals_are_read_whole_and_finite)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {
        {"0.1", 0.1},     {"1e-3", 1e-3},  {"-.5", -0.5}, {"5.", 5.0},
        {"+1E+2", 100.0}, {"1e-400", 0.0}, {"3", 3.0},    {"1.7976931348623157e308", DBL_MAX}};
    static const char *const bad[] = {"",        ".",     "-",     "e5",       "1e", "1e+", "nan",
                                      "inf",     "1e400", "0x1p3", " 1",       "1 ", "1,5", "1.2.3",
                                      "1e-3foo", "1_000", "1f",    "infinity", "--1"};
    double value = 0;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_assert(bg_text_to_real(good[i].text, &value), "%s", good[i].text);
        cr_assert_eq(value, good[i].value, "%s", good[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(bg_text_to_real(bad[i], &value), "%s", bad[i]);
}

static void expect_real(double value, const char *text)
{
    char out[32];

    bg_text_real(out, value);
    cr_assert_str_eq(out, text);
}

Test(text, reals_are_written_shortest)
{
    expect_real(0.1, "0.1");
    expect_real(1e-5, "1e-05");
    expect_real(0.0, "0");
    expect_real(-0.0, "-0");
    expect_real(1.0 / 3.0, "0.3333333333333333");
    expect_real(0.1 + 0.2, "0.30000000000000004");
    expect_real(5e-324, "5e-324");
    expect_real(DBL_MAX, "1.7976931348623157e+308");
    expect_real(-DBL_MIN, "-2.2250738585072014e-308");
    expect_real((double)INFINITY, "inf");
    expect_real((double)NAN, "nan");
}

Test(text, any_double_survives_its_text)
{
    uint64_t state = 1;

    for (int i = 0; i < 20000; i++) {
        double value, back = 0;
        char out[32];
        state = state * 6364136223846793005u + 1442695040888963407u;
        memcpy(&value, &state, sizeof value);
        if (!isfinite(value))
            continue;
        bg_text_real(out, value);
        cr_assert(bg_text_to_real(out, &back));
        cr_assert_eq(memcmp(&value, &back, sizeof value), 0, "%s", out);
    }
}

/* Debian images may have no locale with a decimal comma: then there is nothing to be confused by.
 */
Test(text, numbers_do_not_depend_on_the_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "C.UTF-8"};
    struct bg_text text;
    double value = 0;
    bool found = false;

    for (size_t i = 0; i < sizeof names / sizeof names[0] && !found; i++)
        found = setlocale(LC_ALL, names[i]) != NULL;
    cr_assert(found);
    cr_assert(bg_text_to_real("0.25", &value));
    cr_assert_eq(value, 0.25);
    expect_real(0.25, "0.25");
    bg_text_init(&text, 100);
    bg_text_add(&text, "%.2f", 0.25);
    cr_assert_str_eq(bg_text_string(&text), "0.25");
    bg_text_free(&text);
}

Test(text, nearest_word_is_found_within_a_third)
{
    static const char *const words[] = {"epochs", "batch", "learning-rate", "lr", "schedule"};

    cr_assert_str_eq(bg_text_nearest("epoch", words, 5), "epochs");
    cr_assert_str_eq(bg_text_nearest("ehpocs", words, 5), "epochs"); /* two swaps */
    cr_assert_str_eq(bg_text_nearest("learnig_rate", words, 5), "learning-rate");
    cr_assert_str_eq(bg_text_nearest("batch", words, 5), "batch");
    cr_assert_str_eq(bg_text_nearest("rl", words, 5), "lr");
    cr_assert_null(bg_text_nearest("zebra", words, 5));
    cr_assert_null(bg_text_nearest("bxxch", words, 5));
    cr_assert_null(bg_text_nearest("", words, 5));
    cr_assert_null(bg_text_nearest("epochs", words, 0));
}

Test(text, very_long_words_are_nobodys_neighbour)
{
    char long_word[400];
    const char *words[1] = {long_word};

    memset(long_word, 'a', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    cr_assert_null(bg_text_nearest(long_word, words, 1));
    cr_assert_null(bg_text_nearest("a", words, 1));
}
