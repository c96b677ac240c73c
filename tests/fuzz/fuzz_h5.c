/* HDF5: any bytes give a file that can be walked and read, or one sentence. HDF5 itself is not
 * under test: what crashes it in the child process is refused, and that is what is watched here. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/h5.h"
#include "core/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum bg_status see(void *self, const struct bg_h5_object *object)
{
    struct bg_h5 *file = self;
    struct bg_h5_info info = object->info;
    void *out = NULL;
    if (!object->is_group && !object->is_text &&
        bg_h5_read_new(file, object->name, info.type, info.rank, info.dims, &out, 1 << 24) == BG_OK)
        bg_free(out);
    return BG_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/bg-fuzz-h5-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return 0;
    struct bg_h5 *file = NULL;
    bg_error_clear();
    if (write(fd, data, size) == (ssize_t)size && bg_h5_open(&file, path) != BG_OK &&
        (bg_error()[0] == '\0' || file))
        abort();
    if (file) {
        char difference[512];
        bool same = false;
        (void)!bg_h5_walk(file, see, file);
        if (bg_h5_compare(file, file, NULL, &same, difference) == BG_OK && !same)
            abort();
    }
    if (bg_h5_close(file) != BG_OK)
        abort();
    (void)close(fd);
    (void)unlink(path);
    return 0;
}
