/* The report stage: the numbers of the final network, then report.html and its figures. */
#include "experiments/report.h"
#include "experiments/run.h"

enum bg_status bg_stage_report(struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    TRY(bg_run_describe(run));
    TRY(bg_report_write(&run->record, run->dir, run->recipe->figures));
out:
    return rc;
}
