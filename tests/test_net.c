/* Networks from recipes: the named ones, inline lists, every error with its place, costs, plans. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "layers/net.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

static const struct bg_sample_spec fashion = {
    .height = 28, .width = 28, .channels = 1, .classes = 10, .dtype = BG_U8, .scale = 0.01f};
static const struct bg_sample_spec cifar = {
    .height = 32, .width = 32, .channels = 3, .classes = 10, .dtype = BG_U8, .scale = 0.01f};

static enum bg_status build(struct bg_net **out, const char *text,
                            const struct bg_sample_spec *spec, struct bg_text *errors)
{
    struct bg_document *document = NULL;
    OK(bg_yaml_parse_text(&document, "recipe.yaml", text, strlen(text)));
    enum bg_status rc = bg_net_create(out, bg_yaml_get(bg_document_root(document), "network"), spec,
                                      BG_LOSS_CROSS_ENTROPY, 0, errors);
    bg_document_free(document);
    return rc;
}

static struct bg_net *make(const char *text, const struct bg_sample_spec *spec)
{
    struct bg_net *net = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    enum bg_status rc = build(&net, text, spec, &errors);
    cr_assert(rc == BG_OK, "%s\n%s", bg_error(), bg_text_string(&errors));
    bg_text_free(&errors);
    return net;
}

/* `lines` are the recipe errors; when NULL, `sentence` is the whole error. */
static void expect_error(const char *text, const char *lines, const char *sentence)
{
    struct bg_net *net = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    enum bg_status rc = build(&net, text, &fashion, &errors);
    cr_assert(rc != BG_OK && net == NULL, "accepted: %s", text);
    if (lines) {
        cr_assert_eq(rc, BG_E_DATA);
        cr_assert_str_eq(bg_text_string(&errors), lines);
    } else {
        cr_assert_str_eq(bg_error(), sentence);
    }
    bg_text_free(&errors);
}

static int64_t count_params(const struct bg_net *net)
{
    int64_t count = 0;
    for (int i = 0; i < bg_graph_param_count(net->graph); i++) {
        const struct bg_param *param = bg_graph_param(net->graph, i);
        count += bg_param_trainable(param) ? bg_tensor_count(&param->value) : 0;
    }
    return count;
}

Test(net, lenet5_has_its_published_size)
{
    static const char *const names[] = {"conv1", "conv2", "fc1", "fc2", "fc3"};
    /* 5*5*1*6+6, 5*5*6*16+16, 400*120+120, 120*84+84, 84*10+10 */
    static const int64_t params[] = {156, 2416, 48120, 10164, 850};
    /* 28*28*150, 10*10*2400, and the weights of the linear layers */
    static const int64_t macs[] = {117600, 240000, 48000, 10080, 840};
    struct bg_net *net = make("network: {name: lenet5}", &fashion);
    struct bg_net_cost cost;
    cr_assert_str_eq(net->name, "lenet5");
    cr_assert_eq(bg_graph_layer_count(net->graph), 5);
    OK(bg_net_cost(net, NULL, &cost));
    for (int i = 0; i < 5; i++) {
        cr_assert_str_eq(bg_node_name(bg_graph_layer(net->graph, i)), names[i]);
        cr_assert_eq(cost.layer[i].weights + cost.layer[i].other_params, params[i]);
        cr_assert_eq(cost.layer[i].macs, macs[i]);
    }
    cr_assert_eq(cost.params, 61706);
    cr_assert_eq(cost.macs, 416520);
    cr_assert_float_eq(cost.bytes, 4 * 61706.0, 0);
    cr_assert_float_eq(cost.mean_weight_bits, 32, 0);
    bg_net_cost_free(&cost);
    bg_net_destroy(net);
}

Test(net, costs_follow_the_plan_as_computed_by_hand)
{
    struct bg_net *net = make("network: {name: lenet5}", &fashion);
    struct bg_net_cost cost;
    struct bg_plan plan;
    OK(bg_net_plan(net, 4, 8, &plan));
    bg_plan_find(&plan, "conv1")->spec[BG_ROLE_WEIGHT].bits = 8;
    bg_plan_find(&plan, "fc3")->spec[BG_ROLE_ACTIVATION] =
        (struct bg_spec){.format = BG_FORMAT_F32};
    OK(bg_net_cost(net, &plan, &cost));
    /* weights 150, 2400, 48000, 10080, 840; biases 6, 16, 120, 84, 10 at 4 bytes */
    cr_assert_float_eq(cost.layer[0].bytes, 150 + 24, 0);
    cr_assert_float_eq(cost.layer[1].bytes, 1200 + 64, 0);
    cr_assert_float_eq(cost.bytes, 150 + 1200 + 24000 + 5040 + 420 + 4 * 236, 0);
    cr_assert_float_eq(cost.mean_weight_bits, (150 * 8 + (61470 - 150) * 4) / 61470.0, 1e-12);
    cr_assert_float_eq(cost.layer[0].bops_hawq, 117600.0 * 64, 0);
    cr_assert_float_eq(cost.layer[4].bops_hawq, 840.0 * 4 * 32, 0);
    double hawq = 117600.0 * 64 + (240000.0 + 48000 + 10080) * 32 + 840.0 * 128;
    cr_assert_float_eq(cost.bops_hawq, hawq, 0);
    /* n*k*k = 25, 150, 400, 120, 84; products of 53-bit numbers, relative error below 1e-12 */
    double detailed = 117600 * (64 + 16 + log2(25)) + 240000 * (32 + 12 + log2(150)) +
                      48000 * (32 + 12 + log2(400)) + 10080 * (32 + 12 + log2(120)) +
                      840 * (128 + 36 + log2(84));
    cr_assert_float_eq(cost.bops_detailed / detailed, 1, 1e-12);
    bg_net_cost_free(&cost);
    struct bg_plan other;
    const char *only[] = {"conv1"};
    OK(bg_plan_make(&other, only, 1));
    cr_assert_eq(bg_net_cost(net, &other, &cost), BG_E_MISMATCH);
    cr_assert_str_eq(bg_error(), "the plan has no layer conv2");
    bg_plan_free(&other);
    cr_assert_eq(bg_net_plan(net, 17, 8, &other), BG_E_RANGE);
    cr_assert_not_null(strstr(bg_error(), "17 weight and 8 activation bits"));
    bg_plan_free(&other);
    bg_plan_free(&plan);
    bg_net_destroy(net);
}

/* Parameters of a CIFAR resnet with 1x1 shortcuts, from the layer sizes alone. */
static int64_t resnet_params(int depth, int64_t width, int64_t channels)
{
    int64_t blocks = (depth - 2) / 6, sum = 9 * channels * width + 2 * width, in = width;
    for (int stage = 0; stage < 3; stage++) {
        int64_t out = width << stage;
        for (int64_t b = 0; b < blocks; b++, in = out) {
            sum += 9 * in * out + 2 * out + 9 * out * out + 2 * out;
            if (in != out)
                sum += in * out + 2 * out;
        }
    }
    return sum + in * 10 + 10;
}

Test(net, resnets_have_the_right_sizes)
{
    static const int depths[] = {8, 14, 20, 32};
    for (int i = 0; i < 4; i++) {
        char text[64], name[64];
        struct bg_net_cost cost;
        snprintf(text, sizeof text, "network: {name: resnet, depth: %d}", depths[i]);
        snprintf(name, sizeof name, "resnet%d", depths[i]);
        struct bg_net *net = make(text, &cifar);
        cr_assert_str_eq(net->name, name);
        cr_assert_eq(bg_graph_layer_count(net->graph), depths[i] + 2);
        cr_assert_eq(count_params(net), resnet_params(depths[i], 16, 3));
        OK(bg_net_cost(net, NULL, &cost));
        cr_assert_eq(cost.params, resnet_params(depths[i], 16, 3));
        bg_net_cost_free(&cost);
        bg_net_destroy(net);
    }
    /* 269,722 of the version with padded identities, and 16*32 + 64 + 32*64 + 128 of two shortcuts
     */
    cr_assert_eq(resnet_params(20, 16, 3), 269722 + 2752);
    struct bg_net *net = make("network: {name: resnet, depth: 8, width: 4}", &fashion);
    cr_assert_eq(count_params(net), resnet_params(8, 4, 1));
    cr_assert_eq(bg_node_shape(bg_graph_find(net->graph, "s3b1.relu2"))->dims[0], 7);
    cr_assert_not_null(bg_graph_param_find(net->graph, "s2b1.shortcut.bn.gamma"));
    cr_assert_null(bg_graph_param_find(net->graph, "conv1.bias"));
    bg_net_destroy(net);
}

/* Parameters and MACs of a vgg-small from the layer sizes alone. */
static void vgg_size(int64_t width, int64_t convs, const struct bg_sample_spec *spec,
                     int64_t *params, int64_t *macs)
{
    int64_t in = spec->channels, h = spec->height, w = spec->width;
    *params = *macs = 0;
    for (int stage = 0; stage < 3; stage++, h /= 2, w /= 2)
        for (int64_t i = 0; i < convs; i++, in = width << stage) {
            *params += 9 * in * (width << stage) + 2 * (width << stage);
            *macs += h * w * 9 * in * (width << stage);
        }
    *params += h * w * in * 10 + 10;
    *macs += h * w * in * 10;
}

/* As vgg_size: width and stride of the stem and the first five blocks, more are like the last. */
static void mobilenet_size(int64_t width, int depth, const struct bg_sample_spec *spec,
                           int64_t *params, int64_t *macs)
{
    static const int64_t times[] = {2, 4, 4, 8, 8}, stride[] = {1, 2, 1, 2, 1};
    int64_t in = width, h = spec->height, w = spec->width;
    *params = 9 * spec->channels * width + 2 * width;
    *macs = h * w * 9 * spec->channels * width;
    for (int i = 0; i < depth; i++) {
        int64_t out = width * times[i < 5 ? i : 4], s = i < 5 ? stride[i] : 1;
        h /= s;
        w /= s;
        *params += 9 * in + 2 * in + in * out + 2 * out;
        *macs += h * w * (9 * in + in * out);
        in = out;
    }
    *params += in * 10 + 10;
    *macs += in * 10;
}

static void expect_size(const char *text, const struct bg_sample_spec *spec, const char *title,
                        const int64_t size[3]) /* layers, parameters, MACs */
{
    struct bg_net_cost cost;
    struct bg_net *net = make(text, spec);
    cr_assert_str_eq(net->name, title);
    OK(bg_net_cost(net, NULL, &cost));
    cr_assert_eq(cost.layers, size[0], "%s: %d layers", text, cost.layers);
    cr_assert_eq(cost.params, size[1], "%s: %lld parameters", text, (long long)cost.params);
    cr_assert_eq(cost.macs, size[2], "%s: %lld MACs", text, (long long)cost.macs);
    cr_assert_eq(count_params(net), size[1]);
    bg_net_cost_free(&cost);
    bg_net_destroy(net);
}

Test(net, vgg_small_has_the_size_of_its_stages)
{
    static const struct {
        int64_t width, convs;
    } cases[] = {{32, 2}, {8, 1}, {5, 3}};
    for (int k = 0; k < 6; k++) {
        const struct bg_sample_spec *spec = k % 2 ? &cifar : &fashion;
        int64_t width = cases[k / 2].width, convs = cases[k / 2].convs, size[3] = {3 * convs + 1};
        char text[96] = "network: {name: vgg-small}";
        if (k > 1)
            snprintf(text, sizeof text, "network: {name: vgg-small, width: %d, convs: %d}",
                     (int)width, (int)convs);
        vgg_size(width, convs, spec, &size[1], &size[2]);
        expect_size(text, spec, "vgg-small", size);
    }
    /* by hand: 225792 + 7225344 + 3612672 + 7225344 + 3612672 + 7225344 + 11520 */
    expect_size("network: {name: vgg-small}", &fashion, "vgg-small",
                (const int64_t[]){7, 298410, 29138688});
    struct bg_net *net = make("network: {name: vgg-small}", &fashion);
    cr_assert_eq(bg_node_shape(bg_graph_find(net->graph, "s3.pool"))->dims[0], 3);
    cr_assert_str_eq(bg_node_op(bg_graph_find(net->graph, "s2.relu2")), "relu");
    cr_assert_not_null(bg_graph_param_find(net->graph, "s3.conv2.bn.gamma"));
    cr_assert_null(bg_graph_param_find(net->graph, "s1.conv1.bias"));
    bg_net_destroy(net);
}

/* Three halvings of 7x7 leave nothing for the last. */
Test(net, vgg_small_refuses_images_it_cannot_halve)
{
    struct bg_sample_spec spec = fashion;
    struct bg_net *net = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1 << 12);
    spec.height = 7;
    cr_assert_eq(build(&net, "network: {name: vgg-small}", &spec, &errors), BG_E_SHAPE);
    cr_assert_str_eq(bg_error(), "recipe.yaml:1:1: network vgg-small: max_pool s3.pool: kernel 2x2 "
                                 "does not fit input 1x7 with padding 0");
    cr_assert_null(net);
    bg_text_free(&errors);
}

Test(net, mobilenet_small_has_the_size_of_its_blocks)
{
    static const struct {
        int64_t width;
        int depth;
    } cases[] = {{24, 5}, {8, 7}, {3, 5}};
    for (int k = 0; k < 6; k++) {
        const struct bg_sample_spec *spec = k % 2 ? &cifar : &fashion;
        int64_t size[3] = {2 * cases[k / 2].depth + 2};
        char text[96] = "network: {name: mobilenet-small}";
        if (k > 1)
            snprintf(text, sizeof text, "network: {name: mobilenet-small, width: %d, depth: %d}",
                     (int)cases[k / 2].width, cases[k / 2].depth);
        mobilenet_size(cases[k / 2].width, cases[k / 2].depth, spec, &size[1], &size[2]);
        expect_size(text, spec, "mobilenet-small", size);
    }
    /* by hand: stem 169344; blocks 169344 + 903168, 84672 + 903168, 169344 + 1806336,
     * 42336 + 903168, 84672 + 1806336; 1920 */
    expect_size("network: {name: mobilenet-small}", &fashion, "mobilenet-small",
                (const int64_t[]){12, 78730, 7043808});
    struct bg_net *net = make("network: {name: mobilenet-small}", &fashion);
    const struct bg_node *depthwise = bg_graph_find(net->graph, "b4.dw");
    cr_assert_eq(bg_node_shape(depthwise)->dims[0], 7);
    cr_assert_eq(bg_node_conv2d_options(depthwise)->groups, 96);
    cr_assert_eq(bg_graph_param_find(net->graph, "b4.dw.weight")->value.shape.dims[3], 1);
    cr_assert_str_eq(bg_node_op(bg_graph_find(net->graph, "relu1")), "relu6");
    cr_assert_str_eq(bg_node_op(bg_graph_find(net->graph, "b5.relu2")), "relu6");
    for (int i = 0; i < bg_graph_node_count(net->graph); i++)
        cr_assert(strcmp(bg_node_op(bg_graph_node(net->graph, i)), "relu") != 0);
    bg_net_destroy(net);
}

Test(net, lists_put_layers_side_by_side)
{
    struct bg_net *net = make("network:\n"
                              "  layers:\n"
                              "    - conv: {name: a, out: 4, same: true}\n"
                              "    - relu6\n"
                              "    - conv: {name: b, out: 6, kernel: 1, from: input}\n"
                              "    - concat: {from: [relu6-1, b]}\n"
                              "    - conv: {name: c, out: 2, same: true}\n"
                              "    - concat: {name: all, from: [c, a, input, c]}\n"
                              "    - relu6\n"
                              "    - linear: {out: 10}\n",
                              &fashion);
    const struct bg_node *first = bg_graph_find(net->graph, "concat1");
    const struct bg_node *all = bg_graph_find(net->graph, "all");
    static const char *const sources[] = {"c", "a", "input", "c"};
    cr_assert_eq(bg_node_input_count(first), 2);
    cr_assert_eq(bg_node_shape(first)->dims[2], 10);
    cr_assert_eq(bg_node_input_count(all), 4);
    for (int k = 0; k < 4; k++)
        cr_assert_str_eq(bg_node_name(bg_node_input_at(all, k)), sources[k]);
    cr_assert_eq(bg_node_shape(all)->dims[2], 2 + 4 + 1 + 2);
    cr_assert_not_null(bg_graph_find(net->graph, "relu6-2"));
    bg_net_destroy(net);
}

Test(net, concat_needs_two_to_four_layers_of_one_size)
{
    expect_error(
        "network:\n"
        "  layers:\n"
        "    - conv: {name: a, out: 4}\n"
        "    - concat\n"
        "    - concat: {from: a}\n"
        "    - concat: {from: [a]}\n"
        "    - concat: {from: [a, a, a, a, a]}\n"
        "    - concat: {from: [a, b, input, ab]}\n"
        "    - relu6: {from: [a, input]}\n"
        "    - concat: {from: [a, input], axis: 3}\n",
        "recipe.yaml:4:7: network.layers[1].concat: concat reads 2 to 4 layers: from: [a, b], from "
        "names 0\n"
        "recipe.yaml:5:16: network.layers[2].concat: concat reads 2 to 4 layers: from: [a, b], "
        "from names 1\n"
        "recipe.yaml:6:16: network.layers[3].concat: concat reads 2 to 4 layers: from: [a, b], "
        "from names 1\n"
        "recipe.yaml:7:16: network.layers[4].concat: concat reads 2 to 4 layers: from: [a, b], "
        "from names 5\n"
        "recipe.yaml:8:26: network.layers[5].concat: from: no earlier layer is called \"b\", did "
        "you mean \"a\"?\n"
        "recipe.yaml:8:36: network.layers[5].concat: from: no earlier layer is called \"ab\", did "
        "you mean \"a\"?\n"
        "recipe.yaml:9:15: network.layers[6].relu6: relu6 reads 1 layer, from names 2\n"
        "recipe.yaml:10:34: network.layers[7].concat.axis: unknown key\n",
        NULL);
    expect_error("network: {layers: [{conv: {name: a, out: 4}}, {concat: {from: [a, input]}}]}",
                 NULL,
                 "recipe.yaml:1:48: concat concat1: a is 26x26x4, input is 28x28x1: all must have "
                 "one height and width");
}

Test(net, mlp_takes_its_hidden_sizes)
{
    struct bg_net *net = make("network: {name: mlp}", &fashion);
    cr_assert_eq(count_params(net), 784 * 512 + 512 + 512 * 512 + 512 + 5130);
    bg_net_destroy(net);
    net = make("network: {name: mlp, hidden: 7, batch_norm: true, dropout: 0.5}", &fashion);
    cr_assert_eq(count_params(net), 784 * 7 + 14 + 80);
    cr_assert_not_null(bg_graph_find(net->graph, "drop1"));
    bg_net_destroy(net);
    net = make("network: {name: mlp, hidden: []}", &fashion);
    cr_assert_eq(count_params(net), 7850);
    bg_net_destroy(net);
}

static const char inline_lenet[] = "network:\n"
                                   "  layers:\n"
                                   "    - conv: {name: conv1, out: 6, kernel: 5, padding: 2}\n"
                                   "    - relu\n"
                                   "    - max-pool: {name: pool1}\n"
                                   "    - conv: {name: conv2, out: 16, kernel: [5, 5]}\n"
                                   "    - relu:\n"
                                   "    - max-pool: {name: pool2, kernel: [2, 2], stride: 2}\n"
                                   "    - linear: {name: fc1, out: 120}\n"
                                   "    - relu: {}\n"
                                   "    - linear: {name: fc2, out: 84}\n"
                                   "    - relu: {from: fc2}\n"
                                   "    - linear: {name: fc3, out: 10}\n";

Test(net, an_inline_list_is_the_named_network)
{
    struct bg_net *named = make("network: {name: lenet5}", &fashion);
    struct bg_net *listed = make(inline_lenet, &fashion);
    cr_assert_str_eq(listed->name, "custom");
    int count = bg_graph_node_count(named->graph);
    cr_assert_eq(bg_graph_node_count(listed->graph), count);
    for (int i = 0; i < count; i++) {
        const struct bg_node *a = bg_graph_node(named->graph, i);
        const struct bg_node *b = bg_graph_node(listed->graph, i);
        cr_assert_str_eq(bg_node_name(a), bg_node_name(b));
        cr_assert_str_eq(bg_node_op(a), bg_node_op(b));
        cr_assert(bg_shape_equal(bg_node_shape(a), bg_node_shape(b)));
    }
    bg_net_destroy(named);
    bg_net_destroy(listed);
}

Test(net, lists_branch_and_join)
{
    struct bg_net *net = make("network:\n"
                              "  layers:\n"
                              "    - conv: {name: a, out: 4, same: true}\n"
                              "    - conv: {name: b, out: 4, kernel: 1, from: input}\n"
                              "    - add: {from: [a, b]}\n"
                              "    - batch-norm\n"
                              "    - avg-pool: {kernel: 4}\n"
                              "    - global-pool\n"
                              "    - dropout: {probability: 0.2}\n"
                              "    - flatten\n"
                              "    - linear: {out: 10}\n",
                              &fashion);
    const struct bg_node *add = bg_graph_find(net->graph, "add1");
    cr_assert_str_eq(bg_node_name(bg_node_input_at(add, 0)), "a");
    cr_assert_str_eq(bg_node_name(bg_node_input_at(add, 1)), "b");
    cr_assert_eq(bg_node_shape(bg_graph_find(net->graph, "avg-pool1"))->dims[0], 7);
    cr_assert_str_eq(bg_node_name(net->output), "linear1");
    /* the norm behind an add belongs to no layer, but to the totals */
    struct bg_net_cost cost;
    OK(bg_net_cost(net, NULL, &cost));
    cr_assert_eq(cost.params, 36 + 4 + 4 + 4 + 8 + 50);
    cr_assert_float_eq(cost.bytes, 4.0 * 106, 0);
    bg_net_cost_free(&cost);
    bg_net_destroy(net);
}

Test(net, reports_all_errors_of_a_list_with_their_places)
{
    expect_error(
        "network:\n"
        "  layers:\n"
        "    - cnov: {out: 6}\n"
        "    - conv: {out: ten, kernal: 5}\n"
        "    - relu: {from: conv2, name: 'bad name'}\n"
        "    - add: {from: [conv1, cnov1]}\n"
        "    - add\n"
        "    - {relu: {}, conv: {}}\n"
        "    - linear: [3]\n"
        "    - linear\n"
        "    - relu: {name: conv1}\n"
        "    - relu: {name: input}\n",
        "recipe.yaml:3:7: network.layers[0]: unknown layer type \"cnov\", did you mean \"conv\"?\n"
        "recipe.yaml:4:24: network.layers[1].conv.kernal: unknown key, did you mean 'kernel'?\n"
        "recipe.yaml:4:14: network.layers[1].conv.out: expected an integer, got \"ten\"\n"
        "recipe.yaml:5:27: network.layers[2].relu: name: expected 1 to 63 letters, digits and _ . "
        "-, first a letter or digit\n"
        "recipe.yaml:5:14: network.layers[2].relu: from: no earlier layer is called \"conv2\", did "
        "you mean \"conv1\"?\n"
        "recipe.yaml:6:27: network.layers[3].add: from: no earlier layer is called \"cnov1\", did "
        "you mean \"conv1\"?\n"
        "recipe.yaml:7:7: network.layers[4].add: add reads 2 layers: from: [a, b], from names 0\n"
        "recipe.yaml:8:7: network.layers[5]: expected one layer type, like {conv: {out: 16}}\n"
        "recipe.yaml:9:7: network.layers[6]: expected a map of options\n"
        "recipe.yaml:10:7: network.layers[7].linear: key 'out' is required (output features)\n"
        "recipe.yaml:11:14: network.layers[8].relu: the name \"conv1\" is used by an earlier "
        "layer\n"
        "recipe.yaml:12:14: network.layers[9].relu: the name \"input\" is reserved\n",
        NULL);
}

Test(net, refuses_sections_that_are_neither_name_nor_list)
{
    static const char both[] = "network: expected either a name ({name: lenet5}) or a list of "
                               "layers ({layers: [...]})\n";
    char line[256];
    static const char *const cases[] = {"network: {}", "network: {name: lenet5, layers: [relu]}",
                                        "network: lenet5"};
    for (int i = 0; i < 3; i++) {
        snprintf(line, sizeof line, "recipe.yaml:1:1: %s", both);
        expect_error(cases[i], line, NULL);
    }
    expect_error("data: {}", NULL, "network: the recipe has no such section");
    expect_error("network: {layers: []}",
                 "recipe.yaml:1:11: network.layers: expected a list of 1 to 1024 layers\n", NULL);
    expect_error("network: {name: lenet}",
                 "recipe.yaml:1:11: network.name: unknown network \"lenet\", did you mean "
                 "\"lenet5\"?\n",
                 NULL);
    expect_error("network: {name: resnet, dept: 20}",
                 "recipe.yaml:1:25: network.dept: unknown key, did you mean 'depth'?\n", NULL);
    expect_error("network: {layers: [{linear: {out: 4}}, {linear: {out: 10, from: input}}]}",
                 "recipe.yaml:1:21: network.layers: layer linear1 is read by no later layer\n",
                 NULL);
}

Test(net, impossible_shapes_name_the_layer_and_the_place)
{
    static const struct {
        const char *text, *part, *layer;
    } cases[] = {
        {"network:\n  layers:\n    - max-pool: {kernel: 9}\n    - conv: {name: conv3, out: 4, "
         "kernel: 5}\n",
         "recipe.yaml:4:7: ", "conv3"},
        {"network:\n  layers:\n    - conv: {out: 3, groups: 2}\n", "recipe.yaml:3:7: ", "conv1"},
        {"network:\n  layers:\n    - conv: {name: a, out: 3}\n    - add: {name: sum, from: [a, "
         "input]}\n",
         "recipe.yaml:4:7: ", "sum"},
        {"network:\n  layers:\n    - conv: {out: 3, kernel: 4, same: true}\n",
         "recipe.yaml:3:7: ", "conv1: same needs odd kernels, kernel is 4x4"},
        {"network:\n  layers:\n    - conv: {out: 3, kernel: [1, 2, 3]}\n",
         "recipe.yaml:3:7: ", "conv1: kernel has 3 numbers, expected one or [height, width]"},
        {"network:\n  layers:\n    - linear: {name: last, out: 12}\n", "recipe.yaml:3:7: ",
         "layer last: the last layer gives 1x1x12 values, the data have 10 classes"},
        {"network: {name: resnet, depth: 21}",
         "recipe.yaml:1:1: ", "resnet: depth 21 is not 6n + 2"},
        {"network: {name: mlp, hidden: [1, 1048576, 1048576]}", "recipe.yaml:1:1: ", "fc3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bg_net *net = NULL;
        struct bg_text errors;
        bg_text_init(&errors, 1 << 16);
        cr_assert(build(&net, cases[i].text, &fashion, &errors) != BG_OK, "%s", cases[i].text);
        cr_assert(strncmp(bg_error(), cases[i].part, strlen(cases[i].part)) == 0, "%s", bg_error());
        cr_assert(strstr(bg_error(), cases[i].layer) != NULL, "%s", bg_error());
        bg_text_free(&errors);
    }
}

Test(net, sections_print_with_defaults_and_read_back)
{
    static const char *const sections[] = {
        inline_lenet, "network: {name: resnet}", "network: {name: mlp, hidden: 3}",
        "network: {name: mobilenet-small}",
        "network: {layers: [relu6, {concat: {from: [relu6-1, input, relu6-1]}}]}"};
    for (int i = 0; i < 5; i++) {
        struct bg_document *first = NULL, *second = NULL;
        struct bg_text a, b, errors;
        bg_text_init(&a, 1 << 16);
        bg_text_init(&b, 1 << 16);
        bg_text_init(&errors, 1 << 16);
        bg_text_add(&a, "network:\n");
        bg_text_add(&b, "network:\n");
        OK(bg_yaml_parse_text(&first, "a", sections[i], strlen(sections[i])));
        OK(bg_net_print_section(bg_yaml_get(bg_document_root(first), "network"), 2, &a, &errors));
        OK(bg_yaml_parse_text(&second, "b", bg_text_string(&a), a.length));
        OK(bg_net_print_section(bg_yaml_get(bg_document_root(second), "network"), 2, &b, &errors));
        cr_assert_str_eq(bg_text_string(&a), bg_text_string(&b));
        cr_assert(i != 0 || strstr(bg_text_string(&a), "    - relu:\n        name: relu2\n"
                                                       "        from: conv2\n"));
        cr_assert(i != 1 || strstr(bg_text_string(&a), "  depth: 20\n  width: 16\n"));
        cr_assert(i != 3 || strstr(bg_text_string(&a), "  width: 24\n  depth: 5\n"));
        cr_assert(i != 4 || strstr(bg_text_string(&a), "from: [relu6-1, input, relu6-1]\n"));
        bg_document_free(first);
        bg_document_free(second);
        bg_text_free(&a);
        bg_text_free(&b);
        bg_text_free(&errors);
    }
}

Test(net, prints_its_table)
{
    struct bg_net *net = make("network: {name: lenet5}", &fashion);
    struct bg_plan plan;
    struct bg_text text;
    bg_text_init(&text, 1 << 16);
    OK(bg_net_plan(net, 4, 8, &plan));
    plan.layer[0].spec[BG_ROLE_WEIGHT] = (struct bg_spec){.format = BG_FORMAT_F32};
    plan.layer[0].spec[BG_ROLE_ACTIVATION] = (struct bg_spec){.format = BG_FORMAT_F32};
    bg_net_print_table(net, &plan, &text);
    cr_assert_str_eq(
        bg_text_string(&text),
        "layer  type       output         parameters            MACs  bits w/a\n"
        "conv1  conv 5x5   28x28x6               156         117,600  f32\n"
        "conv2  conv 5x5   10x10x16            2,416         240,000  4/8\n"
        "fc1    linear     1x1x120            48,120          48,000  4/8\n"
        "fc2    linear     1x1x84             10,164          10,080  4/8\n"
        "fc3    linear     1x1x10                850             840  4/8\n"
        "total                                61,706         416,520  4.07 mean weight bits, "
        "32,204 bytes\n");
    bg_plan_free(&plan);
    bg_text_free(&text);
    bg_net_destroy(net);
}

Test(net, frees_everything_when_memory_runs_out)
{
    static const char *const sections[] = {inline_lenet, "network: {name: resnet, depth: 8}",
                                           "network: {name: vgg-small, width: 4}",
                                           "network: {name: mobilenet-small, width: 4}"};
    for (int i = 0; i < 4; i++) {
        struct bg_net *net = NULL;
        int failures = 0;
        for (uint64_t n = 1; net == NULL; n++) {
            struct bg_document *document = NULL;
            struct bg_text errors;
            bg_text_init(&errors, 1 << 16);
            OK(bg_yaml_parse_text(&document, "t", sections[i], strlen(sections[i])));
            bg_alloc_fail_at(n);
            enum bg_status rc =
                bg_net_create(&net, bg_yaml_get(bg_document_root(document), "network"), &fashion,
                              BG_LOSS_MSE, 0, &errors);
            bg_alloc_fail_at(0);
            cr_assert(rc == BG_OK || rc == BG_E_NOMEM, "call %d: %s", (int)n, bg_error());
            failures += rc != BG_OK;
            bg_document_free(document);
            bg_text_free(&errors);
        }
        cr_assert(failures > 20);
        bg_net_destroy(net);
    }
}
