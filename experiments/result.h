/* result.json: what a run came to, for other programs. */
#ifndef BG_EXPERIMENTS_RESULT_H
#define BG_EXPERIMENTS_RESULT_H

#include <jansson.h>

#include "core/text.h"
#include "experiments/record.h"

/* Sorted keys, one newline at the end. */
BG_MUST enum bg_status bg_result_write(const struct bg_record *record, const char *path);
/* On one line, appended. */
BG_MUST enum bg_status bg_result_print(const struct bg_record *record, struct bg_text *out);
/* result_updates.c: memory of the weights and what their updates did, by training stage. */
json_t *bg_result_updates(const struct bg_record *record);
/* The closing table: layer, statistic, rank, bits; accuracies and sizes. */
void bg_result_table(const struct bg_record *record, struct bg_text *out);

#endif
