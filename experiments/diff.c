/* Compares two run directories, file by file. */
#include "experiments/diff.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/h5.h"
#include "core/mem.h"
#include "core/text.h"

#define FILES_MAX  64
#define TEXT_LIMIT ((size_t)1 << 28)

struct names {
    int count;
    char at[FILES_MAX][BG_NAME_MAX];
};

static int compare_names(const void *a, const void *b)
{
    return strcmp((const char *)a, (const char *)b);
}

/* run.h5 and checkpoint-*.h5 of a directory, sorted. */
static enum bg_status list_files(const char *dir, struct names *out)
{
    struct dirent *entry;
    DIR *handle = opendir(dir);
    out->count = 0;
    if (!handle)
        return bg_fail(BG_E_NOT_FOUND, "%s: there is no such directory", dir);
    for (entry = readdir(handle); entry; entry = readdir(handle)) {
        const char *name = entry->d_name;
        size_t length = strlen(name);
        bool wanted = !strcmp(name, "run.h5") || (!strncmp(name, "checkpoint-", 11) && length > 3 &&
                                                  !strcmp(name + length - 3, ".h5"));
        if (wanted && length < BG_NAME_MAX && out->count < FILES_MAX)
            memcpy(out->at[out->count++], name, length + 1);
    }
    (void)closedir(handle);
    qsort(out->at, (size_t)out->count, BG_NAME_MAX, compare_names);
    return BG_OK;
}

static bool holds(const struct names *names, const char *name)
{
    for (int i = 0; i < names->count; i++)
        if (!strcmp(names->at[i], name))
            return true;
    return false;
}

/* Names a file that only one of them has. */
static bool same_files(const struct names *a, const struct names *b, const char *dir_a,
                       const char *dir_b, char difference[640])
{
    for (int i = 0; i < a->count; i++)
        if (!holds(b, a->at[i])) {
            (void)snprintf(difference, 640, "%s is in %.250s only", a->at[i], dir_a);
            return false;
        }
    for (int i = 0; i < b->count; i++)
        if (!holds(a, b->at[i])) {
            (void)snprintf(difference, 640, "%s is in %.250s only", b->at[i], dir_b);
            return false;
        }
    return true;
}

static enum bg_status diff_h5(const char *path_a, const char *path_b, const char *name, bool *same,
                              char difference[640])
{
    struct bg_h5 *a = NULL, *b = NULL;
    char inner[512] = "";
    enum bg_status rc = BG_OK;

    TRY(bg_h5_open(&a, path_a));
    TRY(bg_h5_open(&b, path_b));
    TRY(bg_h5_compare(a, b, NULL, same, inner));
    if (!*same)
        (void)snprintf(difference, 640, "%s: %s", name, inner);
out:
    if (a && bg_h5_close(a) != BG_OK && rc == BG_OK)
        rc = BG_E_IO;
    if (b && bg_h5_close(b) != BG_OK && rc == BG_OK)
        rc = BG_E_IO;
    return rc;
}

static void first_line(const char *a, const char *b, const char *name, char difference[640])
{
    int line = 1;
    size_t begin = 0;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++)
        if (a[i] == '\n') {
            line++;
            begin = i + 1;
        }
    (void)snprintf(
        difference, 640, "%s: line %d: '%.*s' against '%.*s'", name, line,
        (int)(strcspn(a + begin, "\n") < 200 ? strcspn(a + begin, "\n") : 200), a + begin,
        (int)(strcspn(b + begin, "\n") < 200 ? strcspn(b + begin, "\n") : 200), b + begin);
}

static enum bg_status diff_text(const char *path_a, const char *path_b, const char *name,
                                bool *same, char difference[640])
{
    bool in_a = bg_file_exists(path_a), in_b = bg_file_exists(path_b);
    char *a = NULL, *b = NULL;
    size_t length_a = 0, length_b = 0;
    enum bg_status rc = BG_OK;

    if (!in_a && !in_b)
        return BG_OK;
    if (in_a != in_b) {
        *same = false;
        (void)snprintf(difference, 640, "%.300s does not exist", in_a ? path_b : path_a);
        return BG_OK;
    }
    TRY(bg_file_read(path_a, TEXT_LIMIT, &a, &length_a));
    TRY(bg_file_read(path_b, TEXT_LIMIT, &b, &length_b));
    *same = length_a == length_b && !memcmp(a, b, length_a);
    if (!*same)
        first_line(a, b, name, difference);
out:
    bg_free(a);
    bg_free(b);
    return rc;
}

static enum bg_status diff_file(const char *dir_a, const char *dir_b, const char *name, bool *same,
                                char difference[640])
{
    char path_a[BG_PATH_MAX], path_b[BG_PATH_MAX];
    size_t length = strlen(name);
    enum bg_status rc = BG_OK;
    TRY(bg_path_join(path_a, dir_a, name));
    TRY(bg_path_join(path_b, dir_b, name));
    if (length > 3 && !strcmp(name + length - 3, ".h5"))
        TRY(diff_h5(path_a, path_b, name, same, difference));
    else
        TRY(diff_text(path_a, path_b, name, same, difference));
out:
    return rc;
}

enum bg_status bg_diff_runs(const char *a, const char *b, bool *same, char difference[640])
{
    static const char *const texts[] = {"plan.txt", "result.json"};
    struct names *names = NULL;
    enum bg_status rc = BG_OK;

    *same = true;
    difference[0] = '\0';
    TRY(bg_alloc(&names, 2, sizeof *names));
    TRY(list_files(a, &names[0]));
    TRY(list_files(b, &names[1]));
    if (!holds(&names[0], "run.h5"))
        FAIL(BG_E_NOT_FOUND, "%s/run.h5: there is no such file", a);
    if (!holds(&names[1], "run.h5"))
        FAIL(BG_E_NOT_FOUND, "%s/run.h5: there is no such file", b);
    /* The record first: it names a metric and a step where a checkpoint names a weight. */
    TRY(diff_file(a, b, "run.h5", same, difference));
    if (*same)
        *same = same_files(&names[0], &names[1], a, b, difference);
    for (int i = 0; i < names[0].count && *same; i++)
        TRY(diff_file(a, b, names[0].at[i], same, difference));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && *same; i++)
        TRY(diff_file(a, b, texts[i], same, difference));
out:
    bg_free(names);
    return rc;
}
