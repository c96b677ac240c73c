/* YAML trees: reading, refusals, overrides, and printing that reads back to the same tree. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/yaml.h"

static struct bg_document *parse(const char *text)
{
    struct bg_document *document = NULL;
    enum bg_status rc = bg_yaml_parse_text(&document, "recipe.yaml", text, strlen(text));
    cr_assert_eq(rc, BG_OK, "%s: %s", text, bg_error());
    return document;
}

static void refuse_bytes(const char *text, size_t length, const char *sentence)
{
    struct bg_document *document = NULL;
    enum bg_status rc = bg_yaml_parse_text(&document, "recipe.yaml", text, length);
    cr_expect(eq(int, rc, BG_E_DATA), "%.60s", text);
    cr_expect_null(document);
    cr_expect_not_null(strstr(bg_error(), sentence), "\"%s\" lacks \"%s\"", bg_error(), sentence);
}

static void refuse(const char *text, const char *sentence)
{
    refuse_bytes(text, strlen(text), sentence);
}

static bool equal_trees(const struct bg_yaml *a, const struct bg_yaml *b)
{
    if (a->kind != b->kind || a->count != b->count || a->quoted != b->quoted ||
        strcmp(a->text, b->text) != 0 || !a->key != !b->key ||
        (a->key && strcmp(a->key, b->key) != 0))
        return false;
    const struct bg_yaml *x = a->first, *y = b->first;
    for (; x && y; x = x->next, y = y->next) {
        if (!equal_trees(x, y))
            return false;
    }
    return !x && !y;
}

static void expect_round_trip(const struct bg_document *document)
{
    struct bg_text text;
    bg_text_init(&text, 1 << 22);
    bg_yaml_print(bg_document_root(document), 0, &text);
    cr_assert(eq(int, bg_text_check(&text), BG_OK));
    struct bg_document *again = parse(bg_text_string(&text));
    cr_expect(equal_trees(bg_document_root(document), bg_document_root(again)), "%s",
              bg_text_string(&text));
    bg_document_free(again);
    bg_text_free(&text);
}

/* The child reached by keys and list numbers separated by '.'. */
static const struct bg_yaml *at(const struct bg_document *document, const char *path)
{
    const struct bg_yaml *node = bg_document_root(document);
    char part[64];
    while (node && *path) {
        size_t length = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)length, path);
        path += length + (path[length] == '.');
        if (node->kind == BG_YAML_MAP) {
            node = bg_yaml_get(node, part);
            continue;
        }
        long index = strtol(part, NULL, 10);
        for (node = node->first; node && index > 0; index--)
            node = node->next;
    }
    return node;
}

static const char *text_at(const struct bg_document *document, const char *path)
{
    const struct bg_yaml *node = at(document, path);
    return node ? node->text : "(absent)";
}

Test(yaml, keeps_text_position_and_quotes)
{
    struct bg_document *document = parse("a: 1.0\n"
                                         "train:\n"
                                         "  epochs: no   # comment\n"
                                         "  lr: '0.1'\n"
                                         "list: [x, \"y\", {z: 3}]\n");
    const struct bg_yaml *node = at(document, "train.epochs");
    cr_assert_not_null(node);
    cr_expect_str_eq(node->text, "no");
    cr_expect(eq(int, node->line, 3));
    cr_expect(eq(int, node->column, 3));
    cr_expect_eq(node->quoted, false);
    cr_expect_eq(at(document, "train.lr")->quoted, true);
    cr_expect(eq(int, at(document, "list")->count, 3));
    cr_expect(eq(int, at(document, "list.1")->column, 11));
    cr_expect_str_eq(text_at(document, "list.2.z"), "3");
    cr_expect_str_eq(node->file, "recipe.yaml");
    cr_expect_null(bg_yaml_get(node, "x"));
    cr_expect_null(bg_yaml_get(NULL, "x"));
    bg_document_free(document);
}

Test(yaml, json_is_yaml_and_nothing_is_an_empty_map)
{
    struct bg_document *document = parse("{\"a\": {\"b\": [1, 2, true]}}");
    cr_expect_str_eq(text_at(document, "a.b.2"), "true");
    bg_document_free(document);
    static const char *const empty[] = {"", "# only a comment\n", "---\n", "{}"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        document = parse(empty[i]);
        cr_expect(eq(int, (int)bg_document_root(document)->kind, BG_YAML_MAP));
        cr_expect(eq(int, bg_document_root(document)->count, 0));
        bg_document_free(document);
    }
    bg_document_free(NULL);
}

Test(yaml, refuses_what_recipes_have_no_use_for)
{
    refuse("a: 1\nb: 2\na: 3\n", "recipe.yaml:3:1: key 'a' stands here again, first on line 1");
    refuse("a: &x 1\n", "recipe.yaml:1:4: anchors");
    refuse("a: &x [1]\n", "anchors");
    refuse("a: &x {b: 1}\n", "anchors");
    refuse("a: *x\n", "recipe.yaml:1:4: aliases");
    refuse("a: !!int 1\n", "tags");
    refuse("a: !x [1]\n", "tags");
    refuse("a: !x {b: 1}\n", "tags");
    refuse("a: 1\n---\nb: 2\n", "recipe.yaml:2:1: a second document");
    refuse("[1, 2]\n", "expected a map (key: value), got a list");
    refuse("word\n", "expected a map (key: value), got a single value");
    refuse("? [1]\n: 2\n", "a key must be a word");
    refuse("'': 2\n", "a key is empty");
    refuse("a: \"x\\0y\"\n", "a text holds a zero byte");
    refuse("a: [1, 2\nb: 3\n", "recipe.yaml:2:");
    refuse("a:\n\t- 1\n", "recipe.yaml:2:1:");
    refuse("a: \xff\n", "recipe.yaml:1:4:");
    refuse_bytes("a: x\0y\n", 7, "recipe.yaml:1:5:");
}

Test(yaml, caps_hold)
{
    char *text = malloc(3 << 20);
    memset(text, '[', 200000);
    memcpy(text, "a: ", 3);
    refuse_bytes(text, 200000, "nested deeper than 64");
    for (int i = 0; i < 100; i++)
        memcpy(text + 2 * i, "- ", 2);
    refuse_bytes(text, 200, "nested deeper than 64");
    memset(text, ' ', 3 << 20);
    refuse_bytes(text, (1 << 20) + 1, "limit is 1048576");
    memcpy(text, "a: [", 4);
    for (int i = 0; i < 100001; i++)
        memcpy(text + 4 + 2 * i, "1,", 2);
    memcpy(text + 4 + 200002, "]", 2);
    refuse(text, "more than 100000 values");
    memset(text, 'k', 200);
    memcpy(text + 200, ": 1", 4);
    refuse(text, "a key is longer than 128 bytes");
    free(text);
    struct bg_document *document = NULL;
    cr_expect(eq(int, bg_yaml_parse_file(&document, "/nonexistent/recipe.yaml"), BG_E_NOT_FOUND));
    cr_expect_null(document);
}

Test(yaml, many_keys_are_checked_in_reasonable_time, .timeout = 20)
{
    char *text = malloc(1 << 20);
    size_t used = 0;
    for (int i = 0; i < 90000; i++)
        used += (size_t)snprintf(text + used, (1 << 20) - used, "k%d:\n", i);
    struct bg_document *document = parse(text);
    cr_expect(eq(int, bg_document_root(document)->count, 90000));
    bg_document_free(document);
    snprintf(text + used, (1 << 20) - used, "k5: again\n");
    refuse(text, "recipe.yaml:90001:1: key 'k5' stands here again, first on line 6");
    free(text);
}

Test(yaml, prints_what_reads_back_equal)
{
    static const char *const texts[] = {
        "a: 1\nb: [1, 2, 3]\nc: {}\nd: []\ne:\nf: ''\n",
        "layers:\n  - conv: {name: conv1, out: 16}\n  - relu: {}\n  - - 1\n    - [a, {b: c}]\n",
        "a: \"no\"\nb: no\nc: 'true'\nd: \"1.0\"\n",
        "a: 'a: b'\nb: '#x'\nc: '- y'\nd: \"line\\nbreak\"\ne: 'it''s'\nf: '\"'\ng: '\\'\n",
        "a: \"\\t\\r\\x01\\x7f\\u0085\\u2028\\uFEFF\\uFFFE\\U0001F600\"\nb: gr\xc3\xbc\xc3\x9f\n",
        "a: ' x'\nb: 'x '\nc: 'x:'\nd: '? x'\ne: '*x'\nf: '&x'\ng: '!x'\nh: '%x'\ni: '@x'\n",
        "a: ['x, y', '[', ']', '{', '}', 'a:b', '?', '...', '---', '-', '']\n",
        "a: |\n  block\n  text\nb: >\n  folded\n  text\n\n  more\n",
        "a: plain\n  on two lines\nb: plain\n\n  with a break\nc: x, y\nd: http://x#y\n",
        "'key: with': 1\n'#': 2\n\"new\\nline\": 3\n'- k': 4\n? 'x y'\n: 5\n'...': 6\n",
        "a: -1\nb: -.5\nc: -x\nd: ~\ne: null\nf: 50%\ng: 1e-3\nh: =\ni: <<\n",
        "a: [[], {}, [[]], [{}], {b: []}]\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct bg_document *document = parse(texts[i]);
        expect_round_trip(document);
        bg_document_free(document);
    }
}

Test(yaml, random_trees_survive_printing)
{
    static const char *const words[] = {"",    "no",  "1.0", "a: b", "#x",   "- y",   "a\nb", "\"",
                                        "'",   "\\",  "~",   ",",    "x,y",  "[x]",   "{x}",  ":",
                                        "a:",  ":a",  "-",   "--",   "---",  "...",   " ",    "\t",
                                        "x #", "# x", "é",   "\r\n", "\x7f", "100%s", "%d",   "?"};
    enum { WORDS = sizeof words / sizeof words[0] };
    unsigned state = 1;
    for (int round = 0; round < 300; round++) {
        struct bg_text text;
        bg_text_init(&text, 1 << 20);
        /* JSON is the writer here, so that the reader is not tested against its own printer. */
        bg_text_add(&text, "{\"l\": [");
        int open = 0;
        for (int i = 0; i < 12; i++) {
            state = state * 1103515245u + 12345u;
            const char *word = words[(state >> 16) % WORDS];
            if (state & 0x800 && open < 4) {
                bg_text_add(&text, "{\"k%d\": [", i);
                open++;
            }
            bg_text_add_json(&text, word);
            if (state & 0x1000 && open > 0) {
                bg_text_add(&text, "]}");
                open--;
            }
            bg_text_add(&text, i < 11 ? ", " : "");
        }
        while (open-- > 0)
            bg_text_add(&text, "]}");
        bg_text_add(&text, "]}");
        struct bg_document *document = parse(bg_text_string(&text));
        expect_round_trip(document);
        bg_document_free(document);
        bg_text_free(&text);
    }
}

static const char recipe[] = "train: {lr: 0.1, epochs: 5}\n"
                             "empty:\n"
                             "network:\n"
                             "  layers:\n"
                             "    - conv: {name: conv1, out: 16}\n"
                             "    - {name: second, out: 4}\n"
                             "    - relu: {}\n"
                             "select: {policy: uniform}\n";

static void expect_override(const char *assignment, const char *path, const char *value)
{
    struct bg_document *document = parse(recipe);
    enum bg_status rc = bg_yaml_override(document, assignment);
    cr_expect(eq(int, rc, BG_OK), "%s: %s", assignment, bg_error());
    cr_expect_str_eq(text_at(document, path), value, "%s: %s", assignment, text_at(document, path));
    expect_round_trip(document);
    bg_document_free(document);
}

Test(yaml, overrides_reach_their_place)
{
    expect_override("train.lr=0.2", "train.lr", "0.2");
    expect_override("train.new=1", "train.new", "1");
    expect_override("a.b.c=x", "a.b.c", "x");
    expect_override("empty.key=1", "empty.key", "1");
    expect_override("train=", "train", "");
    expect_override("train.lr=", "train.lr", "");
    expect_override("train.milestones=[30, 40]", "train.milestones.1", "40");
    expect_override("quantize={a: {b: 1}}", "quantize.a.b", "1");
    expect_override("network.layers.1.out=8", "network.layers.1.out", "8");
    expect_override("network.layers.second.out=8", "network.layers.1.out", "8");
    expect_override("network.layers.conv1.out=8", "network.layers.0.conv.out", "8");
    expect_override("network.layers.0.conv.out=8", "network.layers.0.conv.out", "8");
    expect_override("network.layers.conv1.kernel=5", "network.layers.0.conv.kernel", "5");
    expect_override("name=\"a, b\"", "name", "a, b");
    expect_override("name='a,b'", "name", "a,b");
    expect_override("name=a=b", "name", "a=b");
    expect_override("name=gr\xc3\xbcn", "name", "gr\xc3\xbcn");
}

static void refuse_override(const char *assignment, const char *sentence)
{
    struct bg_document *document = parse(recipe), *before = parse(recipe);
    enum bg_status rc = bg_yaml_override(document, assignment);
    cr_expect(eq(int, rc, BG_E_USAGE), "%s", assignment);
    cr_expect_not_null(strstr(bg_error(), sentence), "\"%s\" lacks \"%s\"", bg_error(), sentence);
    cr_expect(equal_trees(bg_document_root(document), bg_document_root(before)), "%s", assignment);
    bg_document_free(document);
    bg_document_free(before);
}

Test(yaml, overrides_that_mean_nothing_change_nothing)
{
    refuse_override("train.lr", "expected key.path=value");
    refuse_override("=1", "a part of the key is empty");
    refuse_override("a..b=1", "a part of the key is empty");
    refuse_override("a.=1", "a part of the key is empty");
    refuse_override("train.lr=0.1,0.2", "needs brackets ([1, 2]); to try several values use the "
                                        "sweep command");
    refuse_override("train.lr=0.1, 0.2", "needs brackets");
    refuse_override("train.lr.x=1", "'lr' is the value \"0.1\", it has no keys");
    refuse_override("select.policy.first_bits=8", "'policy' is the value \"uniform\"");
    refuse_override("network.layers.3.out=1", "the list has 3 items, counted from 0");
    refuse_override("network.layers.-1.out=1", "the list has 3 items");
    refuse_override("network.layers.conv9.out=1", "no list item is named 'conv9'");
    refuse_override("train.lr=a: b", "maps need braces");
    refuse_override("train.lr=- b", "lists need brackets");
    refuse_override("train.lr=#x", "the value is a comment");
    refuse_override("train.lr=[1", "override \"train.lr=[1\": command line:");
    refuse_override("train.lr=*x", "aliases");
    refuse_override("train.\xff=1", "bytes that are not text");
    refuse_override("a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a=1",
                    "more than 32 parts");
    refuse_override("a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a=[1]",
                    "nested too deep");
}

Test(yaml, an_override_knows_where_it_came_from)
{
    struct bg_document *document = parse(recipe);
    cr_assert(eq(int, bg_yaml_override(document, "train.lr=[1, x]"), BG_OK));
    const struct bg_yaml *node = at(document, "train.lr.1");
    cr_assert_not_null(node);
    cr_expect_str_eq(node->file, "command line");
    cr_expect(eq(int, node->line, 1));
    cr_expect(eq(int, node->column, 14));
    bg_document_free(document);
}

Test(yaml, two_items_of_one_name_need_a_number)
{
    struct bg_document *document = parse("l: [{name: a}, {x: {name: a}}]\n");
    cr_expect(eq(int, bg_yaml_override(document, "l.a.y=1"), BG_E_USAGE));
    cr_expect_not_null(strstr(bg_error(), "two list items are named 'a'"));
    bg_document_free(document);
}

Test(yaml, survives_every_failed_allocation)
{
    enum bg_status rc = BG_E_NOMEM;
    int n = 1;
    for (; n < 1000 && rc != BG_OK; n++) {
        struct bg_document *document = NULL;
        bg_alloc_fail_at((uint64_t)n);
        rc = bg_yaml_parse_text(&document, "recipe.yaml", recipe, strlen(recipe));
        if (rc == BG_OK)
            rc = bg_yaml_override(document, "a.b.c=[1, {d: 2}]");
        bg_alloc_fail_at(0);
        cr_expect(rc == BG_OK || rc == BG_E_NOMEM);
        bg_document_free(document);
    }
    cr_expect(n > 10 && rc == BG_OK);
}
