/* The description of exported integers as JSON: what export_integer.h says, and the names under
 * which the arrays stand beside it. Numbers that are f32 are written so that they read back as the
 * same f32. */
#include <inttypes.h>
#include <stdio.h>

#include "layers/export_private.h"

static const char *const kind_names[] = {
    [BG_INTEGER_INPUT] = "input", [BG_INTEGER_SUM] = "sum", [BG_INTEGER_MAX_POOL] = "max-pool"};
static const char *const source_names[] = {
    [BG_INTEGER_LAYER] = "layer", [BG_INTEGER_POOL] = "pool", [BG_INTEGER_CODES] = "codes"};

const char *bg_export_step_name(char out[BG_EXPORT_NAME_MAX], int step, int term, const char *what)
{
    if (term < 0)
        (void)snprintf(out, BG_EXPORT_NAME_MAX, "step%03d/%s", step, what);
    else
        (void)snprintf(out, BG_EXPORT_NAME_MAX, "step%03d/term%d/%s", step, term, what);
    return out;
}

const char *bg_export_golden_name(char out[BG_EXPORT_NAME_MAX], int tensor)
{
    (void)snprintf(out, BG_EXPORT_NAME_MAX, "golden/tensor%03d", tensor);
    return out;
}

/* The input is the first node of every graph. */
const struct bg_sample_spec *bg_export_input(const struct bg_integer_model *model)
{
    return bg_node_sample_spec(bg_graph_node(model->graph, 0));
}

/* "key": "value", */
static void add_text(struct bg_text *out, const char *key, const char *value)
{
    bg_text_add(out, "\"%s\": ", key);
    bg_text_add_json(out, value);
    bg_text_add(out, ", ");
}

static void add_integer(struct bg_text *out, const char *key, int64_t value)
{
    bg_text_add(out, "\"%s\": %" PRId64 ", ", key, value);
}

static void add_real(struct bg_text *out, const char *key, float value)
{
    char text[32];
    bg_text_real(text, (double)value);
    bg_text_add(out, "\"%s\": %s, ", key, text);
}

static void add_list(struct bg_text *out, const char *key, const int64_t *values, int count)
{
    bg_text_add(out, "\"%s\": [", key);
    for (int i = 0; i < count; i++)
        bg_text_add(out, "%s%" PRId64, i ? ", " : "", values[i]);
    bg_text_add(out, "], ");
}

/* The name of an array, when there is one. */
static void add_array(struct bg_text *out, int step, int term, const char *what, const void *data)
{
    char name[BG_EXPORT_NAME_MAX];
    if (data)
        add_text(out, what, bg_export_step_name(name, step, term, what));
}

/* Every object ends with a member that is always there, so that none ends with a comma. */
static void add_input(struct bg_text *out, const struct bg_sample_spec *spec)
{
    bg_text_add(out, "\"input\": {");
    add_list(out, "shape", (const int64_t[]){spec->height, spec->width, spec->channels}, 3);
    if (spec->dtype == BG_U8) {
        add_real(out, "scale", spec->scale);
        add_integer(out, "zero_point", spec->zero_point);
    }
    bg_text_add(out, "\"dtype\": \"%s\"},\n", bg_dtype_name(spec->dtype));
}

static void add_tensor(struct bg_text *out, const struct bg_integer_tensor *tensor, int index)
{
    char name[BG_EXPORT_NAME_MAX];
    bg_text_add(out, "  {");
    add_text(out, "name", tensor->name);
    add_list(out, "shape", tensor->shape.dims, 3);
    bg_text_add(out, "\"real\": %s, ", tensor->real ? "true" : "false");
    if (!tensor->real) {
        bg_text_add(out, "\"inner\": %s, ", tensor->inner ? "true" : "false");
        add_integer(out, "bits", tensor->bits);
        add_real(out, "scale", tensor->scale);
        add_integer(out, "zero_point", tensor->zero_point);
        add_integer(out, "qmin", tensor->qmin);
        add_integer(out, "qmax", tensor->qmax);
    }
    bg_text_add(out, "\"golden\": \"%s\"}", bg_export_golden_name(name, index));
}

static void add_conv(struct bg_text *out, const struct bg_conv_shape *conv)
{
    bg_text_add(out, "\"conv\": {");
    add_integer(out, "in_height", conv->in_height);
    add_integer(out, "in_width", conv->in_width);
    add_integer(out, "in_channels", conv->in_channels);
    add_integer(out, "out_height", conv->out_height);
    add_integer(out, "out_width", conv->out_width);
    add_integer(out, "out_channels", conv->out_channels);
    add_list(out, "kernel", (const int64_t[]){conv->kernel_height, conv->kernel_width}, 2);
    add_list(out, "stride", conv->stride, 2);
    add_list(out, "padding", conv->padding, 2);
    add_list(out, "dilation", conv->dilation, 2);
    bg_text_add(out, "\"groups\": %" PRId64 "}, ", conv->groups);
}

static void add_pool(struct bg_text *out, const struct bg_pool_shape *pool)
{
    bg_text_add(out, "\"pool\": {");
    add_integer(out, "in_height", pool->in_height);
    add_integer(out, "in_width", pool->in_width);
    add_integer(out, "channels", pool->channels);
    add_integer(out, "out_height", pool->out_height);
    add_integer(out, "out_width", pool->out_width);
    add_list(out, "kernel", pool->kernel, 2);
    add_list(out, "stride", pool->stride, 2);
    bg_text_add(out, "\"padding\": [%" PRId64 ", %" PRId64 "]}, ", pool->padding[0],
                pool->padding[1]);
}

static void add_term(struct bg_text *out, const struct bg_integer_step *step, int s, int t)
{
    const struct bg_integer_term *term = &step->term[t];
    const struct bg_requant_term *numbers = &step->requant.term[t];
    bg_text_add(out, "%s\n    {", t ? "," : "");
    add_text(out, "source", source_names[term->source]);
    add_text(out, "name", bg_node_name(term->node));
    if (term->source == BG_INTEGER_LAYER) {
        add_conv(out, &term->conv);
        add_array(out, s, t, "weights", term->weights);
    } else if (term->source == BG_INTEGER_POOL) {
        add_pool(out, &term->pool);
    }
    add_array(out, s, t, "m", numbers->m);
    add_array(out, s, t, "c", numbers->c);
    add_array(out, s, t, "bias", numbers->bias);
    add_array(out, s, t, "multiplier", numbers->multiplier);
    add_array(out, s, t, "shift", numbers->shift);
    add_integer(out, "bound", numbers->bound);
    bg_text_add(out, "\"input\": %d}", term->input);
}

static void add_sum(struct bg_text *out, const struct bg_integer_model *model, int s)
{
    const struct bg_integer_step *step = &model->step[s];
    if (!model->tensor[step->output].real) {
        add_integer(out, "zero_point", step->requant.zero_point);
        add_integer(out, "lo", step->requant.lo);
        add_integer(out, "hi", step->requant.hi);
    }
    add_array(out, s, -1, "shift", step->requant.shift);
    bg_text_add(out, "\"terms\": [");
    for (int t = 0; t < step->terms; t++)
        add_term(out, step, s, t);
    bg_text_add(out, "], ");
}

static void add_step(struct bg_text *out, const struct bg_integer_model *model, int s)
{
    const struct bg_integer_step *step = &model->step[s];
    bg_text_add(out, "  {");
    add_text(out, "kind", kind_names[step->kind]);
    add_text(out, "name", step->name);
    if (step->kind == BG_INTEGER_INPUT) {
        add_array(out, s, -1, "table", step->table);
    } else if (step->kind == BG_INTEGER_SUM) {
        add_integer(out, "channel", step->channel);
        add_integer(out, "channels", step->requant.channels);
        add_sum(out, model, s);
    } else {
        add_integer(out, "channel", step->channel);
        add_integer(out, "channels", step->pool.channels);
        add_integer(out, "input", step->input);
        add_pool(out, &step->pool);
    }
    bg_text_add(out, "\"output\": %d}", step->output);
}

void bg_export_describe(const struct bg_integer_model *model, const char *network_name,
                        int64_t samples, struct bg_text *out)
{
    bg_text_add(out, "{\"format\": \"bitgrad-integers\", \"version\": %d,\n", BG_EXPORT_VERSION);
    add_text(out, "network", network_name);
    add_text(out, "requant", bg_requant_mode_name(model->mode));
    bg_text_add(out, "\n");
    add_input(out, bg_export_input(model));
    bg_text_add(out, "\"tensors\": [");
    for (int i = 0; i < model->tensors; i++) {
        bg_text_add(out, "%s\n", i ? "," : "");
        add_tensor(out, &model->tensor[i], i);
    }
    bg_text_add(out, "],\n\"steps\": [");
    for (int s = 0; s < model->steps; s++) {
        bg_text_add(out, "%s\n", s ? "," : "");
        add_step(out, model, s);
    }
    bg_text_add(out,
                "],\n\"golden\": {\"count\": %" PRId64 ", \"input\": \"" BG_EXPORT_GOLDEN_INPUT
                "\", \"labels\": \"" BG_EXPORT_GOLDEN_LABELS "\"}}\n",
                samples);
}
