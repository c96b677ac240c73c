/* Shared by budget.c and budget_cost.c: what each layer costs at each choice of bits. */
#ifndef BG_POLICIES_BUDGET_PRIVATE_H
#define BG_POLICIES_BUDGET_PRIVATE_H

#include "policies/budget.h"

/* Costs of whole networks in which every layer has the same bits, made when first asked for. */
struct bg_bits_costs {
    const struct bg_net *net;
    const struct bg_latency *latency;
    struct bg_net_cost at[BG_LATENCY_BITS][BG_LATENCY_BITS]; /* [weights][activations] */
};
BG_MUST enum bg_status bg_bits_cost(struct bg_bits_costs *costs, int layer, const int bits[2],
                                    enum bg_budget_kind kind, double *out);
void bg_bits_costs_free(struct bg_bits_costs *costs);
/* What a budget counts outside the layers, and what its unit is in that of the costs. */
BG_MUST enum bg_status bg_bits_outside(struct bg_bits_costs *costs, enum bg_budget_kind kind,
                                       double *offset, double *unit);

#endif
