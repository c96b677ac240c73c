/* .npz and .npy: any bytes give arrays or one sentence. The reader takes a path, so the bytes go
 * through a temporary file. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/npz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/bg-fuzz-npz-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return 0;
    struct bg_npz *npz = NULL;
    bg_error_clear();
    if (write(fd, data, size) == (ssize_t)size && bg_npz_open(&npz, path) != BG_OK &&
        (bg_error()[0] == '\0' || npz))
        abort();
    for (int i = 0; npz && i < bg_npz_count(npz); i++) {
        struct bg_shape shape;
        float *values = NULL;
        enum bg_status rc = bg_npz_read_f32(npz, bg_npz_name(npz, i), &shape, &values);
        if ((rc == BG_OK) != (values != NULL))
            abort();
        bg_free(values);
    }
    bg_npz_close(npz);
    (void)close(fd);
    (void)unlink(path);
    return 0;
}
