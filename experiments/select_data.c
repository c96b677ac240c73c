/* A run's record as the input of criteria. */
#include "experiments/select_data.h"

#include <string.h>

#include "core/mem.h"
#include "policies/budget_select.h"

static void cut_rows(struct bg_profile *view, int64_t from, int64_t to)
{
    view->rows = to - from;
    if (view->rows == 0)
        return;
    view->row_step += from;
    view->stats += from * BG_QUANTITIES * view->layers;
    if (view->channel_square)
        view->channel_square += from * view->channel_stride;
}

static void take_cycles(struct bg_profile *view, const struct bg_profile *from, int64_t first,
                        int64_t last)
{
    view->cycles = last - first;
    view->cycle_step = from->cycle_step + first;
    view->displacement = from->displacement + first * BG_REFERENCES * from->layers;
    view->initial_square = from->initial_square;
}

/* The stage's profile of the round, with what was recorded along training, or fine-tuning since the
 * last selection, where it has no rows or cycles. Rows come with the shape they were recorded in:
 * the profiles may differ in their channels. */
static struct bg_profile profile_view(const struct bg_record *record, int number)
{
    const struct bg_round round = bg_record_round(record, number);
    const int64_t *from = round.from, *to = round.to;
    const struct bg_profile *stage = &record->profile[BG_PROFILE_STAGE];
    const struct bg_profile *tuned = &record->profile[BG_PROFILE_FINETUNE];
    const struct bg_profile *along = &record->profile[BG_PROFILE_TRAIN];
    bool staged = to[BG_ROUND_ROWS] > from[BG_ROUND_ROWS];
    bool since = to[BG_ROUND_ALONG] > from[BG_ROUND_ALONG];
    struct bg_profile view = staged || along->layers == 0 ? *stage : since ? *tuned : *along;

    if (staged || along->layers == 0)
        cut_rows(&view, from[BG_ROUND_ROWS], to[BG_ROUND_ROWS]);
    else if (since)
        cut_rows(&view, from[BG_ROUND_ALONG], to[BG_ROUND_ALONG]);
    if (to[BG_ROUND_CYCLES] > from[BG_ROUND_CYCLES] || along->layers == 0)
        take_cycles(&view, stage, from[BG_ROUND_CYCLES], to[BG_ROUND_CYCLES]);
    else if (to[BG_ROUND_ALONG_CYCLES] > from[BG_ROUND_ALONG_CYCLES])
        take_cycles(&view, tuned, from[BG_ROUND_ALONG_CYCLES], to[BG_ROUND_ALONG_CYCLES]);
    else
        take_cycles(&view, along, 0, along->cycles);
    return view;
}

static enum bg_status list_layers(struct bg_select_data *data, const struct bg_record *record,
                                  const struct bg_net *net)
{
    const struct bg_graph *graph = net->graph;
    int layers = record->layers;
    enum bg_status rc = BG_OK;

    if (bg_graph_layer_count(graph) != layers)
        FAIL(BG_E_MISMATCH, "select: the record has %d layers, the network %d", layers,
             bg_graph_layer_count(graph));
    TRY(bg_alloc(&data->names, layers, sizeof *data->names));
    TRY(bg_alloc(&data->pinned, layers, sizeof *data->pinned));
    TRY(bg_alloc(&data->weights, layers, sizeof *data->weights));
    TRY(bg_alloc(&data->macs, layers, sizeof *data->macs));
    TRY(bg_alloc(&data->activations, layers, sizeof *data->activations));
    TRY(bg_alloc(&data->step, layers, sizeof *data->step));
    for (int i = 0; i < layers; i++) {
        const struct bg_node *node = bg_graph_layer(graph, i);
        data->names[i] = record->layer_name[i];
        if (strcmp(data->names[i], bg_node_name(node)) != 0)
            FAIL(BG_E_MISMATCH,
                 "select: layer %d is \"%s\" in the record and \"%s\" in the network", i,
                 data->names[i], bg_node_name(node));
        data->weights[i] = bg_tensor_count(&bg_graph_layer_weight(graph, i)->value);
        data->macs[i] = bg_node_macs(node);
        data->activations[i] = bg_shape_count(bg_node_shape(bg_node_input_at(node, 0)));
    }
out:
    return rc;
}

static enum bg_status list_measures(struct bg_select_data *data, const struct bg_record *record,
                                    const struct bg_round *round)
{
    int64_t first = round->from[BG_ROUND_MEASURES], rows = round->to[BG_ROUND_MEASURES] - first;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&data->row, rows, sizeof *data->row));
    for (int64_t r = 0; r < rows; r++)
        data->row[r] = bg_record_measure(record, first + r);
    data->measurements =
        (struct bg_measurements){.measures = record->measures,
                                 .name = (const char(*)[BG_NAME_MAX])record->measure_name,
                                 .rows = rows,
                                 .row = data->row,
                                 .candidates = record->candidates};
    for (int i = 0; i < record->candidates; i++)
        data->measurements.bits[i] = record->candidate_bits[i];
out:
    return rc;
}

/* The steps of the grids at second_bits, when the run's select stage has found them. */
static void take_steps(struct bg_select_data *data, const struct bg_record *record,
                       const struct bg_round *round)
{
    const struct bg_table *table = &record->table[BG_TABLE_RANKING];
    int64_t first = round->from[BG_ROUND_RANKING];
    bool found = round->to[BG_ROUND_RANKING] - first == record->layers;
    for (int i = 0; i < record->layers; i++)
        data->step[i] = 0;
    for (int64_t r = first; found && r < round->to[BG_ROUND_RANKING]; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        data->step[row[BG_RANK_LAYER].integer] = row[BG_RANK_STEP].real;
    }
    data->input.weight_step = found ? data->step : NULL;
}

enum bg_status bg_select_data_open(struct bg_select_data *out, const struct bg_record *record,
                                   int number, const struct bg_net *net,
                                   const struct bg_select_options *options)
{
    const struct bg_round round = bg_record_round(record, number);
    enum bg_status rc = BG_OK;
    memset(out, 0, sizeof *out);
    TRY(list_layers(out, record, net));
    TRY(list_measures(out, record, &round));
    TRY(bg_select_pinned(options, out->names, record->layers, out->pinned));
    out->profile = profile_view(record, number);
    out->input = (struct bg_select_input){.layers = record->layers,
                                          .names = out->names,
                                          .weights = out->weights,
                                          .macs = out->macs,
                                          .pinned = out->pinned,
                                          .profile = &out->profile,
                                          .classes = record->spec.classes,
                                          .seed = (uint64_t)record->seed,
                                          .measures = &out->measurements,
                                          .activations = out->activations,
                                          .second_bits = bg_select_bits(options, number)};
    take_steps(out, record, &round);
out:
    if (rc != BG_OK)
        bg_select_data_close(out);
    return rc;
}

void bg_select_data_close(struct bg_select_data *data)
{
    bg_free((void *)data->names);
    bg_free(data->pinned);
    bg_free(data->weights);
    bg_free(data->macs);
    bg_free(data->activations);
    bg_free(data->step);
    bg_free(data->row);
    memset(data, 0, sizeof *data);
}

enum bg_status bg_select_expect_profile(const struct bg_recipe *recipe, const struct bg_net *net,
                                        bool trains, bool profiles, struct bg_profile *out)
{
    const struct bg_profile_options *options = &recipe->profile;
    bool resets = profiles && options->cycles > 0 && options->reset;
    enum bg_status rc = BG_OK;

    TRY(bg_trainer_profile_make(net, options->per_channel, out));
    if ((profiles && options->batches > 0) || (trains && recipe->train.profile_every > 0)) {
        TRY(bg_profile_add_row(out, 1));
        for (int q = 0; q < BG_QUANTITIES; q++)
            for (int i = 0; i < out->layers; i++)
                bg_profile_at(out, 0, (enum bg_quantity)q, i)->count = 1;
    }
    if (trains || (profiles && options->cycles > 0)) {
        TRY(bg_profile_add_cycle(out, 1));
        for (int r = 0; r < BG_REFERENCES; r++)
            for (int i = 0; i < out->layers && (r == BG_REFERENCE_RESET) == resets; i++)
                *bg_profile_displacement_at(out, 0, (enum bg_reference)r, i) = 1.0;
    }
out:
    return rc;
}
