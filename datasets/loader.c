/* The loader: batches of one part as a bg_source. Two buffers: while the consumer holds one, a
 * thread fills the other. The thread calls neither OpenMP nor oneDNN nor anything that can fail; it
 * reads the order of the pass, which is rewritten only while the thread is paused. All other shared
 * fields are read and written under the lock. What a batch holds is a function of (seed, epoch,
 * batch number), so it makes no difference who fills it. */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "datasets/dataset.h"

struct slot {
    bool full;
    int64_t size;
    unsigned char *images;
    int32_t *labels;
};

struct loader {
    struct bg_source source; /* self points back here */
    const struct bg_dataset *dataset;
    const int32_t *index; /* into dataset; NULL = all in file order */
    int64_t crop;
    bool shuffle, augment, flip;
    uint64_t seed;
    int64_t epoch;
    int32_t *order; /* positions in the part, in the order of this pass; NULL without shuffle */
    struct slot slots[2];

    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop, paused, busy;
    int64_t next_fill; /* batch that is filled next, into slot next_fill % 2 */
    int64_t next_give; /* batch that is handed out next */
    int64_t held;      /* slot the consumer holds, -1 = none */
};

/* Copies one image with the augmentation of (seed, epoch, sample): first a crop of the padded
 * image, then the flip. Padding is real 0: code z, or 0.0 after normalisation. */
static void copy_augmented(const struct loader *loader, int64_t sample, unsigned char *out)
{
    const struct bg_dataset *d = loader->dataset;
    const struct bg_rng rng = {loader->seed, BG_STREAM_AUGMENT, (uint32_t)loader->epoch};
    size_t pixel = (size_t)d->channels * bg_dtype_size(d->dtype);
    size_t bytes = (size_t)(d->height * d->width) * pixel;
    const unsigned char *image = (const unsigned char *)d->images + (size_t)sample * bytes;
    uint64_t places = (uint64_t)(2 * loader->crop + 1);
    uint32_t words[4];
    bg_rng_words(&rng, (uint64_t)sample, words);
    bool mirrored = loader->flip && (words[0] & 1);
    int64_t dy = (int64_t)((words[1] * places) >> 32) - loader->crop;
    int64_t dx = (int64_t)((words[2] * places) >> 32) - loader->crop;
    memset(out, d->dtype == BG_U8 ? loader->source.spec.zero_point : 0, bytes);
    for (int64_t y = 0; y < d->height; y++) {
        if (y + dy < 0 || y + dy >= d->height)
            continue;
        for (int64_t x = 0; x < d->width; x++) {
            int64_t to = mirrored ? d->width - 1 - x : x;
            if (x + dx >= 0 && x + dx < d->width)
                memcpy(out + (size_t)(y * d->width + to) * pixel,
                       image + (size_t)((y + dy) * d->width + x + dx) * pixel, pixel);
        }
    }
}

static void fill(const struct loader *loader, int64_t batch, struct slot *slot)
{
    const struct bg_dataset *d = loader->dataset;
    int64_t first = batch * loader->source.batch, left = loader->source.count - first;
    size_t bytes = (size_t)(d->height * d->width * d->channels) * bg_dtype_size(d->dtype);
    slot->size = left < loader->source.batch ? left : loader->source.batch;
    for (int64_t i = 0; i < slot->size; i++) {
        int64_t place = loader->order ? loader->order[first + i] : first + i;
        int64_t sample = loader->index ? loader->index[place] : place;
        unsigned char *out = slot->images + (size_t)i * bytes;
        if (loader->augment)
            copy_augmented(loader, sample, out);
        else
            memcpy(out, (const unsigned char *)d->images + (size_t)sample * bytes, bytes);
        slot->labels[i] = d->labels[sample];
    }
}

static bool has_work(const struct loader *loader)
{
    return !loader->paused && loader->next_fill < bg_source_batches(&loader->source) &&
           !loader->slots[loader->next_fill % 2].full;
}

static void *fill_in_thread(void *self)
{
    struct loader *loader = self;
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop) {
        if (!has_work(loader)) {
            pthread_cond_wait(&loader->changed, &loader->lock);
            continue;
        }
        int64_t batch = loader->next_fill;
        struct slot *slot = &loader->slots[batch % 2];
        loader->busy = true;
        pthread_mutex_unlock(&loader->lock);
        fill(loader, batch, slot);
        pthread_mutex_lock(&loader->lock);
        loader->busy = false;
        slot->full = true;
        loader->next_fill = batch + 1;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* Stops the thread between two batches, so that order and epoch may be rewritten. */
static void pause_thread(struct loader *loader)
{
    if (!loader->threaded)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->paused = true;
    while (loader->busy)
        pthread_cond_wait(&loader->changed, &loader->lock);
    pthread_mutex_unlock(&loader->lock);
}

static void resume_thread(struct loader *loader)
{
    if (!loader->threaded)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->paused = false;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->lock);
}

static enum bg_status start(struct bg_source *source, int64_t epoch, int64_t skip)
{
    struct loader *loader = source->self;
    if (epoch < 0 || epoch > UINT32_MAX)
        return bg_fail(BG_E_RANGE, "loader: epoch %" PRId64 ", limits are 0 and %" PRIu32, epoch,
                       UINT32_MAX);
    if (skip < 0 || skip > bg_source_batches(source))
        return bg_fail(BG_E_RANGE, "loader: skip %" PRId64 " batches, a pass has %" PRId64, skip,
                       bg_source_batches(source));
    pause_thread(loader);
    if (loader->shuffle) {
        const struct bg_rng rng = {loader->seed, BG_STREAM_SHUFFLE, (uint32_t)epoch};
        bg_rng_permutation(&rng, loader->order, source->count);
    }
    loader->epoch = epoch;
    loader->next_fill = loader->next_give = skip;
    loader->held = -1;
    loader->slots[0].full = loader->slots[1].full = false;
    resume_thread(loader);
    return BG_OK;
}

/* Gives back the buffer held and waits for the one due. */
static struct slot *take_slot(struct loader *loader)
{
    struct slot *slot = &loader->slots[loader->next_give % 2];
    if (!loader->threaded) {
        fill(loader, loader->next_give, slot);
        return slot;
    }
    pthread_mutex_lock(&loader->lock);
    if (loader->held >= 0) {
        loader->slots[loader->held].full = false;
        pthread_cond_broadcast(&loader->changed);
    }
    while (!slot->full)
        pthread_cond_wait(&loader->changed, &loader->lock);
    loader->held = loader->next_give % 2;
    pthread_mutex_unlock(&loader->lock);
    return slot;
}

static enum bg_status next(struct bg_source *source, struct bg_batch *out)
{
    struct loader *loader = source->self;
    *out = (struct bg_batch){.size = 0, .dtype = source->spec.dtype};
    if (loader->next_give < 0)
        return bg_fail(BG_E_USAGE, "loader: next before start");
    if (loader->next_give >= bg_source_batches(source))
        return BG_OK;
    const struct slot *slot = take_slot(loader);
    loader->next_give++;
    out->size = slot->size;
    out->images = slot->images;
    out->labels = slot->labels;
    return BG_OK;
}

/* Signals go to the program's own threads. */
static enum bg_status start_thread(struct loader *loader)
{
    sigset_t all, before;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->changed, NULL);
    loader->paused = true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&loader->thread, NULL, fill_in_thread, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        pthread_cond_destroy(&loader->changed);
        pthread_mutex_destroy(&loader->lock);
        return bg_fail(BG_E_NOMEM, "loader: the system gives no thread (%s)", strerror(code));
    }
    loader->threaded = true;
    return BG_OK;
}

static enum bg_status choose_part(struct loader *loader, const struct bg_data *data,
                                  enum bg_part part, bool shuffle)
{
    static const char *const names[] = {"training", "validation", "test"};
    int64_t count = part == BG_PART_TRAIN        ? data->train_count
                    : part == BG_PART_VALIDATION ? data->validation_count
                                                 : data->test_count;
    if (count < 1)
        return bg_fail(BG_E_USAGE, "loader: the %s part has no samples", names[part]);
    if (shuffle && part != BG_PART_TRAIN)
        return bg_fail(BG_E_USAGE, "loader: the %s part is read in file order", names[part]);
    loader->source.count = count;
    loader->dataset = part == BG_PART_TEST ? &data->test : &data->train;
    loader->index = part == BG_PART_TRAIN        ? data->train_index
                    : part == BG_PART_VALIDATION ? data->validation_index
                                                 : NULL;
    loader->shuffle = shuffle;
    loader->flip = data->options.flip;
    loader->crop = data->options.crop;
    loader->augment = shuffle && (data->options.flip || data->options.crop > 0);
    return BG_OK;
}

static enum bg_status make_buffers(struct loader *loader)
{
    enum bg_status rc = BG_OK;
    const struct bg_dataset *d = loader->dataset;
    int64_t values = 0, room = loader->source.batch;
    if (room > loader->source.count)
        room = loader->source.count;
    TRY(bg_product(room, d->height * d->width * d->channels, &values));
    for (int i = 0; i < 2; i++) {
        TRY(bg_alloc(&loader->slots[i].images, values, bg_dtype_size(d->dtype)));
        TRY(bg_alloc(&loader->slots[i].labels, room, sizeof(int32_t)));
    }
    if (loader->shuffle)
        TRY(bg_alloc(&loader->order, loader->source.count, sizeof(int32_t)));
out:
    return rc;
}

enum bg_status bg_loader_create(struct bg_source **out, const struct bg_data *data,
                                enum bg_part part, int64_t batch, bool shuffle, uint64_t seed)
{
    enum bg_status rc = BG_OK;
    struct loader *loader = NULL;
    *out = NULL;
    if (batch < 1 || batch > INT32_MAX)
        FAIL(BG_E_RANGE, "loader: batches of %" PRId64 ", limits are 1 and %d", batch, INT32_MAX);
    TRY(bg_alloc(&loader, 1, sizeof *loader));
    loader->source = (struct bg_source){
        .self = loader, .spec = data->spec, .batch = batch, .start = start, .next = next};
    loader->seed = seed;
    loader->next_give = -1;
    loader->held = -1;
    TRY(choose_part(loader, data, part, shuffle));
    TRY(make_buffers(loader));
    if (data->options.prefetch)
        TRY(start_thread(loader));
    *out = &loader->source;
    loader = NULL;
out:
    if (loader)
        bg_loader_destroy(&loader->source);
    return rc;
}

void bg_loader_destroy(struct bg_source *source)
{
    if (source == NULL)
        return;
    struct loader *loader = source->self;
    if (loader->threaded) {
        pthread_mutex_lock(&loader->lock);
        loader->stop = true;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->lock);
        pthread_join(loader->thread, NULL);
        pthread_cond_destroy(&loader->changed);
        pthread_mutex_destroy(&loader->lock);
    }
    for (int i = 0; i < 2; i++) {
        bg_free(loader->slots[i].images);
        bg_free(loader->slots[i].labels);
    }
    bg_free(loader->order);
    bg_free(loader);
}
