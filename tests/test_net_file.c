/* A network's state in files and snapshots: what is saved comes back, and a file that does not fit
 * changes nothing. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/h5.h"
#include "core/log.h"
#include "core/mem.h"
#include "layers/net.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

static char folder[64];
static char path[BG_PATH_MAX];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/bg-net-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    OK(bg_path_join(path, folder, "net.h5"));
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert(system(command) == 0);
}

static struct bg_net *make(const char *section)
{
    static const struct bg_sample_spec spec = {
        .height = 2, .width = 3, .channels = 1, .classes = 3, .dtype = BG_F32, .scale = 1};
    struct bg_document *document = NULL;
    struct bg_net *net = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    OK(bg_yaml_parse_text(&document, "t", section, strlen(section)));
    OK(bg_net_create(&net, bg_document_root(document), &spec, BG_LOSS_CROSS_ENTROPY, 0, &errors));
    bg_document_free(document);
    bg_text_free(&errors);
    return net;
}

static const char norm_net[] = "{name: mlp, hidden: [4], batch_norm: true}";

/* Every number of the network becomes a different one, by `seed`. */
static void scramble(struct bg_net *net, int seed)
{
    for (int i = 0; i < bg_graph_param_count(net->graph); i++) {
        struct bg_param *param = bg_graph_param(net->graph, i);
        for (int64_t k = 0; k < bg_tensor_count(&param->value); k++) {
            bg_f32(&param->value)[k] = (float)(seed + i + 1) + (float)k / 64;
            if (param->state.data)
                bg_f32(&param->state)[k] = (float)(seed - i) - (float)k / 64;
        }
    }
    for (int i = 0; i < bg_graph_quantizer_count(net->graph); i++) {
        struct bg_quantizer *q = bg_graph_quantizer(net->graph, i);
        q->observed = seed + i;
        if (q->target == BG_TARGET_ACTIVATION)
            q->grid.zero_point = q->grid.qmin + seed % 3;
        for (int64_t c = 0; c < q->grid.channels; c++) {
            q->grid.scale[c] = (float)(seed + i + 1) / 32 + (float)c;
            q->lo[c] = (float)-seed - (float)c;
            q->hi[c] = (float)seed + (float)c;
        }
    }
}

/* A range method that stores nothing but is one; `learned` gives step parameters. */
static enum bg_status observe(const void *options, struct bg_quantizer *quantizer, int64_t channel,
                              const float *x, int64_t n)
{
    (void)options;
    quantizer->lo[channel] = quantizer->hi[channel] = n > 0 ? x[0] : 0;
    return BG_OK;
}

static const struct bg_range_method plain = {.name = "plain", .observe = observe};
static const struct bg_range_method learned = {
    .name = "learned", .observe = observe, .learned = true};

static void quantize(struct bg_net *net, int bits, const struct bg_range_method *method)
{
    struct bg_plan plan;
    const struct bg_quantize_options options = {.weight_range = method, .activation_range = method};
    OK(bg_net_plan(net, bits, 8, &plan));
    OK(bg_graph_quantize(net->graph, &plan, &options));
    bg_plan_free(&plan);
}

static void save(const struct bg_net *net)
{
    struct bg_h5 *file = NULL;
    OK(bg_h5_create(&file, path));
    OK(bg_net_save(net, file));
    OK(bg_h5_close(file));
}

static enum bg_status load(struct bg_net *net)
{
    struct bg_h5 *file = NULL;
    OK(bg_h5_open(&file, path));
    enum bg_status rc = bg_net_load(net, file);
    OK(bg_h5_close(file));
    return rc;
}

static bool floats_equal(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

static bool nets_equal(const struct bg_net *a, const struct bg_net *b)
{
    int params = bg_graph_param_count(a->graph), quantizers = bg_graph_quantizer_count(a->graph);
    if (params != bg_graph_param_count(b->graph) ||
        quantizers != bg_graph_quantizer_count(b->graph))
        return false;
    for (int i = 0; i < params; i++) {
        const struct bg_param *x = bg_graph_param(a->graph, i), *y = bg_graph_param(b->graph, i);
        int64_t n = bg_tensor_count(&x->value);
        if (strcmp(x->name, y->name) != 0 || !floats_equal(x->value.data, y->value.data, n) ||
            (x->state.data && !floats_equal(x->state.data, y->state.data, n)))
            return false;
    }
    for (int i = 0; i < quantizers; i++) {
        const struct bg_quantizer *x = bg_graph_quantizer(a->graph, i);
        const struct bg_quantizer *y = bg_graph_quantizer(b->graph, i);
        int64_t n = x->grid.channels;
        if (strcmp(x->name, y->name) != 0 || x->observed != y->observed ||
            x->grid.zero_point != y->grid.zero_point || !floats_equal(x->lo, y->lo, n) ||
            !floats_equal(x->hi, y->hi, n) || !floats_equal(x->grid.scale, y->grid.scale, n))
            return false;
    }
    return true;
}

Test(net_file, everything_comes_back, .init = make_folder, .fini = remove_folder)
{
    static const struct bg_range_method *const methods[] = {NULL, &plain, &learned};
    for (int i = 0; i < 3; i++) {
        struct bg_net *from = make(norm_net), *to = make(norm_net);
        if (methods[i]) {
            quantize(from, 4, methods[i]);
            quantize(to, 4, methods[i]);
        }
        scramble(from, 5);
        scramble(to, 9);
        cr_assert(bg_graph_quantizer_count(to->graph) == (i ? 4 : 0), "two layers, two inputs");
        save(from);
        uint64_t version = bg_graph_param(to->graph, 0)->version;
        cr_assert(!nets_equal(from, to));
        OK(load(to));
        cr_assert(nets_equal(from, to), "method %d", i);
        cr_assert(bg_graph_param(to->graph, 0)->version > version, "packed copies must be renewed");
        bg_net_destroy(from);
        bg_net_destroy(to);
    }
}

Test(net_file, a_file_of_another_plan_or_network_changes_nothing, .init = make_folder,
     .fini = remove_folder)
{
    static const struct {
        const char *section;
        int bits;
        const char *part;
    } cases[] = {
        {"{name: mlp, hidden: [5], batch_norm: true}", 4, "fc1.weight"},
        {"{name: mlp, hidden: [4]}", 4, "fc1.bias: network mlp has no such parameter"},
        {"{name: mlp, hidden: [4, 4], batch_norm: true}", 4,
         "fc2.bn.beta: network mlp has no such parameter"},
        {"{name: mlp, hidden: [4], batch_norm: true}", 5, "bits is 5 in the file, 4"},
        {"{name: mlp, hidden: [4], batch_norm: true}", 0, "the file holds no such grid"},
    };
    struct bg_net *net = make(norm_net), *before = make(norm_net);
    quantize(net, 4, &plain);
    quantize(before, 4, &plain);
    scramble(net, 3);
    scramble(before, 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bg_net *other = make(cases[i].section);
        if (cases[i].bits)
            quantize(other, cases[i].bits, &plain);
        scramble(other, 7);
        save(other);
        cr_assert(load(net) != BG_OK, "case %zu", i);
        cr_assert(strstr(bg_error(), cases[i].part) != NULL, "case %zu: %s", i, bg_error());
        cr_assert(nets_equal(net, before), "case %zu", i);
        bg_net_destroy(other);
    }
    /* the other way round is fine: an f32 network reads the masters of a quantized one */
    struct bg_net *plain_net = make(norm_net);
    quantize(before, 4, &learned);
    scramble(before, 4);
    save(before);
    OK(load(plain_net));
    const char name[] = "fc1.weight";
    cr_assert(floats_equal(bg_graph_param_find(plain_net->graph, name)->value.data,
                           bg_graph_param_find(before->graph, name)->value.data, 24));
    bg_net_destroy(plain_net);
    bg_net_destroy(net);
    bg_net_destroy(before);
}

/* Saves `net` after one number was spoiled, and expects the load to fail by name. */
static void expect_bad_number(struct bg_net *net, float *number, float value, const char *part)
{
    float good = *number;
    struct bg_net *to = make(norm_net), *before = make(norm_net);
    quantize(to, 4, &plain);
    quantize(before, 4, &plain);
    *number = value;
    save(net);
    *number = good;
    cr_assert_eq(load(to), BG_E_DATA, "%s", part);
    cr_assert(strstr(bg_error(), part) != NULL, "\"%s\" lacks \"%s\"", bg_error(), part);
    cr_assert(nets_equal(to, before));
    bg_net_destroy(to);
    bg_net_destroy(before);
}

Test(net_file, numbers_that_no_training_makes_are_refused, .init = make_folder,
     .fini = remove_folder)
{
    struct bg_net *net = make(norm_net);
    quantize(net, 4, &plain);
    scramble(net, 2);
    struct bg_quantizer *q = bg_graph_quantizer(net->graph, 0);
    expect_bad_number(net, bg_f32(&bg_graph_param_find(net->graph, "fc2.weight")->value) + 7, NAN,
                      "fc2.weight: value 7 is not finite");
    expect_bad_number(net, bg_f32(&bg_graph_param_find(net->graph, "fc2.bias")->state) + 1,
                      INFINITY, "fc2.bias: value 1 is not finite");
    for (int i = 0; i < bg_graph_param_count(net->graph); i++) {
        struct bg_param *param = bg_graph_param(net->graph, i);
        if (param->kind == BG_PARAM_RUNNING_VAR)
            expect_bad_number(net, bg_f32(&param->value), -1, "variance 0 is -1, limit is 0");
    }
    expect_bad_number(net, q->grid.scale, 0, "scale 0 is 0, must be finite and above 0");
    expect_bad_number(net, q->grid.scale, NAN, "scale 0 is nan, must be finite and above 0");
    expect_bad_number(net, q->hi, NAN, "range 0 is");
    q->grid.zero_point = 1 << 20;
    expect_bad_number(net, q->lo, 0, "zero_point 1048576, limits are");
    bg_net_destroy(net);
}

Test(net_file, damaged_files_change_nothing, .init = make_folder, .fini = remove_folder)
{
    struct bg_net *net = make(norm_net), *before = make(norm_net);
    char *bytes = NULL, damaged[BG_PATH_MAX];
    size_t length = 0;
    scramble(net, 2);
    save(net);
    scramble(net, 8);
    scramble(before, 8);
    OK(bg_file_read(path, 1 << 20, &bytes, &length));
    OK(bg_path_join(damaged, folder, "damaged.h5"));
    int refused = 0;
    for (size_t at = 0; at < length; at += length / 40) {
        struct bg_h5 *file = NULL;
        bytes[at] = (char)(bytes[at] ^ 0x10);
        OK(bg_file_write(damaged, bytes, length));
        bytes[at] = (char)(bytes[at] ^ 0x10);
        enum bg_status rc = bg_h5_open(&file, damaged);
        if (rc == BG_OK)
            rc = bg_net_load(net, file);
        if (file)
            (void)!bg_h5_close(file);
        if (rc != BG_OK) {
            refused++;
            cr_assert(bg_error()[0] != '\0');
            cr_assert(nets_equal(net, before), "byte %zu", at);
        }
        scramble(net, 8);
    }
    cr_assert(refused > 0);
    OK(bg_file_write(damaged, bytes, length / 2));
    struct bg_h5 *file = NULL;
    cr_assert(bg_h5_open(&file, damaged) != BG_OK);
    bg_free(bytes);
    bg_net_destroy(net);
    bg_net_destroy(before);
}

Test(snapshot, goes_back_and_leaves_other_plans_alone)
{
    struct bg_net *net = make(norm_net), *same = make(norm_net);
    struct bg_snapshot *snapshot = NULL;
    quantize(net, 4, &learned);
    quantize(same, 4, &learned);
    scramble(net, 6);
    scramble(same, 6);
    OK(bg_net_snapshot(net, &snapshot));
    scramble(net, 1);
    OK(bg_net_restore(net, snapshot));
    cr_assert(nets_equal(net, same));
    /* under other weight bits: values come back, weight grids and their steps stay */
    quantize(net, 3, &learned);
    scramble(net, 1);
    const struct bg_param *step = bg_graph_param_find(net->graph, "fc1.weight.step");
    cr_assert_not_null(step);
    float kept = bg_f32(&step->value)[0];
    OK(bg_net_restore(net, snapshot));
    cr_assert(bg_f32(&step->value)[0] == kept);
    const struct bg_param *x = bg_graph_param_find(net->graph, "fc2.weight");
    const struct bg_param *y = bg_graph_param_find(same->graph, "fc2.weight");
    cr_assert(floats_equal(x->value.data, y->value.data, 12));
    cr_assert(floats_equal(x->state.data, y->state.data, 12));
    for (int i = 0; i < bg_graph_quantizer_count(net->graph); i++) {
        const struct bg_quantizer *a = bg_graph_quantizer(net->graph, i);
        const struct bg_quantizer *b = bg_graph_quantizer(same->graph, i);
        bool weight = a->target == BG_TARGET_WEIGHT;
        cr_assert((a->observed == b->observed) != weight, "%s", a->name);
    }
    /* without a plan: values alone */
    OK(bg_graph_quantize(net->graph, NULL, NULL));
    scramble(net, 1);
    OK(bg_net_restore(net, snapshot));
    x = bg_graph_param_find(net->graph, "fc2.weight");
    cr_assert(floats_equal(x->value.data, y->value.data, 12));
    struct bg_net *other = make("{name: mlp, hidden: [5], batch_norm: true}");
    cr_assert_eq(bg_net_restore(other, snapshot), BG_E_MISMATCH);
    cr_assert_str_eq(bg_error(), "fc1.weight is 4x6 in the snapshot, 5x6 in the network");
    bg_snapshot_free(snapshot);
    bg_snapshot_free(NULL);
    bg_net_destroy(net);
    bg_net_destroy(same);
    bg_net_destroy(other);
}

struct heard {
    int warnings;
    char text[1024];
};

static void hear(void *self, enum bg_level level, const char *text)
{
    struct heard *heard = self;
    heard->warnings += level == BG_LOG_WARN;
    size_t used = strlen(heard->text);
    snprintf(heard->text + used, sizeof heard->text - used, "%s\n", text);
}

Test(weights, come_from_npz_arrays_by_name)
{
    static const char file[] = "tests/data/e_weights.npz";
    struct heard heard = {.warnings = 0};
    const struct bg_log_sink sink = {.self = &heard, .message = hear};
    struct bg_net *net = make("{name: mlp, hidden: [4]}");
    scramble(net, 3);
    float bias = bg_f32(&bg_graph_param_find(net->graph, "fc2.bias")->value)[0];
    bg_log_set(&sink);
    OK(bg_net_load_weights(net, file));
    bg_log_set(NULL);
    const struct bg_param *w = bg_graph_param_find(net->graph, "fc1.weight");
    for (int i = 0; i < 24; i++)
        cr_assert(bg_f32(&w->value)[i] == (float)i / 8 - 1);
    w = bg_graph_param_find(net->graph, "fc2.weight");
    for (int i = 0; i < 12; i++)
        cr_assert(bg_f32(&w->value)[i] == (float)(i - 8));
    cr_assert(bg_f32(&bg_graph_param_find(net->graph, "fc1.bias")->value)[3] == -0.625f);
    cr_assert(bg_f32(&bg_graph_param_find(net->graph, "fc2.bias")->value)[0] == bias);
    cr_assert_eq(heard.warnings, 1);
    cr_assert_str_eq(heard.text,
                     "tests/data/e_weights.npz: no array for fc2.bias, it keeps its initial value\n"
                     "tests/data/e_weights.npz: 3 of 4 parameters taken\n");
    bg_net_destroy(net);

    static const char *const cases[][2] = {
        {"{name: mlp, hidden: [5]}",
         "tests/data/e_weights.npz: array fc1.weight is 4x6, parameter fc1.weight of network mlp "
         "is 5x6"},
        {"{name: mlp, hidden: []}",
         "tests/data/e_weights.npz: array fc1.weight is 4x6, parameter fc1.weight of network mlp "
         "is 3x6"},
        {"{layers: [{linear: {name: fc1, out: 4}}, {linear: {name: fc3, out: 3}}]}",
         "tests/data/e_weights.npz: array fc2.weight: network custom has no such parameter, did "
         "you mean fc1.weight?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bg_net *other = make(cases[i][0]), *before = make(cases[i][0]);
        cr_assert_eq(bg_net_load_weights(other, file), BG_E_DATA);
        cr_assert_str_eq(bg_error(), cases[i][1]);
        cr_assert(nets_equal(other, before));
        bg_net_destroy(other);
        bg_net_destroy(before);
    }
}

Test(weights, come_from_checkpoints, .init = make_folder, .fini = remove_folder)
{
    struct bg_net *from = make(norm_net), *to = make(norm_net);
    quantize(from, 4, &learned);
    scramble(from, 5);
    save(from);
    scramble(to, 1);
    OK(bg_net_load_weights(to, path));
    const struct bg_param *x = bg_graph_param_find(from->graph, "fc1.weight");
    const struct bg_param *y = bg_graph_param_find(to->graph, "fc1.weight");
    cr_assert(floats_equal(x->value.data, y->value.data, 24));
    cr_assert(!floats_equal(x->state.data, y->state.data, 24), "momentum is not taken over");
    bg_net_destroy(from);
    bg_net_destroy(to);
    to = make("{name: mlp, hidden: [4]}");
    cr_assert(bg_net_load_weights(to, path) != BG_OK);
    cr_assert(strstr(bg_error(), path) && strstr(bg_error(), "network mlp has no such parameter"),
              "%s", bg_error());
    cr_assert_eq(bg_net_load_weights(to, "weights.pt"), BG_E_UNSUPPORTED);
    cr_assert(bg_net_load_weights(to, "/nonexistent.npz") != BG_OK);
    cr_assert(bg_net_load_weights(to, "/nonexistent.h5") != BG_OK);
    bg_net_destroy(to);
}
