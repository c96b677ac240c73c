/* Opens a run's record for a decision taken again. */
#include "experiments/replay.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"

#define WORDS_MAX  64
#define TEXT_LIMIT (1 << 24)

/* The words as assignments to the recipe's keys. */
struct assignments {
    int count;
    char *at[WORDS_MAX + 1]; /* owned */
};

static enum bg_status add(struct assignments *list, const char *prefix, const char *word)
{
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;
    bg_text_init(&text, 1 << 16);
    if (list->count == WORDS_MAX)
        FAIL(BG_E_USAGE, "select: more than %d words", WORDS_MAX);
    bg_text_add(&text, "%s%s", prefix, word);
    TRY(bg_text_check(&text));
    TRY(bg_copy_text(&list->at[list->count], bg_text_string(&text)));
    list->count++;
out:
    bg_text_free(&text);
    return rc;
}

static bool begins(const char *word, const char *with)
{
    return strncmp(word, with, strlen(with)) == 0;
}

static const char *const short_words[] = {"policy=", "options.", NULL};
static const char *const whole_words[] = {"select.", "seed=", NULL};

static bool begins_with_any(const char *word, const char *const *list)
{
    for (; *list; list++)
        if (begins(word, *list))
            return true;
    return false;
}

/* Options of the run's policy mean nothing to another one. */
static enum bg_status drop_options(struct assignments *list, const struct bg_recipe *recipe,
                                   char *const *words, int count)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < count; i++) {
        const char *key = begins(words[i], "select.") ? words[i] + 7 : words[i];
        if (begins(key, short_words[0]) &&
            strcmp(key + strlen(short_words[0]), recipe->select.policy) != 0)
            TRY(add(list, "", "select.options={}"));
    }
out:
    return rc;
}

static enum bg_status translate(struct assignments *list, const struct bg_recipe *recipe,
                                char *const *words, int count)
{
    enum bg_status rc = BG_OK;
    TRY(drop_options(list, recipe, words, count));
    for (int i = 0; i < count; i++) {
        bool shortened = begins_with_any(words[i], short_words);
        if (!shortened && !begins_with_any(words[i], whole_words))
            FAIL(BG_E_USAGE,
                 "select: '%s': expected policy=NAME, options.KEY=VALUE, select.KEY=VALUE or "
                 "seed=NUMBER",
                 words[i]);
        TRY(add(list, shortened ? "select." : "", words[i]));
    }
out:
    return rc;
}

/* Would both give a layer that is chosen, and one that is not, the same bits in this round? */
static bool has_same_bits(const struct bg_select_options *a, const struct bg_select_options *b,
                          int round)
{
    return a->first_bits == b->first_bits && a->activation_bits == b->activation_bits &&
           a->direction == b->direction && bg_select_bits(a, round) == bg_select_bits(b, round);
}

static enum bg_status open_recipe(struct bg_replay *replay, const char *dir, int round,
                                  char *const *words, int count)
{
    char path[BG_PATH_MAX];
    struct bg_recipe *recorded = NULL;
    struct assignments list = {.count = 0};
    char *text = NULL;
    size_t length = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_path_join(path, dir, "recipe.yaml"));
    TRY(bg_recipe_read(&recorded, path, NULL, 0));
    TRY(bg_file_read(path, TEXT_LIMIT, &text, &length)); /* as it was printed then */
    if (strcmp(replay->record.recipe, text) != 0)
        FAIL(BG_E_MISMATCH, "%s/run.h5 is of another recipe than %s", dir, path);
    TRY(translate(&list, recorded, words, count));
    TRY(bg_recipe_read(&replay->recipe, path, list.at, list.count));
    if (*replay->record.latency_hash && replay->recipe->select.search == BG_SEARCH_BUDGET &&
        !strcmp(recorded->select.latency, replay->recipe->select.latency))
        TRY(bg_record_check_latency(&replay->record, recorded->select.latency));
    replay->same_bits = has_same_bits(&recorded->select, &replay->recipe->select, round);
out:
    for (int i = 0; i < list.count; i++)
        bg_free(list.at[i]);
    bg_free(text);
    bg_recipe_free(recorded);
    return rc;
}

static enum bg_status open_network(struct bg_replay *replay)
{
    const struct bg_recipe *recipe = replay->recipe;
    struct bg_text errors = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 16);
    rc = bg_net_create(&replay->net, recipe->top.network, &replay->record.spec,
                       (enum bg_loss)recipe->train.loss, recipe->train.label_smoothing, &errors);
    if (rc == BG_E_DATA && errors.length > 0)
        FAIL(BG_E_DATA, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
out:
    bg_text_free(&errors);
    return rc;
}

enum bg_status bg_replay_open(struct bg_replay *out, const char *dir, int round, char *const *words,
                              int count)
{
    char path[BG_PATH_MAX];
    int rounds;
    enum bg_status rc = BG_OK;

    memset(out, 0, sizeof *out);
    TRY(bg_path_join(path, dir, "run.h5"));
    TRY(bg_record_read(&out->record, path));
    rounds = bg_record_rounds(&out->record);
    if (round < 0 || round > rounds)
        FAIL(BG_E_USAGE, "%s has %d round%s of selection, there is no round %d", dir, rounds,
             rounds == 1 ? "" : "s", round);
    round = round == 0 ? rounds - 1 : round - 1;
    TRY(open_recipe(out, dir, round, words, count));
    TRY(open_network(out));
    TRY(bg_select_round_open(&out->round, out->recipe, &out->record, round));
    TRY(bg_select_data_open(&out->data, &out->record, round, out->net, &out->recipe->select));
    out->data.input.seed = (uint64_t)out->recipe->top.seed;
    if (!out->same_bits) /* the recorded steps are of other bits */
        out->data.input.weight_step = NULL;
out:
    if (rc != BG_OK)
        bg_replay_close(out);
    return rc;
}

void bg_replay_close(struct bg_replay *replay)
{
    bg_select_data_close(&replay->data);
    bg_select_round_close(&replay->round);
    bg_net_destroy(replay->net);
    bg_record_free(&replay->record);
    bg_recipe_free(replay->recipe);
    memset(replay, 0, sizeof *replay);
}

enum bg_status bg_replay_rank(const struct bg_replay *replay, struct bg_ranking *out)
{
    enum bg_status rc = BG_OK;
    TRY(bg_ranking_make(out, replay->data.input.layers));
    TRY(replay->recipe->policy->rank(replay->recipe->policy_options, &replay->data.input, out));
out:
    if (rc != BG_OK)
        bg_ranking_free(out);
    return rc;
}

struct trials {
    const struct bg_replay *replay;
    const struct bg_ranking *ranking;
};

/* Did the run's policy fix the same layer at the same bits, or neither one any? */
static bool same_fixing(const struct bg_record *record, const struct bg_ranking *ranking)
{
    if (!record->fixes || !ranking->fixes)
        return record->fixes == ranking->fixes;
    return record->fixed_layer == ranking->fixed_layer &&
           memcmp(record->fixed_bits, ranking->fixed_bits, sizeof record->fixed_bits) == 0;
}

/* The place that the run gave a layer in this round. */
static const union bg_cell *ranked(const struct bg_replay *replay, int layer)
{
    const struct bg_round round = bg_record_round(&replay->record, replay->round.number);
    const struct bg_table *table = &replay->record.table[BG_TABLE_RANKING];
    for (int64_t r = round.from[BG_ROUND_RANKING]; r < round.to[BG_ROUND_RANKING]; r++)
        if (bg_table_row(table, r)[BG_RANK_LAYER].integer == layer)
            return bg_table_row(table, r);
    return NULL;
}

/* Are the first k layers the run's first k, in any order? */
static bool same_layers(const struct trials *trials, int k)
{
    for (int i = 0; i < k; i++) {
        const union bg_cell *row = ranked(trials->replay, trials->ranking->order[i]);
        if (!row || row[BG_RANK_RANK].integer < 1 || row[BG_RANK_RANK].integer > k)
            return false;
    }
    return true;
}

static enum bg_status ok(void *self, int k, bool *passed)
{
    const struct trials *trials = self;
    const struct bg_table *table = &trials->replay->record.table[BG_TABLE_SEARCH];
    const struct bg_round round =
        bg_record_round(&trials->replay->record, trials->replay->round.number);
    const struct bg_select_options *options = &trials->replay->round.options;
    if (trials->replay->same_bits && same_fixing(&trials->replay->record, trials->ranking) &&
        same_layers(trials, k))
        for (int64_t r = round.from[BG_ROUND_SEARCH]; r < round.to[BG_ROUND_SEARCH]; r++)
            if (bg_table_row(table, r)[BG_SEARCH_K].integer == k) {
                *passed = bg_table_row(table, r)[BG_SEARCH_DROP].real <= options->tolerance;
                return BG_OK;
            }
    return bg_fail(BG_E_DATA,
                   "search %s needs the accuracy with %d of these layers at %lld bits, which the "
                   "run has not evaluated; give select.search=count select.count=N",
                   bg_search_names[options->search], k, (long long)options->second_bits);
}

enum bg_status bg_replay_prefix(const struct bg_replay *replay, const struct bg_ranking *ranking,
                                int *k)
{
    struct trials trials = {replay, ranking};
    const struct bg_prefix_test test = {.self = &trials, .ok = ok};
    int evaluations = 0;
    return bg_select_prefix(&replay->round.options, ranking, &test, k, &evaluations);
}

enum bg_status bg_replay_penalties(const struct bg_replay *replay, const int *bits, int candidates,
                                   struct bg_penalties *out)
{
    return bg_select_penalties(replay->recipe->policy, replay->recipe->policy_options,
                               &replay->data.input, bits, candidates, out);
}
