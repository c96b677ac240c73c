/* Tables of costs, TSV and JSON: any file gives a table whose problem can be checked, or one
 * sentence and an empty table. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/mem.h"
#include "experiments/cost_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The problem of a table with its first columns as budgets; refusals are as good. */
static void use(const struct bg_cost_table *table)
{
    struct bg_allocate_problem problem = {0};
    bool *pinned = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&pinned, table->layers, sizeof *pinned));
    TRY(bg_cost_table_problem(table, NULL, pinned, &problem));
    for (int c = 0; c < table->columns && c < BG_ALLOCATE_BUDGETS; c++)
        TRY(bg_cost_table_budget(table, c, 1e100, &problem));
    TRY(bg_allocate_check(&problem));
out:
    if (rc != BG_OK && bg_error()[0] == '\0')
        abort();
    bg_allocate_free(&problem);
    bg_free(pinned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/fuzz_costs_XXXXXX";
    struct bg_cost_table table;
    int file = mkstemp(path);
    if (file < 0)
        return 0;
    bg_error_clear();
    if (write(file, data, size) == (ssize_t)size) {
        if (bg_cost_table_read(&table, path) == BG_OK)
            use(&table);
        else if (bg_error()[0] == '\0' || table.row || table.layer || table.root)
            abort();
        bg_cost_table_free(&table);
    }
    (void)close(file);
    (void)unlink(path);
    return 0;
}
