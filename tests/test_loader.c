/* The loader: order, augmentation, resume, prefetch. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "datasets/dataset.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

static struct bg_data *open_data(const char *more)
{
    struct bg_document *document = NULL;
    struct bg_data *data = NULL;
    struct bg_text errors;
    char text[512];
    bg_text_init(&errors, 1 << 16);
    int length = snprintf(text, sizeof text,
                          "data: {name: synthetic, height: 6, width: 5, channels: 2, train: 107, "
                          "test: 33, validation: 20%s}\n",
                          more);
    OK(bg_yaml_parse_text(&document, "t", text, (size_t)length));
    enum bg_status rc =
        bg_data_open(&data, bg_yaml_get(bg_document_root(document), "data"), 1, &errors);
    cr_assert(rc == BG_OK, "%s", bg_error());
    bg_document_free(document);
    bg_text_free(&errors);
    return data;
}

#define BYTES 60 /* of one image */

/* A whole pass as bytes: images, then labels. */
struct pass {
    int64_t samples, batches;
    uint8_t images[107 * BYTES];
    int32_t labels[107];
};

static void read_pass(struct bg_source *source, int64_t epoch, int64_t skip, struct pass *out)
{
    struct bg_batch batch;
    memset(out, 0, sizeof *out);
    OK(source->start(source, epoch, skip));
    for (;;) {
        OK(source->next(source, &batch));
        if (batch.size == 0)
            break;
        cr_assert(batch.size <= source->batch);
        cr_assert(batch.dtype == source->spec.dtype);
        memcpy(out->images + out->samples * BYTES, batch.images, (size_t)batch.size * BYTES);
        memcpy(out->labels + out->samples, batch.labels, (size_t)batch.size * sizeof(int32_t));
        out->samples += batch.size;
        out->batches++;
    }
    OK(source->next(source, &batch));
    cr_assert_eq(batch.size, 0);
}

static bool same_pass(const struct pass *a, const struct pass *b)
{
    return a->samples == b->samples && a->batches == b->batches &&
           memcmp(a->images, b->images, sizeof a->images) == 0 &&
           memcmp(a->labels, b->labels, sizeof a->labels) == 0;
}

Test(loader, gives_the_same_with_and_without_prefetch_and_after_a_resume)
{
    struct bg_data *with = open_data(", flip: true, crop: 2");
    struct bg_data *without = open_data(", flip: true, crop: 2, prefetch: false");
    static struct pass a, b, c;
    for (int64_t batch = 1; batch <= 128; batch *= 2) {
        struct bg_source *x = NULL, *y = NULL;
        OK(bg_loader_create(&x, with, BG_PART_TRAIN, batch, true, 5));
        OK(bg_loader_create(&y, without, BG_PART_TRAIN, batch, true, 5));
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            read_pass(x, epoch, 0, &a);
            read_pass(y, epoch, 0, &b);
            cr_assert_eq(a.samples, 87);
            cr_assert(same_pass(&a, &b), "batch %d epoch %d", (int)batch, (int)epoch);
        }
        int64_t batches = bg_source_batches(x);
        for (int64_t skip = 0; skip <= batches; skip++) {
            read_pass(x, 2, skip, &c);
            int64_t from = skip * batch < 87 ? skip * batch : 87;
            cr_assert_eq(c.samples, 87 - from);
            cr_assert(memcmp(c.images, a.images + from * BYTES, (size_t)(87 - from) * BYTES) == 0);
            cr_assert(memcmp(c.labels, a.labels + from, (size_t)(87 - from) * 4) == 0);
        }
        bg_loader_destroy(x);
        bg_loader_destroy(y);
    }
    bg_data_close(with);
    bg_data_close(without);
}

Test(loader, shuffles_by_seed_and_epoch)
{
    struct bg_data *data = open_data("");
    struct bg_source *source = NULL, *other = NULL;
    static struct pass first, again, second, differ;
    OK(bg_loader_create(&source, data, BG_PART_TRAIN, 10, true, 5));
    OK(bg_loader_create(&other, data, BG_PART_TRAIN, 10, true, 6));
    read_pass(source, 0, 0, &first);
    read_pass(source, 1, 0, &second);
    read_pass(source, 0, 0, &again);
    read_pass(other, 0, 0, &differ);
    cr_assert(same_pass(&first, &again));
    cr_assert(!same_pass(&first, &second));
    cr_assert(!same_pass(&first, &differ));
    const struct bg_rng rng = {5, BG_STREAM_SHUFFLE, 1};
    int32_t order[87];
    bg_rng_permutation(&rng, order, 87);
    for (int i = 0; i < 87; i++) {
        int32_t sample = data->train_index[order[i]];
        cr_assert_eq(second.labels[i], data->train.labels[sample]);
        cr_assert(memcmp(second.images + i * BYTES, (uint8_t *)data->train.images + sample * BYTES,
                         BYTES) == 0);
    }
    bg_loader_destroy(source);
    bg_loader_destroy(other);
    bg_data_close(data);
}

Test(loader, reads_other_parts_in_file_order_without_augmentation)
{
    struct bg_data *data = open_data(", flip: true, crop: 3");
    static struct pass pass;
    static const enum bg_part parts[] = {BG_PART_TRAIN, BG_PART_VALIDATION, BG_PART_TEST};
    for (int p = 0; p < 3; p++) {
        struct bg_source *source = NULL;
        const struct bg_dataset *set = p == 2 ? &data->test : &data->train;
        const int32_t *index = p == 0 ? data->train_index : data->validation_index;
        OK(bg_loader_create(&source, data, parts[p], 8, false, 5));
        read_pass(source, 4, 0, &pass);
        cr_assert_eq(pass.samples, p == 0 ? 87 : p == 1 ? 20 : 33);
        for (int64_t i = 0; i < pass.samples; i++) {
            int64_t sample = p == 2 ? i : index[i];
            cr_assert_eq(pass.labels[i], set->labels[sample]);
            cr_assert(memcmp(pass.images + i * BYTES, (uint8_t *)set->images + sample * BYTES,
                             BYTES) == 0);
        }
        bg_loader_destroy(source);
    }
    bg_data_close(data);
}

/* An independent statement of the augmentation: crop of the padded image, then mirror. */
static void augment(const uint8_t *in, int dy, int dx, bool mirrored, int zero, uint8_t *out)
{
    for (int y = 0; y < 6; y++)
        for (int x = 0; x < 5; x++)
            for (int c = 0; c < 2; c++) {
                int from_y = y + dy, from_x = (mirrored ? 4 - x : x) + dx;
                bool inside = from_y >= 0 && from_y < 6 && from_x >= 0 && from_x < 5;
                out[(y * 5 + x) * 2 + c] =
                    (uint8_t)(inside ? in[(from_y * 5 + from_x) * 2 + c] : zero);
            }
}

Test(loader, augments_by_seed_epoch_and_sample_and_uses_every_place)
{
    struct bg_data *data = open_data(", flip: true, crop: 1");
    struct bg_source *source = NULL;
    static struct pass pass;
    int seen[2][3][3] = {{{0}}};
    OK(bg_loader_create(&source, data, BG_PART_TRAIN, 16, true, 5));
    for (int epoch = 0; epoch < 4; epoch++) {
        const struct bg_rng rng = {5, BG_STREAM_SHUFFLE, (uint32_t)epoch};
        const struct bg_rng place = {5, BG_STREAM_AUGMENT, (uint32_t)epoch};
        int32_t order[87];
        bg_rng_permutation(&rng, order, 87);
        read_pass(source, epoch, 0, &pass);
        for (int i = 0; i < 87; i++) {
            int32_t sample = data->train_index[order[i]];
            uint32_t words[4];
            uint8_t wanted[BYTES];
            bg_rng_words(&place, (uint64_t)sample, words);
            int flip = words[0] & 1, dy = (int)(((uint64_t)words[1] * 3) >> 32) - 1,
                dx = (int)(((uint64_t)words[2] * 3) >> 32) - 1;
            augment((uint8_t *)data->train.images + sample * BYTES, dy, dx, flip,
                    data->spec.zero_point, wanted);
            cr_assert(memcmp(pass.images + i * BYTES, wanted, BYTES) == 0, "sample %d", sample);
            seen[flip][dy + 1][dx + 1]++;
        }
    }
    for (int i = 0; i < 18; i++)
        cr_assert((&seen[0][0][0])[i] > 0, "348 draws leave place %d out", i);
    bg_loader_destroy(source);
    bg_data_close(data);
}

static void expect_refused(enum bg_status rc, const char *part)
{
    cr_assert(rc != BG_OK, "accepted, expected: %s", part);
    cr_assert(strstr(bg_error(), part) != NULL, "\"%s\" lacks \"%s\"", bg_error(), part);
}

Test(loader, refuses_what_has_no_meaning)
{
    struct bg_data *data = open_data("");
    struct bg_source *source = NULL;
    struct bg_batch batch;
    expect_refused(bg_loader_create(&source, data, BG_PART_TRAIN, 0, true, 1), "batches of 0");
    expect_refused(bg_loader_create(&source, data, BG_PART_TEST, 4, true, 1),
                   "the test part is read in file order");
    data->validation_count = 0;
    expect_refused(bg_loader_create(&source, data, BG_PART_VALIDATION, 4, false, 1),
                   "the validation part has no samples");
    OK(bg_loader_create(&source, data, BG_PART_TRAIN, 10, true, 1));
    expect_refused(source->next(source, &batch), "next before start");
    expect_refused(source->start(source, 0, 10), "skip 10 batches, a pass has 9");
    expect_refused(source->start(source, -1, 0), "epoch -1");
    bg_loader_destroy(source);
    bg_data_close(data);
}

Test(loader, can_be_destroyed_at_any_moment_and_allocates_nothing_while_running)
{
    struct bg_data *data = open_data(", crop: 1");
    struct bg_batch batch;
    for (int i = 0; i < 50; i++) {
        struct bg_source *source = NULL;
        OK(bg_loader_create(&source, data, BG_PART_TRAIN, 3, true, 5));
        uint64_t calls = bg_alloc_calls();
        if (i % 5 > 0)
            OK(source->start(source, i, i % 4));
        for (int k = 0; k < i % 5 - 1; k++)
            OK(source->next(source, &batch));
        if (i % 3 == 0)
            OK(source->start(source, i + 1, 0)); /* in the middle of a pass */
        cr_assert(bg_alloc_calls() == calls);
        bg_loader_destroy(source);
    }
    bg_loader_destroy(NULL);
    bg_data_close(data);
}
