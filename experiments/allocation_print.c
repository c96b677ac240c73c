/* Prints allocations: experiments/allocation_print.h. */
#include "experiments/allocation_print.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "experiments/print_json.h"

#define WIDTH 14 /* of a column of numbers, at least */

static const char *label_of(const struct bg_allocation_report *r, int i)
{
    return r->problem->item[i].label[r->allocation->choice[i]];
}

static const struct bg_cost_row *row_of(const struct bg_allocation_report *r, int i)
{
    return bg_cost_table_row(r->table, i, label_of(r, i));
}

static double total_of(const struct bg_allocation_report *r, int column)
{
    double sum = 0;
    for (int i = 0; i < r->table->layers; i++)
        sum += row_of(r, i)->cost[column];
    return sum;
}

/* The column's budget, -1 = none. */
static int budget_of(const struct bg_allocation_report *r, int column)
{
    for (int b = 0; b < r->problem->budgets; b++)
        if (!strcmp(r->problem->budget_name[b], r->table->column[column]))
            return b;
    return -1;
}

static void print_proof(const struct bg_allocation_report *r)
{
    const struct bg_allocation *a = r->allocation;
    double gap = a->objective - a->bound;
    printf("\nallocator %s: objective %.10g, ", r->allocator, a->objective);
    if (a->optimal)
        printf("optimal (proven");
    else if (fabs(a->objective) > 0)
        printf("not proven optimal (bound %.10g, gap %.4g, %.3g %%", a->bound, gap,
               100 * gap / fabs(a->objective));
    else
        printf("not proven optimal (bound %.10g, gap %.4g", a->bound, gap);
    printf("; %lld nodes)\n", (long long)a->nodes);
}

static int widest(const struct bg_allocation_report *r)
{
    size_t width = strlen("layer");
    for (int i = 0; i < r->table->layers; i++)
        width = strlen(r->table->layer[i].name) > width ? strlen(r->table->layer[i].name) : width;
    for (int c = 0; c < r->table->columns; c++)
        width = strlen(r->table->column[c]) > width ? strlen(r->table->column[c]) : width;
    return (int)width;
}

void bg_allocation_print_text(const struct bg_allocation_report *r)
{
    const struct bg_cost_table *table = r->table;
    int width = widest(r);
    printf("%-*s  %-9s  %*s", width, "layer", "candidate", WIDTH, "penalty");
    for (int c = 0; c < table->columns; c++)
        printf("  %*s", WIDTH, table->column[c]);
    printf("\n");
    for (int i = 0; i < table->layers; i++) {
        const struct bg_cost_row *row = row_of(r, i);
        printf("%-*s  %-9s  %*.6g", width, table->layer[i].name, row->candidate, WIDTH,
               row->penalty);
        for (int c = 0; c < table->columns; c++)
            printf("  %*.10g",
                   (int)strlen(table->column[c]) > WIDTH ? (int)strlen(table->column[c]) : WIDTH,
                   row->cost[c]);
        printf("\n");
    }
    print_proof(r);
    printf("\n%-*s  %*s  %*s  %*s\n", width, "cost", WIDTH, "total", WIDTH, "budget", WIDTH,
           "slack");
    for (int c = 0; c < table->columns; c++) {
        int b = budget_of(r, c);
        double total = total_of(r, c), budget = b < 0 ? 0 : r->problem->budget[b];
        printf("%-*s  %*.10g", width, table->column[c], WIDTH, total);
        if (b >= 0)
            printf("  %*.10g  %*.6g", WIDTH, budget, WIDTH, budget - total);
        if (b >= 0 && budget > 0)
            printf(" (%.2f %%)", 100 * (budget - total) / budget);
        printf("\n");
    }
}

static json_t *layers_of(const struct bg_allocation_report *r)
{
    json_t *list = json_array();
    for (int i = 0; i < r->table->layers; i++) {
        const struct bg_cost_row *row = row_of(r, i);
        json_t *costs = json_object();
        for (int c = 0; c < r->table->columns; c++)
            json_object_set_new(costs, r->table->column[c], json_real(row->cost[c]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:o}", "layer",
                                              r->table->layer[i].name, "candidate", row->candidate,
                                              "penalty", row->penalty, "costs", costs));
    }
    return list;
}

static json_t *costs_of(const struct bg_allocation_report *r)
{
    json_t *costs = json_object();
    for (int c = 0; c < r->table->columns; c++) {
        int b = budget_of(r, c);
        double total = total_of(r, c);
        json_t *one = json_pack("{s:f}", "total", total);
        if (b >= 0) {
            json_object_set_new(one, "budget", json_real(r->problem->budget[b]));
            json_object_set_new(one, "slack", json_real(r->problem->budget[b] - total));
        }
        json_object_set_new(costs, r->table->column[c], one);
    }
    return costs;
}

enum bg_status bg_allocation_print_json(const struct bg_allocation_report *r)
{
    const struct bg_allocation *a = r->allocation;
    return bg_print_json(json_pack("{s:i, s:s, s:f, s:f, s:b, s:I, s:o, s:o}", "schema", 1,
                                   "allocator", r->allocator, "objective", a->objective, "bound",
                                   a->bound, "optimal", a->optimal ? 1 : 0, "nodes",
                                   (json_int_t)a->nodes, "costs", costs_of(r), "plan",
                                   layers_of(r)),
                         0);
}

enum bg_status bg_allocation_write_plan(const struct bg_allocation_report *r, const char *path)
{
    struct bg_plan plan = {0};
    struct bg_text text = {0};
    const char **names = NULL;
    enum bg_status rc = BG_OK;
    bg_text_init(&text, 1 << 22);
    TRY(bg_alloc(&names, r->table->layers, sizeof *names));
    for (int i = 0; i < r->table->layers; i++)
        names[i] = r->table->layer[i].name;
    TRY(bg_plan_make(&plan, names, r->table->layers));
    for (int i = 0; i < r->table->layers; i++) {
        int weight = 0, activation = 0;
        if (!bg_cost_label_bits(label_of(r, i), &weight, &activation))
            FAIL(BG_E_DATA,
                 "--plan: layer %s, candidate %s: not a width (8, w4, w4a8; 1 to 16 or 32)",
                 names[i], label_of(r, i));
        plan.layer[i].spec[BG_ROLE_WEIGHT] = bg_spec_integer(weight, true);
        plan.layer[i].spec[BG_ROLE_ACTIVATION] = bg_spec_integer(activation, false);
    }
    bg_plan_print(&plan, &text);
    TRY(bg_text_check(&text));
    TRY(bg_file_write(path, bg_text_string(&text), text.length));
out:
    bg_free(names);
    bg_plan_free(&plan);
    bg_text_free(&text);
    return rc;
}
