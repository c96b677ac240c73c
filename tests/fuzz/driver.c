/* Replays files through a fuzz target without libFuzzer: each argument is a file, or a folder whose
 * files are taken in no special order. Exit 0 when all were replayed, 1 when one cannot be read; a
 * target that finds a fault aborts. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_MAX ((size_t)64 << 20)

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        (void)fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    struct stat info;
    int failed = 1;
    uint8_t *data = NULL;
    if (fstat(fileno(file), &info) == 0 && info.st_size >= 0 && (size_t)info.st_size <= FILE_MAX) {
        size_t size = (size_t)info.st_size;
        data = malloc(size ? size : 1);
        failed = !data || fread(data, 1, size, file) != size;
        if (!failed)
            (void)LLVMFuzzerTestOneInput(data, size);
    }
    if (failed)
        (void)fprintf(stderr, "%s: cannot be read\n", path);
    free(data);
    (void)fclose(file);
    return failed;
}

static int replay(const char *path, int *count)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        (*count)++;
        return replay_file(path);
    }
    DIR *folder = opendir(path);
    if (!folder)
        return 1;
    int failed = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char inner[4096];
        if (entry->d_name[0] == '.')
            continue;
        int wrote = snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (wrote < 0 || (size_t)wrote >= sizeof inner)
            failed = 1;
        else
            failed |= replay(inner, count);
    }
    (void)closedir(folder);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0, count = 0;
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i], &count);
    (void)printf("%d files replayed\n", count);
    return failed || count == 0;
}
