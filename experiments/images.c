/* The loop of images.h. */
#include "experiments/images.h"

#include "core/log.h"

enum bg_status bg_first_images(struct bg_source *source, int64_t images, const char *what,
                               enum bg_status (*see)(void *self, const struct bg_batch *batch),
                               void *self)
{
    int64_t done = 0;
    enum bg_status rc = BG_OK;

    TRY(source->start(source, 0, 0));
    while (done < images) {
        struct bg_batch batch = {0};
        TRY(source->next(source, &batch));
        if (batch.size < 1)
            FAIL(BG_E_DATA, "the data ended after %lld of %lld images", (long long)done,
                 (long long)images);
        if (batch.size > images - done)
            batch.size = images - done;
        TRY(see(self, &batch));
        done += batch.size;
        bg_log_progress(what, done, images, "%s", "");
        if (bg_stop_requested())
            FAIL(BG_E_INTERRUPTED, "stopped after %lld of %lld images", (long long)done,
                 (long long)images);
    }
out:
    return rc;
}
