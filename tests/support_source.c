/* tests/support_source.h. */
#include "tests/support_source.h"

static enum bg_status start(struct bg_source *source, int64_t epoch, int64_t skip)
{
    (void)epoch;
    ((struct support_source *)source->self)->at = skip * source->batch;
    return BG_OK;
}

static enum bg_status next(struct bg_source *source, struct bg_batch *out)
{
    struct support_source *s = source->self;
    const int64_t left = source->count - s->at;
    const int64_t n = source->spec.height * source->spec.width * source->spec.channels;

    *out = (struct bg_batch){.size = left < source->batch ? left : source->batch,
                             .dtype = BG_F32,
                             .images = s->images + s->at * n,
                             .labels = s->labels + s->at};
    s->at += out->size;
    return BG_OK;
}

void support_source_open(struct support_source *out, const struct bg_sample_spec *spec,
                         int64_t count, int64_t batch, const float *images, const int32_t *labels)
{
    *out = (struct support_source){.images = images, .labels = labels};
    out->source = (struct bg_source){
        .self = out, .spec = *spec, .count = count, .batch = batch, .start = start, .next = next};
}
