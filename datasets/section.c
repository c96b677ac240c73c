/* The recipe's `data` section: reading it, and the checks that need both the section and the files.
 */
#include <inttypes.h>
#include <string.h>

#include "core/mem.h"
#include "datasets/prepare.h"

#define MOST_TYPES   256
#define MOST_SAMPLES 2147483647.0

const struct bg_option bg_data_options_table[] = {
    {.key = "name",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct bg_data_options, name),
     .help = "data set"},
    {.key = "validation",
     .type = BG_OPT_INT,
     .offset = offsetof(struct bg_data_options, validation),
     .fallback = "0",
     .min = 0,
     .max = MOST_SAMPLES,
     .help = "training samples set aside for validation"},
    {.key = "split_seed",
     .type = BG_OPT_INT,
     .offset = offsetof(struct bg_data_options, split_seed),
     .fallback = "1",
     .min = 0,
     .max = 4294967295.0,
     .help = "decides which samples are set aside; not the run's seed"},
    {.key = "limit",
     .type = BG_OPT_INT,
     .offset = offsetof(struct bg_data_options, limit),
     .fallback = "0",
     .min = 0,
     .max = MOST_SAMPLES,
     .help = "use only the first n training samples; 0 = all"},
    {.key = "test_limit",
     .type = BG_OPT_INT,
     .offset = offsetof(struct bg_data_options, test_limit),
     .fallback = "0",
     .min = 0,
     .max = MOST_SAMPLES,
     .help = "use only the first n test samples; 0 = all"},
    {.key = "mean",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct bg_data_options, mean),
     .fallback = "0",
     .min = -1e6,
     .max = 1e6,
     .help = "mean of the pixels, bytes as 0..1; needs std"},
    {.key = "std",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct bg_data_options, std),
     .fallback = "0",
     .min = 0,
     .max = 1e6,
     .help = "standard deviation of the pixels; 0 = measure both on the training part"},
    {.key = "flip",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct bg_data_options, flip),
     .fallback = "false",
     .help = "mirror half of the training images left to right"},
    {.key = "crop",
     .type = BG_OPT_INT,
     .offset = offsetof(struct bg_data_options, crop),
     .fallback = "0",
     .min = 0,
     .max = 1024,
     .help = "shift training images by up to n pixels each way"},
    {.key = "prefetch",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct bg_data_options, prefetch),
     .fallback = "true",
     .help = "prepare the next batch in a thread; changes no result"},
    {.key = NULL}};

static enum bg_status first_error(const struct bg_text *errors, size_t before)
{
    if (errors->failed)
        return bg_text_check(errors);
    if (errors->length == before)
        return BG_OK;
    const char *line = errors->at + before;
    return bg_fail(BG_E_DATA, "%.*s", (int)strcspn(line, "\n"), line);
}

static const struct bg_dataset_type *find_type(const struct bg_yaml *name, struct bg_text *errors)
{
    const char *names[MOST_TYPES];
    int count = 0;
    for (; count < MOST_TYPES && bg_dataset_types[count]; count++) {
        if (strcmp(bg_dataset_types[count]->name, name->text) == 0)
            return bg_dataset_types[count];
        names[count] = bg_dataset_types[count]->name;
    }
    const char *nearest = bg_text_nearest(name->text, names, count);
    bg_options_error(errors, name, "data.name", "unknown data set \"%s\"%s%s%s", name->text,
                     nearest ? ", did you mean \"" : "", nearest ? nearest : "",
                     nearest ? "\"?" : "");
    return NULL;
}

/* A section that has been read: `values` holds bg_data_options and, at `own`, the reader's. */
struct section {
    const struct bg_dataset_type *type;
    struct bg_option *table;
    unsigned char *values;
    size_t own;
};

static void section_free(struct section *section)
{
    bg_free(section->table);
    bg_free(section->values);
    *section = (struct section){.type = NULL};
}

static int table_length(const struct bg_option *table)
{
    int count = 0;
    while (table[count].key)
        count++;
    return count;
}

/* One table for both, so that an unknown key is reported once and against all known keys. */
static enum bg_status join_tables(struct section *section)
{
    enum bg_status rc = BG_OK;
    const struct bg_option *own = section->type->options;
    int common = table_length(bg_data_options_table), count = table_length(own);
    section->own = (sizeof(struct bg_data_options) + BG_ALIGN - 1) / BG_ALIGN * BG_ALIGN;
    TRY(bg_alloc(&section->table, common + count + 1, sizeof *section->table));
    memcpy(section->table, bg_data_options_table, (size_t)common * sizeof *own);
    for (int i = 0; i < count; i++) {
        section->table[common + i] = own[i];
        section->table[common + i].offset += section->own;
    }
    TRY(bg_alloc(&section->values, (int64_t)(section->own + section->type->options_size), 1));
out:
    return rc;
}

static enum bg_status read_section(struct section *out, const struct bg_yaml *node,
                                   struct bg_text *errors)
{
    enum bg_status rc = BG_OK;
    size_t before = errors->length;
    *out = (struct section){.type = NULL};
    if (node == NULL)
        FAIL(BG_E_DATA, "data: the recipe has no such section");
    const struct bg_yaml *name = node->kind == BG_YAML_MAP ? bg_yaml_get(node, "name") : NULL;
    if (name == NULL || name->kind != BG_YAML_SCALAR)
        bg_options_error(errors, name ? name : node, "data",
                         "expected a map with the name of a data set, like {name: fashion-mnist}");
    else
        out->type = find_type(name, errors);
    if (out->type == NULL) {
        rc = first_error(errors, before);
        rc = rc != BG_OK ? rc : BG_E_DATA;
        goto out;
    }
    TRY(join_tables(out));
    TRY(bg_options_read(node, out->table, NULL, "data", out->values, errors));
out:
    if (rc != BG_OK)
        section_free(out);
    return rc;
}

static const struct bg_yaml *at_key(const struct bg_yaml *node, const char *key)
{
    const struct bg_yaml *child = bg_yaml_get(node, key);
    return child ? child : node;
}

/* Checks that need the files: sizes against options. */
static enum bg_status check_options(const struct bg_data *data, const struct bg_yaml *node,
                                    struct bg_text *errors)
{
    const struct bg_data_options *o = &data->options;
    const struct bg_dataset *train = &data->train;
    size_t before = errors->length;
    int64_t size = train->height < train->width ? train->height : train->width;
    if (o->validation >= train->count)
        bg_options_error(errors, at_key(node, "validation"), "data.validation",
                         "%" PRId64 " samples set aside, the training part has %" PRId64,
                         o->validation, train->count);
    if (o->mean != 0 && !(o->std > 0))
        bg_options_error(errors, at_key(node, "mean"), "data.mean",
                         "%g is not used while std is 0 and both are measured: set std too",
                         o->mean);
    else if (train->dtype == BG_U8 && (o->mean < 0 || o->mean > 1))
        bg_options_error(errors, at_key(node, "mean"), "data.mean",
                         "%g cannot be the mean of bytes: limits are 0 and 1", o->mean);
    if (o->crop >= size)
        bg_options_error(errors, at_key(node, "crop"), "data.crop",
                         "%" PRId64 " pixels, images of %" PRId64 "x%" PRId64
                         " allow at most %" PRId64,
                         o->crop, train->height, train->width, size - 1);
    return first_error(errors, before);
}

static enum bg_status check_parts(struct bg_data *data, const char *name)
{
    struct bg_dataset *a = &data->train, *b = &data->test;
    if (a->height != b->height || a->width != b->width || a->channels != b->channels ||
        a->dtype != b->dtype)
        return bg_fail(BG_E_DATA,
                       "data set %s: training images are %" PRId64 "x%" PRId64 "x%" PRId64
                       " %s, test images %" PRId64 "x%" PRId64 "x%" PRId64 " %s",
                       name, a->height, a->width, a->channels, bg_dtype_name(a->dtype), b->height,
                       b->width, b->channels, bg_dtype_name(b->dtype));
    if (b->classes > a->classes)
        return bg_fail(BG_E_DATA, "data set %s: the test part has class %d, the training part %d",
                       name, b->classes - 1, a->classes - 1);
    b->classes = a->classes; /* readers that count classes see one part at a time */
    return BG_OK;
}

enum bg_status bg_data_open(struct bg_data **out, const struct bg_yaml *section, uint64_t seed,
                            struct bg_text *errors)
{
    enum bg_status rc = BG_OK;
    struct section read = {.type = NULL};
    struct bg_data *data = NULL;
    *out = NULL;
    TRY(read_section(&read, section, errors));
    TRY(bg_alloc(&data, 1, sizeof *data));
    memcpy(&data->options, read.values, sizeof data->options);
    data->type = read.type;
    const void *own = read.values + read.own;
    TRY(read.type->read(own, BG_SPLIT_TRAIN, seed, &data->train));
    TRY(bg_dataset_check(&data->train, true, read.type->name));
    TRY(check_options(data, section, errors));
    TRY(read.type->read(own, BG_SPLIT_TEST, seed, &data->test));
    TRY(bg_dataset_check(&data->test, false, read.type->name));
    TRY(check_parts(data, read.type->name));
    TRY(bg_data_split(data, read.type->name));
    TRY(bg_data_scale(data, read.type->name));
    *out = data;
    data = NULL;
out:
    section_free(&read);
    bg_data_close(data);
    return rc;
}

void bg_data_close(struct bg_data *data)
{
    if (data == NULL)
        return;
    bg_dataset_free(&data->train);
    bg_dataset_free(&data->test);
    bg_free(data->train_index);
    bg_free(data->validation_index);
    bg_free(data);
}

enum bg_status bg_data_print_section(const struct bg_yaml *section, int indent, struct bg_text *out,
                                     struct bg_text *errors)
{
    enum bg_status rc = BG_OK;
    struct section read = {.type = NULL};
    TRY(read_section(&read, section, errors));
    bg_options_print(read.table, read.values, indent, out);
    TRY(bg_text_check(out));
out:
    section_free(&read);
    return rc;
}
