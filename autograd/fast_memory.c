/* Memory of a fast program: every buffer's life from the order of steps (forward at time s,
 * backward at 2 * steps - 1 - s), addresses from the liveness plan. */
#include <string.h>

#include "autograd/fast.h"

struct slot {
    void *target; /* the pointer to set */
    struct bg_buffer buffer;
};

struct layout {
    struct bg_fast *fast;
    struct slot *slot;
    int count;
};

static int backward_time(const struct bg_fast *fast, int step)
{
    return 2 * fast->steps - 1 - step;
}

static void add(struct layout *layout, void *target, int64_t bytes, int first, int last)
{
    layout->slot[layout->count++] =
        (struct slot){target, {.bytes = bytes, .first = first, .last = last}};
}

/* Codes are read by backward weights of the layers that read them, else only forward. */
static int last_read(const struct bg_fast *fast, int tensor)
{
    int last = fast->tensor[tensor].step;

    for (int s = 0; s < fast->steps; s++) {
        const struct bg_integer_step *form = fast->step[s].form;
        if (form->kind == BG_INTEGER_MAX_POOL && form->input == tensor && s > last)
            last = s;
        for (int t = 0; t < form->terms; t++) {
            int time = form->term[t].source == BG_INTEGER_LAYER ? backward_time(fast, s) : s;
            if (form->term[t].input == tensor && time > last)
                last = time;
        }
    }
    return last;
}

static void add_tensor(struct layout *layout, int i)
{
    struct bg_fast *fast = layout->fast;
    struct bg_fast_tensor *tensor = &fast->tensor[i];
    int64_t count = bg_fast_count(fast, i);

    if (tensor->form->real)
        return;
    add(layout, &tensor->codes, count, tensor->step, last_read(fast, i));
    if (fast->step[tensor->step].form->kind == BG_INTEGER_SUM)
        add(layout, &tensor->mask, (count + 7) / 8, tensor->step,
            backward_time(fast, tensor->step));
}

/* When the gradient of a tensor has been read by the step that makes it. */
static int gradient_end(const struct bg_fast *fast, int tensor)
{
    return backward_time(fast, fast->tensor[tensor].step);
}

static void add_term(struct layout *layout, int s, int t)
{
    struct bg_fast *fast = layout->fast;
    struct bg_fast_step *step = &fast->step[s];
    struct bg_fast_term *term = &step->term[t];
    int64_t count = bg_fast_rows(fast, step) * step->form->requant.channels;
    int input = term->form->input, back = backward_time(fast, s);
    bool wanted = fast->tensor[input].needs_gradient;

    if (term->form->source == BG_INTEGER_LAYER) {
        add(layout, &term->z, 2 * count, s, term->norm != NULL ? back : s);
        add(layout, &term->dz, 2 * count, back, back);
    } else if (term->form->source == BG_INTEGER_POOL) {
        add(layout, &term->acc, 4 * count, s, s);
    }
    if (wanted && term->form->source != BG_INTEGER_CODES)
        add(layout, &term->dx, 2 * bg_fast_count(fast, input), back, gradient_end(fast, input));
}

/* The masked gradient of a sum is the gradient of the codes it adds, and lives as long. */
static void add_step(struct layout *layout, int s)
{
    struct bg_fast *fast = layout->fast;
    struct bg_fast_step *step = &fast->step[s];
    int back = backward_time(fast, s), last = back;

    if (step->form->kind == BG_INTEGER_MAX_POOL) {
        int64_t count = bg_fast_count(fast, step->form->output);
        add(layout, &step->where, count, s, back);
        add(layout, &step->total, 2 * count, back, back);
        if (fast->tensor[step->form->input].needs_gradient)
            add(layout, &step->g, 2 * bg_fast_count(fast, step->form->input), back,
                gradient_end(fast, step->form->input));
        return;
    }
    for (int t = 0; t < step->terms; t++) {
        const struct bg_integer_term *form = step->term[t].form;
        add_term(layout, s, t);
        if (form->source == BG_INTEGER_CODES && gradient_end(fast, form->input) > last)
            last = gradient_end(fast, form->input);
    }
    if (step->form->kind == BG_INTEGER_SUM)
        add(layout, &step->g, 2 * bg_fast_rows(fast, step) * step->form->requant.channels, back,
            last);
}

/* Parts of each tensor's gradient, in the order backward makes them. */
static enum bg_status list_gradients(struct bg_fast *fast)
{
    for (int s = fast->steps - 1; s >= 0; s--) {
        struct bg_fast_step *step = &fast->step[s];
        int parts = step->form->kind == BG_INTEGER_MAX_POOL ? 1 : step->terms;
        for (int t = 0; t < parts; t++) {
            bool pool = step->form->kind == BG_INTEGER_MAX_POOL;
            int input = pool ? step->form->input : step->term[t].form->input;
            struct bg_fast_tensor *tensor = &fast->tensor[input];
            bool passed = pool || step->term[t].form->source == BG_INTEGER_CODES;
            if (!tensor->needs_gradient)
                continue;
            if (tensor->gradients == BG_TRAIN_TERMS)
                return bg_fail(BG_E_UNSUPPORTED, "%s is read by more than %d others",
                               tensor->form->name, BG_TRAIN_TERMS);
            if (!pool && step->term[t].conv != NULL)
                tensor->reader[tensor->gradients] = &step->term[t];
            tensor->d[tensor->gradients++] = passed ? step->g : step->term[t].dx;
        }
    }
    return BG_OK;
}

/* What a layer reads is reduced as it is: by a sum, and not flattened in between. */
static bool is_reduced(const struct bg_fast *fast, const struct bg_fast_term *term)
{
    const struct bg_fast_tensor *input = &fast->tensor[term->form->input];

    return term->dx != NULL && fast->step[input->step].form->kind == BG_INTEGER_SUM &&
           term->form->node->input[0]->shape.dims[2] == input->form->shape.dims[2];
}

static enum bg_status bind_seen(struct bg_fast *fast)
{
    enum bg_status rc = BG_OK;

    for (int s = 0; s < fast->steps; s++)
        for (int t = 0; t < fast->step[s].terms; t++) {
            struct bg_fast_term *term = &fast->step[s].term[t];
            int64_t channels = fast->step[s].form->requant.channels;
            int64_t wide = fast->tensor[term->form->input].form->shape.dims[2];
            if (term->conv == NULL)
                continue;
            TRY(bg_arena_alloc(
                fast->arena, &term->seen_dz,
                bg_train_scratch(bg_fast_rows(fast, &fast->step[s]), channels, BG_TRAIN_SEEN),
                sizeof(double)));
            if (is_reduced(fast, term))
                TRY(bg_arena_alloc(fast->arena, &term->seen_dx,
                                   bg_train_scratch(bg_fast_count(fast, term->form->input) / wide,
                                                    wide, BG_TRAIN_SEEN),
                                   sizeof(double)));
        }
out:
    return rc;
}

static void grow(int64_t *largest, int64_t value)
{
    *largest = value > *largest ? value : *largest;
}

/* What observers of a layer's input need; its channels are those that the layer reads. */
static void grow_input(const struct bg_fast *fast, const struct bg_fast_term *term,
                       int64_t *scratch, int64_t *channels)
{
    const int64_t *dims = term->form->node->input[0]->shape.dims;

    grow(scratch,
         bg_train_scratch(fast->options.batch * dims[0] * dims[1], dims[2], BG_TRAIN_SEEN));
    grow(channels, dims[2]);
}

static enum bg_status bind_scratch(struct bg_fast *fast)
{
    enum bg_status rc = BG_OK;
    int64_t scratch = 0, real = 0, channels = 0, widest = 0;

    for (int s = 0; s < fast->steps; s++) {
        const struct bg_fast_step *step = &fast->step[s];
        int64_t wide = step->form->requant.channels;
        int sums = step->terms + 1 > BG_TRAIN_SEEN ? step->terms + 1 : BG_TRAIN_SEEN;
        grow(&scratch, bg_train_scratch(bg_fast_rows(fast, step), wide, sums));
        grow(&widest, wide);
        for (int t = 0; t < step->terms; t++)
            if (step->term[t].conv != NULL)
                grow_input(fast, &step->term[t], &scratch, &channels);
    }
    for (int i = 0; i < fast->tensors; i++)
        grow(&real, bg_fast_count(fast, i));
    TRY(bg_arena_alloc(fast->arena, &fast->scratch, scratch, sizeof(double)));
    TRY(bg_arena_alloc(fast->arena, &fast->room, bg_gradient_scratch(widest), 1));
    TRY(bg_arena_alloc(fast->arena, &fast->real, real, sizeof(float)));
    TRY(bg_arena_alloc(fast->arena, &fast->ones, channels, sizeof(float)));
    for (int64_t c = 0; c < channels; c++)
        fast->ones[c] = 1.0f;
out:
    return rc;
}

enum bg_status bg_fast_bind(struct bg_fast *fast)
{
    enum bg_status rc = BG_OK;
    struct layout layout = {.fast = fast};
    struct bg_buffer *buffers = NULL;
    uint8_t *block = NULL;
    int64_t total = 0;

    TRY(bg_alloc(&layout.slot, 2 * fast->tensors + 16 * (int64_t)fast->steps, sizeof *layout.slot));
    for (int i = 0; i < fast->tensors; i++)
        add_tensor(&layout, i);
    for (int s = 0; s < fast->steps; s++)
        add_step(&layout, s);
    TRY(bg_alloc(&buffers, layout.count, sizeof *buffers));
    for (int i = 0; i < layout.count; i++)
        buffers[i] = layout.slot[i].buffer;
    TRY(bg_memory_plan(buffers, layout.count, &total));
    TRY(bg_arena_alloc(fast->arena, &block, total, 1));
    for (int i = 0; i < layout.count; i++) {
        uint8_t *at = block + buffers[i].offset;
        memcpy(layout.slot[i].target, &at, sizeof at);
    }
    fast->bytes = total;
    TRY(bind_scratch(fast));
    if (fast->options.observe)
        TRY(bind_seen(fast));
    TRY(list_gradients(fast));
out:
    bg_free(buffers);
    bg_free(layout.slot);
    return rc;
}
