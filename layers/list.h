/* An inline list of layers as read from a recipe, before it becomes a graph. */
#ifndef BG_LAYERS_LIST_H
#define BG_LAYERS_LIST_H

#include "layers/net.h"

#define BG_LIST_INPUTS   4
#define BG_LIST_NO_INPUT (-1)

struct bg_list_item {
    const struct bg_layer_type *type; /* NULL when the type is unknown */
    const struct bg_yaml *node;       /* for messages */
    char name[BG_NAME_MAX];
    void *options;            /* type->options_size bytes, owned */
    int inputs;               /* that `from` names, or the type's number */
    int from[BG_LIST_INPUTS]; /* earlier items; -1 = the network's input */
    bool used;                /* read by a later item */
};

struct bg_list {
    int count;
    struct bg_list_item *item;
};

/* Reads the value of `layers:`; all errors are added to `errors` and BG_E_DATA returned. The nodes
 * must outlive the list. Free with bg_list_free in any case. */
BG_MUST enum bg_status bg_list_read(struct bg_list *out, const struct bg_yaml *layers,
                                    struct bg_text *errors);
void bg_list_free(struct bg_list *list);
/* Builds the nodes in order; a failure carries file:line:col of the layer. */
BG_MUST enum bg_status bg_list_build(const struct bg_list *list, struct bg_graph *graph,
                                     struct bg_node *input, struct bg_node **out);
/* "layers:" with every option filled in. */
void bg_list_print(const struct bg_list *list, int indent, struct bg_text *text);

#define BG_HINT_ROOM 128
/* ", did you mean "x"?" for the nearest of `names`, or "". Returns out; cannot fail. */
const char *bg_list_hint(char out[BG_HINT_ROOM], const char *word, const char *const *names,
                         int count);
/* BG_E_DATA with the first line that was added to errors since `before`, BG_OK when none was. */
BG_MUST enum bg_status bg_list_errors(const struct bg_text *errors, size_t before);

#endif
