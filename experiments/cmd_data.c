/* `bitgrad data info|verify`: what a data set holds, and whether it is what it should be. */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "datasets/dataset.h"
#include "experiments/arguments.h"

extern const struct bg_command bg_cmd_data;

/* A recipe's `data` section when the word is a file, else a section made of the name; key=value
 * words override keys of the section. */
static enum bg_status read_section(char **words, int count, struct bg_document **out)
{
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&text, 1 << 20);
    if (bg_file_exists(words[0])) {
        TRY(bg_yaml_parse_file(out, words[0]));
    } else {
        bg_text_add(&text, "data:\n  name: ");
        bg_text_add_json(&text, words[0]);
        bg_text_add(&text, "\n");
        TRY(bg_text_check(&text));
        TRY(bg_yaml_parse_text(out, "command line", bg_text_string(&text), text.length));
    }
    for (int i = 1; i < count; i++) {
        char assignment[2048];
        const char *front = !strncmp(words[i], "data.", 5) ? "" : "data.";
        int length = snprintf(assignment, sizeof assignment, "%s%s", front, words[i]);
        if (length < 0 || (size_t)length >= sizeof assignment)
            FAIL(BG_E_USAGE, "data: '%.60s...' is too long", words[i]);
        TRY(bg_yaml_override(*out, assignment));
    }
out:
    bg_text_free(&text);
    return rc;
}

static void print_part(const char *name, const struct bg_dataset *set)
{
    printf("%s: %lld samples, sha256 %s\n", name, (long long)set->count, set->hash);
}

static enum bg_status print_classes(const struct bg_data *data)
{
    int64_t *train = NULL, *test = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&train, data->train.classes, sizeof *train));
    TRY(bg_alloc(&test, data->train.classes, sizeof *test));
    bg_dataset_count_classes(&data->train, train);
    bg_dataset_count_classes(&data->test, test);
    printf("class      train      test\n");
    for (int c = 0; c < data->train.classes; c++)
        printf("%5d %10lld %9lld\n", c, (long long)train[c], (long long)test[c]);
out:
    bg_free(train);
    bg_free(test);
    return rc;
}

static enum bg_status print_info(const struct bg_data *data)
{
    const struct bg_sample_spec *spec = &data->spec;
    printf("%s: %lld x %lld x %lld, %s, %d classes\n", data->train.title, (long long)spec->height,
           (long long)spec->width, (long long)spec->channels, bg_dtype_name(spec->dtype),
           spec->classes);
    print_part("train", &data->train);
    print_part("test", &data->test);
    printf("in use: %lld to train, %lld to validate, %lld to test\n", (long long)data->train_count,
           (long long)data->validation_count, (long long)data->test_count);
    printf("mean %.6f, std %.6f%s\n", data->mean, data->std,
           data->options.std > 0 ? "" : " (measured on the training part)");
    if (spec->dtype == BG_U8)
        printf("input grid: scale %.9g, zero point %d\n", (double)spec->scale,
               (int)spec->zero_point);
    return print_classes(data);
}

static enum bg_status check_hash(const char *what, const char *want, const char *have)
{
    if (!want)
        return BG_OK;
    if (strcmp(want, have) != 0)
        return bg_fail(BG_E_MISMATCH, "data: the %s part has sha256 %s, expected %s", what, have,
                       want);
    return BG_OK;
}

static enum bg_status verify(const struct bg_data *data, const struct bg_arguments *arguments)
{
    const char *train = bg_arguments_get(arguments, "train-hash");
    const char *test = bg_arguments_get(arguments, "test-hash");
    enum bg_status rc = BG_OK;
    print_part("train", &data->train);
    print_part("test", &data->test);
    TRY(check_hash("training", train, data->train.hash));
    TRY(check_hash("test", test, data->test.hash));
    printf("%s\n", train || test
                       ? "every sample read, hashes as expected"
                       : "every sample read; give --train-hash and --test-hash to compare");
out:
    return rc;
}

static enum bg_status data_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_document *document = NULL;
    struct bg_data *data = NULL;
    struct bg_text errors = {0};
    bool verifies;
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 16);
    TRY(bg_arguments_read(&arguments, &bg_cmd_data, argc, argv, 2, -1));
    if (arguments.done)
        goto out;
    verifies = !strcmp(arguments.at[0], "verify");
    if (!verifies && strcmp(arguments.at[0], "info") != 0)
        FAIL(BG_E_USAGE, "data: unknown word '%s'; usage: bitgrad %s", arguments.at[0],
             bg_cmd_data.usage);
    TRY(read_section(arguments.at + 1, arguments.count - 1, &document));
    rc = bg_data_open(&data, bg_yaml_get(bg_document_root(document), "data"), 1, &errors);
    if (rc == BG_E_DATA && errors.length > 0)
        rc = bg_fail(rc, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
    TRY(rc);
    TRY(verifies ? verify(data, &arguments) : print_info(data));
out:
    bg_data_close(data);
    bg_document_free(document);
    bg_text_free(&errors);
    return rc;
}

static const struct bg_argument data_arguments[] = {
    {"train-hash", "SHA256", "verify: of the training part"},
    {"test-hash", "SHA256", "verify: of the test part"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_data = {
    .name = "data",
    .usage = "data info|verify NAME|RECIPE [key=value ...]",
    .help = "what a data set holds; whether its files are whole and as expected",
    .details = "NAME is one of 'bitgrad list datasets'; RECIPE is a file with a data section.\n"
               "key=value sets a key of that section: data info idx dir=/data/mnist.\n"
               "The hash is of the image bytes and the labels as little-endian 32-bit integers.",
    .main = data_main,
    .arguments = data_arguments};
