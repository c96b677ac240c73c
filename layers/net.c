/* A network from a recipe section: by name with options, or as an inline list of layers. The loss
 * node is called "loss", the input node "input". */
#include "layers/net.h"

#include <stdio.h>
#include <string.h>

#include "layers/list.h"

#define MOST_TYPES 256

static const struct bg_net_type *find_type(const char *name)
{
    for (int i = 0; bg_net_types[i]; i++)
        if (strcmp(bg_net_types[i]->name, name) == 0)
            return bg_net_types[i];
    return NULL;
}

/* A section that has been read: exactly one of the two forms. */
struct section {
    const struct bg_yaml *node;
    const struct bg_net_type *type; /* by name */
    void *options;
    struct bg_list list; /* inline */
};

static void section_free(struct section *section)
{
    bg_free(section->options);
    bg_list_free(&section->list);
}

static enum bg_status read_named(struct section *out, const struct bg_yaml *name,
                                 struct bg_text *errors)
{
    static const char *const also[] = {"name", NULL};
    enum bg_status rc = BG_OK;
    size_t before = errors->length;
    const char *names[MOST_TYPES];
    char hint[BG_HINT_ROOM];
    int count = 0;
    for (; count < MOST_TYPES && bg_net_types[count]; count++)
        names[count] = bg_net_types[count]->name;
    if (name->kind != BG_YAML_SCALAR) {
        bg_options_error(errors, name, "network.name", "expected the name of a network");
        return bg_list_errors(errors, before);
    }
    out->type = find_type(name->text);
    if (out->type == NULL) {
        bg_options_error(errors, name, "network.name", "unknown network \"%s\"%s", name->text,
                         bg_list_hint(hint, name->text, names, count));
        return bg_list_errors(errors, before);
    }
    TRY(bg_alloc(&out->options, 1, out->type->options_size + 1));
    TRY(bg_options_read(out->node, out->type->options, also, "network", out->options, errors));
out:
    return rc;
}

static enum bg_status read_section(struct section *out, const struct bg_yaml *node,
                                   struct bg_text *errors)
{
    enum bg_status rc = BG_OK;
    size_t before = errors->length;
    *out = (struct section){.node = node};
    if (node == NULL)
        FAIL(BG_E_DATA, "network: the recipe has no such section");
    const struct bg_yaml *name = NULL, *layers = NULL;
    if (node->kind == BG_YAML_MAP) {
        name = bg_yaml_get(node, "name");
        layers = bg_yaml_get(node, "layers");
    }
    if ((name == NULL) == (layers == NULL)) {
        bg_options_error(errors, node, "network",
                         "expected either a name ({name: lenet5}) or a list of layers "
                         "({layers: [...]})");
        TRY(bg_list_errors(errors, before));
    }
    if (name) {
        TRY(read_named(out, name, errors));
    } else {
        static const struct bg_option none[] = {{.key = NULL}};
        static const char *const also[] = {"layers", NULL};
        char unused = 0;
        rc = bg_options_read(node, none, also, "network", &unused, errors);
        if (rc != BG_OK && rc != BG_E_DATA)
            goto out;
        TRY(bg_list_read(&out->list, layers, errors));
        TRY(bg_list_errors(errors, before));
    }
out:
    return rc;
}

static enum bg_status build(struct bg_net *net, const struct section *section)
{
    enum bg_status rc = BG_OK;
    struct bg_node *input = NULL;
    const struct bg_yaml *at = section->node;
    TRY(bg_node_input(net->graph, "input", &net->input, &input));
    if (section->type) {
        rc = section->type->build(net->graph, section->options, input, net->input.classes,
                                  &net->output, net->name);
        if (rc != BG_OK)
            rc = bg_fail_prefix(rc, "%s:%d:%d: network %s: ", at->file, at->line, at->column,
                                section->type->name);
    } else {
        snprintf(net->name, sizeof net->name, "custom");
        rc = bg_list_build(&section->list, net->graph, input, &net->output);
        at = section->list.item[section->list.count - 1].node;
    }
    TRY(rc);
    const struct bg_shape *shape = bg_node_shape(net->output);
    if (shape->dims[0] != 1 || shape->dims[1] != 1 || shape->dims[2] != net->input.classes) {
        char text[64];
        FAIL(BG_E_SHAPE,
             "%s:%d:%d: layer %s: the last layer gives %s values, the data have %d classes",
             at->file, at->line, at->column, bg_node_name(net->output), bg_shape_text(shape, text),
             net->input.classes);
    }
out:
    return rc;
}

enum bg_status bg_net_create(struct bg_net **out, const struct bg_yaml *section,
                             const struct bg_sample_spec *input, enum bg_loss loss,
                             double smoothing, struct bg_text *errors)
{
    enum bg_status rc = BG_OK;
    struct section read = {.node = NULL};
    struct bg_net *net = NULL;
    struct bg_node *end = NULL;
    *out = NULL;
    TRY(read_section(&read, section, errors));
    TRY(bg_alloc(&net, 1, sizeof *net));
    net->input = *input;
    TRY(bg_graph_create(&net->graph));
    TRY(build(net, &read));
    if (loss == BG_LOSS_MSE)
        TRY(bg_node_mse(net->graph, "loss", net->output, &end));
    else
        TRY(bg_node_softmax_cross_entropy(net->graph, "loss", net->output, smoothing, &end));
    *out = net;
    net = NULL;
out:
    section_free(&read);
    bg_net_destroy(net);
    return rc;
}

void bg_net_destroy(struct bg_net *net)
{
    if (net == NULL)
        return;
    bg_graph_destroy(net->graph);
    bg_free(net);
}

enum bg_status bg_net_print_section(const struct bg_yaml *section, int indent, struct bg_text *out,
                                    struct bg_text *errors)
{
    enum bg_status rc = BG_OK;
    struct section read = {.node = NULL};
    TRY(read_section(&read, section, errors));
    if (read.type) {
        bg_text_add(out, "%*sname: %s\n", indent, "", read.type->name);
        bg_options_print(read.type->options, read.options, indent, out);
    } else {
        bg_list_print(&read.list, indent, out);
    }
    TRY(bg_text_check(out));
out:
    section_free(&read);
    return rc;
}

enum bg_status bg_net_plan(const struct bg_net *net, int weight_bits, int activation_bits,
                           struct bg_plan *out)
{
    enum bg_status rc = BG_OK;
    int count = bg_graph_layer_count(net->graph);
    const char **names = NULL;
    *out = (struct bg_plan){.count = 0};
    if (weight_bits < 0 || weight_bits > BG_BITS_MAX || activation_bits < 0 ||
        activation_bits > BG_BITS_MAX)
        FAIL(BG_E_RANGE, "plan for %s: %d weight and %d activation bits, limits are 0 (f32) to %d",
             net->name, weight_bits, activation_bits, BG_BITS_MAX);
    TRY(bg_alloc(&names, count, sizeof(const char *)));
    for (int i = 0; i < count; i++)
        names[i] = bg_node_name(bg_graph_layer(net->graph, i));
    TRY(bg_plan_make(out, names, count));
    for (int i = 0; i < count; i++) {
        struct bg_spec *spec = out->layer[i].spec;
        if (weight_bits > 0)
            spec[BG_ROLE_WEIGHT] = (struct bg_spec){
                .format = BG_FORMAT_INTEGER, .bits = weight_bits, .per_channel = true};
        if (activation_bits > 0)
            spec[BG_ROLE_ACTIVATION] =
                (struct bg_spec){.format = BG_FORMAT_INTEGER, .bits = activation_bits};
    }
out:
    bg_free(names);
    return rc;
}
