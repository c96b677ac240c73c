/* Verification of a quantized network: its integer program over some images, compared tensor by
 * tensor with the judge (layers/judge.h), and a hash of all codes. */
#ifndef BG_EXPERIMENTS_VERIFY_H
#define BG_EXPERIMENTS_VERIFY_H

#include "core/hash.h"
#include "experiments/run.h"
#include "layers/judge.h"

struct bg_verification {
    int64_t images, correct;
    bool judged; /* else only the program ran: outputs are counted, differences are not known */
    int64_t outputs, differ;
    int mistrusted;          /* tensors */
    char hash[BG_HASH_TEXT]; /* of every tensor's codes and the logits, whatever the batch size */
    int tensors;
    struct bg_judge_tensor *tensor; /* [tensors] when judged; owned */
};

/* The first `images` of the source (0 = all), in the present plan's mode. BG_E_UNSUPPORTED, naming
 * the layer, when the plan has no integer model. */
BG_MUST enum bg_status bg_verify(struct bg_trainer *trainer, struct bg_source *source,
                                 int64_t images, bool judge, struct bg_verification *out);
void bg_verification_free(struct bg_verification *verification); /* takes a zeroed one */
/* A row of the record's table; an earlier one is replaced. */
BG_MUST enum bg_status bg_verification_record(const struct bg_verification *verification,
                                              struct bg_record *record);
/* Per tensor and in all, for people. */
void bg_verification_print(const struct bg_verification *verification, struct bg_text *out);

#endif
