/* The rule of policies/residual_bits.h. A residual of r bits keeps steps down to 2^-r of the
 * weight's (half of that still rounds to it), so r = ceil(-log2(quantile)) + margin. Where a
 * residual has already lost more steps than the quantile allows, its own count speaks too: the
 * density of steps near 0 is about constant, so that a bit more halves the share. */
#include "policies/residual_bits.h"

#include <math.h>
#include <stddef.h>

#define FIELD(name_) offsetof(struct bg_residual_options, name_)

#define STEPS_MOST ((int64_t)1 << 30)
#define LR_POINTS  4096 /* of a schedule: more would say nothing new */

static const char *const rates[] = {"last-epoch", "mean", "recorded", NULL};

const struct bg_option bg_residual_options_table[] = {
    {.key = "quantile",
     .type = BG_OPT_REAL,
     .offset = FIELD(quantile),
     .fallback = "0.05",
     .min = 0,
     .max = 0.9,
     .help = "share of the recorded steps that may be smaller than the residual's last bit"},
    {.key = "margin",
     .type = BG_OPT_INT,
     .offset = FIELD(margin),
     .fallback = "1",
     .min = -24,
     .max = 24,
     .help = "bits more than that asks for"},
    {.key = "least",
     .type = BG_OPT_INT,
     .offset = FIELD(least),
     .fallback = "2",
     .min = 1,
     .max = 24,
     .help = "fewest residual bits"},
    {.key = "most",
     .type = BG_OPT_INT,
     .offset = FIELD(most),
     .fallback = "16",
     .min = 1,
     .max = 24,
     .help = "most residual bits"},
    {.key = "epochs",
     .type = BG_OPT_INT,
     .offset = FIELD(epochs),
     .fallback = "1",
     .min = 1,
     .max = 64,
     .help = "how many of the last recorded epochs are read; the one that asks for most counts"},
    {.key = "rate",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(rate),
     .fallback = "last-epoch",
     .choices = rates,
     .help = "learning rate that the steps are scaled to: the mean of the last epoch of the "
             "training to come, the mean of all of it, or as recorded"},
    {.key = "saturated",
     .type = BG_OPT_REAL,
     .offset = FIELD(saturated),
     .fallback = "0.01",
     .min = 0,
     .max = 1,
     .help = "warn of layers with a larger share of steps stopped at the grid's end: they need "
             "headroom, bits do not help"},
    {.key = NULL}};

double bg_residual_quantile(const int64_t octave[BG_MOVE_OCTAVES], double share)
{
    double all = 0, below = 0;

    for (int k = 0; k < BG_MOVE_OCTAVES; k++)
        all += (double)octave[k];
    if (all <= 0)
        return (double)-INFINITY;
    for (int k = BG_MOVE_OCTAVES - 1; k >= 0; k--) {
        const double here = (double)octave[k];
        if (here > 0 && below + here >= share * all) /* log2 of sizes is even within an octave */
            return -k + (share * all - below) / here;
        below += here;
    }
    return 1;
}

double bg_residual_lr(const struct bg_residual_options *options,
                      const struct bg_train_options *train, int64_t steps_per_epoch)
{
    const int64_t each = steps_per_epoch < STEPS_MOST ? steps_per_epoch : STEPS_MOST;
    const int64_t all = train->epochs * each;
    const int64_t from = options->rate == BG_RATE_MEAN ? 0 : all - each;
    const int64_t stride = (all - from) / LR_POINTS + 1;
    double sum = 0, points = 0;

    if (options->rate == BG_RATE_RECORDED || all <= 0)
        return 0;
    for (int64_t step = from; step < all; step += stride) {
        sum += bg_train_lr(train, step, each);
        points++;
    }
    return sum / points;
}

static double held(double bits, const struct bg_residual_options *options)
{
    const double most = (double)options->most, least = fmin((double)options->least, most);

    return fmin(fmax(bits, least), most);
}

enum bg_status bg_residual_choose(const struct bg_residual_options *options,
                                  const struct bg_residual_record *records, int count, double unit,
                                  double lr, struct bg_residual_choice *out)
{
    enum bg_status rc = BG_OK;
    double bits = (double)-INFINITY;

    *out = (struct bg_residual_choice){.size = (double)INFINITY};
    for (int i = 0; i < count; i++) {
        const struct bg_residual_record *r = &records[i];
        const double rate = lr > 0 && r->lr > 0 ? lr / r->lr : 1;
        const double shift = log2(rate * (r->unit > 0 && unit > 0 ? r->unit / unit : 1));
        const double size = bg_residual_quantile(r->octave, options->quantile) + shift;
        if (!isfinite(size))
            continue;
        out->size = fmin(out->size, size);
        bits = fmax(bits, ceil(-size) + (double)options->margin);
        if (r->low >= 0 && options->quantile > 0 && r->lost > options->quantile)
            bits = fmax(bits, r->low + ceil(log2(r->lost / options->quantile) - shift));
        out->saturates = out->saturates || r->saturated > options->saturated;
    }
    if (!isfinite(bits))
        FAIL(BG_E_DATA, "all of its recorded steps are 0");
    out->bits = (int)held(bits, options);
out:
    return rc;
}
