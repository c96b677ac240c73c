/* One layer alone on a candidate's grid: what that does to the network's outputs. Shared by the
 * measures output-error and loss-change; perturbation compares outputs the same way. */
#ifndef BG_POLICIES_ALONE_H
#define BG_POLICIES_ALONE_H

#include "policies/measurer.h"

/* How two outputs of one sample are compared. */
struct bg_output_change {
    int kind;         /* BG_MEASURED_OUTPUT, RELATIVE, DIVERGENCE or LOSS */
    bool layer_alone; /* outputs are the layer's own, not the logits */
};

/* Outputs of one node for all samples of the measurer's batches, side by side. */
struct bg_outputs {
    const char *node;
    int64_t size;  /* per sample */
    float *before; /* [samples * size] of the f32 network */
};
/* Runs the f32 network and keeps the outputs of the layer, or the logits. */
BG_MUST enum bg_status bg_outputs_make(struct bg_outputs *out, struct bg_measurer *measurer,
                                       const struct bg_output_change *change, int layer);
void bg_outputs_free(struct bg_outputs *outputs);
/* Runs what is on the network now; value[sample] is each sample's change. */
BG_MUST enum bg_status bg_outputs_compare(const struct bg_outputs *outputs,
                                          struct bg_measurer *measurer,
                                          const struct bg_output_change *change, double *value);

/* Rows of `change->kind` for every layer, role asked for and candidate. Layers that read one tensor
 * share the change of the logits or the loss: each gets the whole's value divided by their number,
 * so that together they have it once. */
BG_MUST enum bg_status bg_measure_alone(struct bg_measurer *measurer,
                                        const struct bg_output_change *change, const bool roles[2]);

#endif
