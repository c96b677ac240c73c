/* The judge: what it is made of, and the comparison of its codes with a program's. Samples are
 * independent; every thread counts for itself and the counts are added when a result is read, so
 * results do not depend on threads. */
#include "layers/judge.h"

#include <string.h>

#include "core/dnn.h"
#include "layers/judge_private.h"

#define CODES 256

static int value_of(const struct bg_judge *judge, const struct bg_node *node)
{
    int i = 0;

    while (bg_graph_node(judge->graph, i) != node)
        i++;
    return i;
}

static enum bg_status check_grid(const struct bg_quantizer *quantizer)
{
    if (quantizer->grid.bits > 8 || quantizer->grid.is_signed || quantizer->grid.channels != 1)
        return bg_fail(BG_E_UNSUPPORTED, "judge: the values of %s are not codes of 1 to 8 bits",
                       quantizer->name);
    if (quantizer->observed == 0)
        return bg_fail(BG_E_USAGE, "judge: the quantizer of %s has no range yet", quantizer->name);
    return BG_OK;
}

/* Which codes a node has: its own, another's, or none. */
static enum bg_status classify(struct bg_judge *judge, int index)
{
    enum bg_status rc = BG_OK;
    struct bg_judge_value *value = &judge->value[index], *input = NULL;
    const struct bg_node *node = bg_graph_node(judge->graph, index);
    const struct bg_quantizer *quantizer = bg_node_quantizer(node);
    enum bg_judge_op op = bg_judge_op(node);

    *value = (struct bg_judge_value){.node = node, .kind = BG_JUDGE_VIEW, .codes = -1};
    value->count = bg_shape_count(bg_node_shape(node));
    if (quantizer != NULL) {
        TRY(check_grid(quantizer));
        value->kind = op == BG_JUDGE_INPUT ? BG_JUDGE_BYTES : BG_JUDGE_SUM;
        value->codes = index;
        value->grid = &quantizer->grid;
    } else if (op == BG_JUDGE_FLATTEN || op == BG_JUDGE_DROPOUT || op == BG_JUDGE_MAX_POOL) {
        value->from = value_of(judge, bg_node_input_at(node, 0));
        input = &judge->value[value->from];
        value->codes = input->codes;
        value->grid = input->grid;
        if (op == BG_JUDGE_MAX_POOL && input->codes >= 0) {
            value->kind = BG_JUDGE_LARGEST;
            value->codes = index;
            bg_judge_pool_window(&value->window, node, bg_node_shape(input->node)->dims);
        }
    }
out:
    return rc;
}

static enum bg_status make_values(struct bg_judge *judge)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *logits = bg_graph_logits(judge->graph);

    if (logits == NULL)
        FAIL(BG_E_USAGE, "judge: the graph has no loss, so no logits");
    judge->values = bg_graph_node_count(judge->graph);
    TRY(bg_arena_alloc(judge->arena, &judge->value, judge->values, sizeof *judge->value));
    for (int i = 0; i < judge->values; i++)
        TRY(classify(judge, i));
    judge->logits = value_of(judge, logits);
    if (bg_node_quantizer(logits) != NULL)
        FAIL(BG_E_UNSUPPORTED, "judge: the logits %s have a grid", bg_node_name(logits));
    judge->value[judge->logits].kind = BG_JUDGE_LOGITS;
    judge->value[judge->logits].codes = -1;
    for (int i = 0; i < judge->values; i++) {
        struct bg_judge_value *value = &judge->value[i];
        if (value->kind != BG_JUDGE_SUM && value->kind != BG_JUDGE_LOGITS)
            continue;
        TRY(bg_judge_walk(judge, value));
        TRY(bg_judge_numbers(judge, value));
    }
out:
    return rc;
}

/* Every node with a grid of its own, every max pool of codes and, last, the logits. */
static enum bg_status list_tensors(struct bg_judge *judge)
{
    enum bg_status rc = BG_OK;

    TRY(bg_arena_alloc(judge->arena, &judge->tensor, judge->values + 1, sizeof(int)));
    TRY(bg_arena_alloc(judge->arena, &judge->found, judge->values + 1, sizeof(const void *)));
    for (int i = 0; i < judge->values; i++)
        if (judge->value[i].kind == BG_JUDGE_BYTES || judge->value[i].kind == BG_JUDGE_SUM ||
            judge->value[i].kind == BG_JUDGE_LARGEST)
            judge->tensor[judge->tensors++] = i;
    judge->tensor[judge->tensors++] = judge->logits;
out:
    return rc;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Elements that a thread needs at most. */
struct room {
    int64_t codes, x, acc, pooled;
};

static void piece_room(const struct bg_judge *judge, const struct bg_judge_piece *piece,
                       struct room *room)
{
    int64_t count = piece->rows * piece->channels;

    room->acc = larger(room->acc, count * piece->terms);
    room->pooled = larger(room->pooled, count);
    for (int i = 0; i < piece->terms; i++)
        room->x = larger(room->x, judge->value[piece->term[i].from].count);
    for (int i = 0; i < piece->pools; i++) {
        const int64_t *out = piece->pool[i].out;
        room->pooled = larger(room->pooled, out[0] * out[1] * out[2]);
    }
}

static struct room find_room(struct bg_judge *judge)
{
    struct room room = {.codes = 0};

    for (int i = 0; i < judge->values; i++) {
        struct bg_judge_value *value = &judge->value[i];
        if (value->codes == i) {
            value->at = room.codes;
            room.codes += value->count;
        }
        for (const struct bg_judge_piece *piece = value->piece; piece != NULL; piece = piece->next)
            piece_room(judge, piece, &room);
    }
    return room;
}

static enum bg_status make_scratch(struct bg_judge *judge, const struct room *room,
                                   struct bg_judge_scratch *out)
{
    enum bg_status rc = BG_OK;
    struct bg_arena *arena = judge->arena;
    int64_t classes = judge->value[judge->logits].count;

    TRY(bg_arena_alloc(arena, &out->codes, room->codes, 1));
    TRY(bg_arena_alloc(arena, &out->logits, classes, sizeof(float)));
    TRY(bg_arena_alloc(arena, &out->x, room->x, sizeof(double)));
    TRY(bg_arena_alloc(arena, &out->acc, room->acc, sizeof(double)));
    TRY(bg_arena_alloc(arena, &out->before, room->pooled, 1));
    TRY(bg_arena_alloc(arena, &out->after, room->pooled, 1));
    TRY(bg_arena_alloc(arena, &out->count, judge->tensors, sizeof *out->count));
    for (int i = 0; i < judge->tensors; i++) {
        int64_t kinds = judge->tensor[i] == judge->logits ? classes : CODES;
        out->count[i].sample = -1;
        TRY(bg_arena_alloc(arena, &out->count[i].often, kinds, sizeof(int64_t)));
    }
out:
    return rc;
}

enum bg_status bg_judge_create(struct bg_judge **out, const struct bg_graph *graph,
                               enum bg_requant_mode mode)
{
    enum bg_status rc = BG_OK;
    struct bg_judge *judge = NULL;
    struct room room;

    *out = NULL;
    TRY(bg_alloc(&judge, 1, sizeof *judge));
    TRY(bg_arena_create(&judge->arena, "judge"));
    judge->graph = graph;
    judge->mode = mode;
    TRY(make_values(judge));
    TRY(list_tensors(judge));
    room = find_room(judge);
    judge->threads = bg_threads();
    TRY(bg_arena_alloc(judge->arena, &judge->scratch, judge->threads, sizeof *judge->scratch));
    for (int i = 0; i < judge->threads; i++)
        TRY(make_scratch(judge, &room, &judge->scratch[i]));
    *out = judge;
    judge = NULL;
out:
    bg_judge_destroy(judge);
    return rc;
}

void bg_judge_destroy(struct bg_judge *judge)
{
    if (judge == NULL)
        return;
    bg_arena_destroy(judge->arena);
    bg_free(judge);
}

static bool same_grid(const struct bg_grid *grid, const struct bg_integer_tensor *tensor)
{
    return grid->bits == tensor->bits && grid->scale[0] == tensor->scale &&
           grid->zero_point == tensor->zero_point && grid->qmin == tensor->qmin &&
           grid->qmax == tensor->qmax;
}

/* Where the program keeps what the judge calls tensor `index`. */
static enum bg_status find_tensor(struct bg_judge *judge, int index,
                                  const struct bg_integer_model *model,
                                  const struct bg_integer_program *program)
{
    const struct bg_judge_value *value = &judge->value[judge->tensor[index]];
    const char *name = bg_node_name(value->node);
    bool logits = value->kind == BG_JUDGE_LOGITS;
    const struct bg_integer_tensor *tensor = NULL;
    int at = 0;

    while (at < model->tensors && (model->tensor[at].inner || model->tensor[at].real != logits ||
                                   strcmp(model->tensor[at].name, name) != 0))
        at++;
    if (at == model->tensors)
        return bg_fail(BG_E_MISMATCH,
                       "judge: %s has codes and the integer model has no such tensor", name);
    tensor = &model->tensor[at];
    if (!bg_shape_equal(&tensor->shape, bg_node_shape(value->node)))
        return bg_fail(BG_E_MISMATCH, "judge: tensor %s of the integer model has another shape",
                       name);
    if (!logits && !same_grid(value->grid, tensor))
        return bg_fail(BG_E_MISMATCH,
                       "judge: tensor %s of the integer model is on another grid: scale %g, zero "
                       "point %d; the network has %g, %d",
                       name, (double)tensor->scale, (int)tensor->zero_point,
                       (double)value->grid->scale[0], (int)value->grid->zero_point);
    judge->found[index] = logits ? (const void *)bg_integer_program_logits(program)
                                 : bg_integer_program_codes(program, at);
    if (judge->found[index] == NULL)
        return bg_fail(BG_E_USAGE, "judge: the program was made without keeping tensor %s", name);
    return BG_OK;
}

static enum bg_status find_tensors(struct bg_judge *judge, const struct bg_integer_model *model,
                                   const struct bg_integer_program *program)
{
    enum bg_status rc = BG_OK;

    if (model->mode != judge->mode)
        FAIL(BG_E_MISMATCH, "judge: made for requantisation mode %d, the integer model has %d",
             (int)judge->mode, (int)model->mode);
    for (int i = 0; i < judge->tensors; i++)
        TRY(find_tensor(judge, i, model, program));
    for (int k = 0; k < model->tensors; k++) {
        const struct bg_integer_tensor *tensor = &model->tensor[k];
        int i = 0;
        while (i < judge->tensors &&
               strcmp(bg_node_name(judge->value[judge->tensor[i]].node), tensor->name) != 0)
            i++;
        if (!tensor->inner && i == judge->tensors)
            FAIL(BG_E_MISMATCH, "judge: the integer model's tensor %s has no codes in the network",
                 tensor->name);
    }
out:
    return rc;
}

/* Sample numbers only rise within a thread: the first difference it meets is its first. */
static void note(struct bg_judge_count *count, int64_t sample, int64_t element, double expected,
                 double found)
{
    if (count->differ++ > 0)
        return;
    count->sample = sample;
    count->element = element;
    count->expected = expected;
    count->found = found;
}

static void compare_codes(struct bg_judge_count *count, int64_t sample, int64_t n,
                          const uint8_t *expected, const uint8_t *found)
{
    count->outputs += n;
    for (int64_t i = 0; i < n; i++) {
        count->often[expected[i]]++;
        if (expected[i] != found[i])
            note(count, sample, i, expected[i], found[i]);
    }
}

static uint32_t bits_of(float x)
{
    uint32_t bits = 0;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void compare_logits(struct bg_judge_count *count, int64_t sample, int64_t n,
                           const float *expected, const float *found)
{
    int64_t best = 0;

    count->outputs += n;
    for (int64_t i = 0; i < n; i++) {
        best = expected[i] > expected[best] ? i : best;
        if (bits_of(expected[i]) != bits_of(found[i]))
            note(count, sample, i, (double)expected[i], (double)found[i]);
    }
    count->often[best]++;
}

static void compare_sample(const struct bg_judge *judge, struct bg_judge_scratch *scratch,
                           int64_t n)
{
    for (int i = 0; i < judge->tensors; i++) {
        int index = judge->tensor[i];
        int64_t size = judge->value[index].count, sample = judge->samples + n;
        if (index == judge->logits)
            compare_logits(&scratch->count[i], sample, size, scratch->logits,
                           (const float *)judge->found[i] + n * size);
        else
            compare_codes(&scratch->count[i], sample, size, bg_judge_codes(judge, scratch, index),
                          (const uint8_t *)judge->found[i] + n * size);
    }
}

enum bg_status bg_judge_batch(struct bg_judge *judge, const struct bg_batch *batch,
                              const struct bg_integer_model *model,
                              const struct bg_integer_program *program)
{
    enum bg_status rc = BG_OK;
    const struct bg_sample_spec *spec = bg_node_sample_spec(judge->value[0].node);

    if (batch->dtype != spec->dtype)
        FAIL(BG_E_MISMATCH, "judge: the batch holds %s, the network reads %s",
             bg_dtype_name(batch->dtype), bg_dtype_name(spec->dtype));
    TRY(find_tensors(judge, model, program));
#pragma omp parallel for schedule(static) num_threads(judge->threads)
    for (int t = 0; t < judge->threads; t++)
        for (int64_t n = t; n < batch->size; n += judge->threads) {
            bg_judge_sample(judge, &judge->scratch[t], batch, n);
            compare_sample(judge, &judge->scratch[t], n);
        }
    judge->samples += batch->size;
out:
    return rc;
}

int bg_judge_count(const struct bg_judge *judge)
{
    return judge->tensors;
}

/* The share of the most frequent code (or prediction). */
static double most_frequent(const struct bg_judge *judge, int index, int64_t kinds)
{
    int64_t most = 0, all = 0;

    for (int64_t k = 0; k < kinds; k++) {
        int64_t sum = 0;
        for (int t = 0; t < judge->threads; t++)
            sum += judge->scratch[t].count[index].often[k];
        most = larger(most, sum);
        all += sum;
    }
    return all == 0 ? 0.0 : (double)most / (double)all;
}

struct bg_judge_tensor bg_judge_result(const struct bg_judge *judge, int index)
{
    const struct bg_judge_value *value = &judge->value[judge->tensor[index]];
    struct bg_judge_tensor out = {.sample = -1, .element = -1};

    memcpy(out.name, bg_node_name(value->node), strlen(bg_node_name(value->node)) + 1);
    for (int t = 0; t < judge->threads; t++) {
        const struct bg_judge_count *count = &judge->scratch[t].count[index];
        out.outputs += count->outputs;
        out.differ += count->differ;
        if (count->differ > 0 && (out.sample < 0 || count->sample < out.sample)) {
            out.sample = count->sample;
            out.element = count->element;
            out.expected = count->expected;
            out.found = count->found;
        }
    }
    out.constant =
        most_frequent(judge, index, value->kind == BG_JUDGE_LOGITS ? value->count : CODES);
    out.mistrusted = out.constant > BG_JUDGE_CONSTANT;
    return out;
}
